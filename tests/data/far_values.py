"""A Hub on this machine, whose files are read by ranges, as a mount would."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hffs.data.cache import DiskCache
from hffs.data.hub.resolution import Request
from hffs.data.hub.token import Token
from hffs.data.remote.fetching import Fetcher
from hffs.data.remote.files import RemoteFile
from hffs.data.remote.http import HttpOrigin
from hffs.data.remote.origins import Origin
from hffs.data.remote.queueing import Limits
from tests.hub import HubServer, Logged

LIMITS = Limits(deadline_s=20.0, stall_s=2.0, first_wait_s=0.01, longest_wait_s=0.05)


def put_file(hub: HubServer, name: str, content: bytes) -> RemoteFile:
    """A file on the Hub, as it is read by ranges."""
    commit = hub.add("owner/set").write_all({name: content})
    etag = hashlib.sha256(content).hexdigest()
    return RemoteFile(f"hf://datasets/owner/set@{commit}/{name}", etag, len(content))


@contextmanager
def open_fetcher(
    hub: HubServer, cache: Path, *, offline: bool = False, limits: Limits = LIMITS
) -> Iterator[Fetcher]:
    def origins() -> Mapping[str, Origin]:
        return {"hf": HttpOrigin(hub.endpoint, Token(Request("")), limits)}

    fetcher = Fetcher(DiskCache(cache, 1 << 30), origins, limits, offline=offline)
    try:
        yield fetcher
    finally:
        fetcher.close()


def list_fetched(hub: HubServer) -> list[Logged]:
    """Requests for ranges that were answered with bytes."""
    return [each for each in hub.requests if each.range and each.sent_bytes and each.status == 206]


def list_bytes(hub: HubServer) -> list[tuple[int, int]]:
    """First and last byte of each range that was asked for, ascending."""
    spans = (re.fullmatch(r"bytes=(\d+)-(\d+)", each.range or "") for each in list_fetched(hub))
    return sorted((int(span[1]), int(span[2])) for span in spans if span)
