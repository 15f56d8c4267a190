"""Asking a daemon over its control socket, with a deadline: it may be stuck, or stopped."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hffs.errors import MountError
from hffs.mount.lifecycle.logs import parse_level
from hffs.mount.observing.sockets import connect_socket, ending

ASK_DEADLINE_S = 1.0
_MOST_BYTES = 1 << 22
_MOST = 1 << 64

Status = Mapping[str, Any]
"""What `GET /status` gives (`hffs.mount.observing.reporting.Report`)."""


class _Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=ASK_DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        """Connect, which fails at once where nobody listens."""
        self.sock = connect_socket(self._path, ASK_DEADLINE_S)


def ask_status(path: Path) -> Status | None:
    """What a daemon says of its mount; None where it does not answer in time."""
    try:
        code, body = _ask(path, "GET", "/status")
        if code != http.HTTPStatus.OK:
            return None
        return _parse(body)
    except (OSError, ValueError, http.client.HTTPException):
        return None


def ask_level(path: Path, level: str) -> None:
    """Have a daemon log so much. MountError where it does not, UsageError for no known level."""
    word = parse_level(level).encode()
    try:
        code, body = _ask(path, "PUT", "/log-level", word)
    except (OSError, http.client.HTTPException) as error:
        why = str(error) or type(error).__name__
        fix = "see `hffs ls` for its health"
        raise MountError("cannot reach the daemon at", str(path), why=why, fix=fix) from error
    if code != http.HTTPStatus.OK:
        why = body.decode(errors="replace").strip()
        raise MountError("cannot set the log level at", str(path), why=why)


def _parse(body: bytes) -> Status:
    """A status, if it is whole: root also asks daemons of others. ValueError where it is not."""
    from pydantic import TypeAdapter

    from hffs.mount.observing.reporting import Report

    report = TypeAdapter(Report).validate_json(body)
    told: Status = json.loads(body)
    is_whole = (
        {"open", "read"} <= report.requests.keys()
        and report.bounds_s
        and all(len(each.buckets) == len(report.bounds_s) + 1 for each in report.requests.values())
    )
    if not is_whole or not all(map(_is_count, _list_numbers(told))):
        raise ValueError("it is no status")
    return told


def _is_count(number: float) -> bool:
    """Whether it may be one of ours; no NaN is, and no sum of such is too large to be divided."""
    return 0 <= number < _MOST


def _list_numbers(told: object) -> Iterator[float]:
    if isinstance(told, dict):
        told = list(told.values())
    if isinstance(told, list):
        for each in told:
            yield from _list_numbers(each)
    elif isinstance(told, int | float):
        yield told


def _ask(path: Path, method: str, what: str, body: bytes | None = None) -> tuple[int, bytes]:
    connection = _Connection(path)
    try:
        connection.connect()
        with ending(connection.sock, ASK_DEADLINE_S):
            connection.request(method, what, body)
            answer = connection.getresponse()
            return answer.status, answer.read(_MOST_BYTES)
    finally:
        connection.close()
