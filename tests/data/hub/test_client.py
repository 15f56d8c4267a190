"""The client that huggingface_hub is given: which waits it refuses, and which it tells of."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from hffs.data.hub.client import Waits, open_client
from hffs.data.hub.retrying import find_asked_wait_s
from tests.data.hub.conftest import Asker, parquet
from tests.hub import Fail, HubServer


def _answer(status: int, **headers: str) -> httpx2.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    asked = httpx2.Request("GET", "https://hub.example/api/datasets/me/set")
    return httpx2.Response(status, headers=named, request=asked)


def _date(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize(
    ("answer", "wait_s"),
    [
        (_answer(429, Retry_After="7"), 7),
        (_answer(503, Retry_After=" 7 "), 7),
        (_answer(429, RateLimit='"api";r=0;t=55'), 55),
        (_answer(429, RateLimit='"api";r=9;t=55', Retry_After="7"), 7),
    ],
)
def test_waits_that_are_asked_for(answer: httpx2.Response, wait_s: float) -> None:
    assert find_asked_wait_s(answer) == wait_s


def test_waits_until_a_date() -> None:
    asked_s = find_asked_wait_s(_answer(429, Retry_After=_date(6000)))
    assert asked_s is not None
    assert 5000 <= asked_s <= 6000
    assert find_asked_wait_s(_answer(429, Retry_After=_date(-600))) == 0


@pytest.mark.parametrize(
    "answer",
    [
        _answer(429),
        _answer(429, Retry_After=""),
        _answer(429, Retry_After="soon"),
        _answer(429, Retry_After="-1"),
        _answer(500, Retry_After="7"),
        _answer(200, RateLimit='"api";r=0;t=55'),
    ],
)
def test_answers_that_ask_for_no_wait(answer: httpx2.Response) -> None:
    assert find_asked_wait_s(answer) is None


def test_each_wait_is_told_once_and_one_that_is_too_long_is_refused() -> None:
    told: list[str] = []
    waits = Waits(told.append, limit_s=100)
    waits.note(_answer(429, Retry_After="1"))
    assert told == []
    for _ in range(8):  # as many downloads as there are at once
        waits.note(_answer(429, Retry_After="60"))
    assert told == ["hub.example answers 429 and asks to wait 60 s: waiting"]
    with pytest.raises(HfHubHTTPError, match="429"):
        waits.note(_answer(429, Retry_After="101"))
    waits.note(_answer(200))
    waits.note(_answer(503, Retry_After="99"))


def test_regression_a_listing_is_not_waited_for_by_the_hour(site: HubServer, asker: Asker) -> None:
    repo = site.add("me/limited")
    repo.write("train.parquet", parquet())
    site.faults = [Fail("/tree/", 429, None, {"Retry-After": "5000"})]
    kind, line = asker.refusal("resolve_plain", "me/limited", commit=repo.commit)
    site.faults = []
    assert (kind, "too many requests" in line, "wait 84 min" in line) == ("SourceError", True, True)
    assert len([each for each in site.requests if "/tree/" in each.path]) == 1


@pytest.mark.usefixtures("_in_short")
def test_regression_who_asks_without_a_time_limit_gets_one() -> None:
    limits: list[dict[str, float]] = []
    with socket.create_server(("127.0.0.1", 0)) as mute, open_client(print) as client:
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        client.event_hooks["request"].append(
            lambda asked: limits.append(asked.extensions["timeout"])
        )
        for given in ({}, {"timeout": None}, {"timeout": httpx2.Timeout(None, read=0.1)}):
            with pytest.raises(httpx2.ReadTimeout):
                client.get(address, **given)
    assert [limit["read"] for limit in limits] == [0.3, 0.3, 0.1]
    assert {limit["connect"] for limit in limits} == {0.3}


class _Dripping(BaseHTTPRequestHandler):
    """Answers with a byte now and then, for ever."""

    enough = threading.Event()

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200)
        self.end_headers()
        try:
            while not self.enough.wait(0.02):
                self.wfile.write(b" ")
        except OSError:  # who asked has gone
            return

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def _dripping() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Dripping) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,)).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            _Dripping.enough.set()
            server.shutdown()


@pytest.mark.usefixtures("_in_short")
def test_regression_a_byte_now_and_then_is_no_answer() -> None:
    refused = pytest.raises(httpx2.ReadTimeout, match="bytes in")
    with _dripping() as address, open_client(print) as client, refused:
        client.get(address)


@pytest.fixture
def _in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr("hffs.data.hub.client._TRICKLE_S", 0.3)
