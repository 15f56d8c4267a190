"""When a request is repeated, and how long is waited before; no time passes here."""

from __future__ import annotations

from threading import Event

import httpx2
import pytest
from huggingface_hub.errors import HfHubHTTPError

from hffs.data.hub.retrying import Attempts, Patience, repeat

PATIENCE = Patience(stalled_s=10, limited_s=100, first_wait_s=1, longest_wait_s=4)
LIMIT = {"RateLimit": '"api";r=0;t=55'}


class Waits(Event):
    """Remembers what was waited for, and comes back at once; `ends` sets it meanwhile."""

    def __init__(self, *, ends: bool = False) -> None:
        super().__init__()
        self._ends = ends
        self.waited_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waited_s.append(timeout or 0.0)
        if self._ends:
            self.set()
        return self.is_set()


def _answered(status: int, headers: dict[str, str] | None = None) -> HfHubHTTPError:
    request = httpx2.Request("GET", "https://hub/x")
    return HfHubHTTPError("x", response=httpx2.Response(status, headers=headers, request=request))


def _wait(error: Exception, patience: Patience = PATIENCE, times: int = 1) -> list[float]:
    """What is waited after an error that comes again and again."""
    waits = Waits()
    attempts = Attempts(patience, waits)
    for _ in range(times):
        attempts.wait_after(error)
    return waits.waited_s


@pytest.mark.parametrize(
    ("status", "headers", "wait_s"),
    [
        (429, {"Retry-After": "60"}, 60),
        (503, {"Retry-After": "7"}, 7),
        (429, LIMIT, 55),
        (429, {"RateLimit": '"api";r=3;t=55', "Retry-After": "2"}, 2),
    ],
)
def test_what_the_hub_asks_for_is_waited_though_nothing_comes(
    status: int, headers: dict[str, str], wait_s: float
) -> None:
    assert _wait(_answered(status, headers)) == [wait_s]


@pytest.mark.parametrize(
    "error",
    [
        _answered(429, {"Retry-After": "101"}),
        _answered(429, {"Retry-After": "Wed, 21 Oct 2099 07:28:00 GMT"}),
        _answered(429, {"RateLimit": '"api";r=0;t=101'}),
        _answered(404),
        _answered(401, {"Retry-After": "1"}),
        httpx2.ConnectError("x"),
        httpx2.ConnectTimeout("x"),
        httpx2.ReadTimeout("x"),
        httpx2.InvalidURL("x"),
    ],
)
def test_what_will_not_pass_in_time_is_raised_at_once(error: Exception) -> None:
    waits = Waits()
    with pytest.raises(type(error)) as caught:
        Attempts(PATIENCE, waits).wait_after(error)
    assert caught.value is error
    assert waits.waited_s == []


@pytest.mark.parametrize(
    "error",
    [
        *map(_answered, (408, 429, 500, 502, 503, 504)),
        _answered(500, {"Retry-After": "60"}),
        _answered(429, {"Retry-After": "soon"}),
        _answered(429, {"Retry-After": "-1"}),
        httpx2.ReadError("x"),
        httpx2.RemoteProtocolError("x"),
    ],
)
def test_waits_of_our_own_grow_up_to_a_limit(error: Exception) -> None:
    waited_s = _wait(error, times=6)
    for wait_s, most_s in zip(waited_s, (1, 2, 4, 4, 4, 4), strict=True):
        assert most_s / 2 <= wait_s <= most_s


def test_whoever_waits_is_let_go_when_another_has_failed() -> None:
    error = _answered(429, {"Retry-After": "60"})
    during, before = Waits(ends=True), Waits()
    before.set()
    for waits in (during, before):
        with pytest.raises(HfHubHTTPError):
            Attempts(PATIENCE, waits).wait_after(error)
    assert (during.waited_s, before.waited_s) == ([60], [])


def test_patience_ends_where_nothing_comes() -> None:
    with pytest.raises(HfHubHTTPError):
        _wait(_answered(503), Patience(stalled_s=0.4, first_wait_s=1))


def test_an_answer_is_returned_after_failures_that_pass() -> None:
    answers: list[Exception | str] = [_answered(503, {"Retry-After": "0"}), "answer"]

    def call() -> str:
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    assert repeat(call, PATIENCE) == "answer"
