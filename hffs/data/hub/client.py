"""The HTTP client that huggingface_hub is given: no request of it waits without end, or in silence.

By itself huggingface_hub lists a repository without any time limit, and where a Hub allows no more
requests it sleeps for as long as it is told to, five times over. Both happen inside of it, and of
`datasets`, so they are bounded here, where every request passes. What is raised for that is what it
would raise itself; when to ask again is `hffs.data.hub.retrying`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from threading import Lock
from typing import Any

import httpx2
from huggingface_hub import constants
from huggingface_hub.utils import hf_raise_for_status
from huggingface_hub.utils._http import hf_request_event_hook

from hffs.data.hub.retrying import PATIENCE, find_asked_wait_s
from hffs.data.remote.clients import making_client

_TRICKLE_S = 30.0
_TRICKLE_BYTES = 1000
"""What brings less in that time is stalled: a limit for each piece never ends a byte a second."""

_WORTH_TELLING_S = 5.0

Tell = Callable[[str], None]


class Waits:
    """What the Hub has asked to wait since it last gave an answer; `tell` hears of each wait."""

    def __init__(self, tell: Tell, limit_s: float = PATIENCE.limited_s) -> None:
        self._tell, self._limit_s = tell, limit_s
        self._since_s: float | None = None
        self._told_until_s = 0.0
        self._lock = Lock()

    def note(self, response: httpx2.Response) -> None:
        """Look at an answer; HfHubHTTPError if it asks for a longer wait than is worth it."""
        asked_s, now_s = find_asked_wait_s(response), time.monotonic()
        with self._lock:
            if asked_s is None:
                self._since_s = None if response.is_success else self._since_s
                return
            self._since_s = now_s if self._since_s is None else self._since_s
            is_too_long = now_s + asked_s > self._since_s + self._limit_s
            is_news = asked_s >= _WORTH_TELLING_S and now_s >= self._told_until_s
            if is_news:
                self._told_until_s = now_s + asked_s
        if is_too_long:
            response.read()
            hf_raise_for_status(response)
        if is_news:
            what = f"{response.url.host} answers {response.status_code}"
            self._tell(f"{what} and asks to wait {asked_s:.0f} s: waiting")


def open_client(tell: Tell) -> httpx2.Client:
    """A client for huggingface_hub. Raises SourceError where the environment allows for none."""
    limits = httpx2.Timeout(constants.HF_HUB_DOWNLOAD_TIMEOUT).as_dict()
    hooks: dict[str, list[Callable[..., Any]]] = {
        "request": [hf_request_event_hook, partial(_limit_time, limits)],
        "response": [Waits(tell).note, _limit_trickle],
    }
    with making_client():
        # Without time limits, as that of huggingface_hub: what it leaves open is limited above.
        return httpx2.Client(event_hooks=hooks, follow_redirects=True, timeout=None)


def _limit_time(limits: Mapping[str, float | None], request: httpx2.Request) -> None:
    """Give a request the limits that it lacks: listing asks for none, in so many words."""
    given = request.extensions.get("timeout", {})
    request.extensions["timeout"] = {
        step: limit if given.get(step) is None else given[step] for step, limit in limits.items()
    }


def _limit_trickle(response: httpx2.Response) -> None:
    if isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = _Paced(response.stream)


class _Paced(httpx2.SyncByteStream):
    """The body of an answer, until it comes too slowly to ever be one."""

    def __init__(self, stream: httpx2.SyncByteStream) -> None:
        self._stream = stream

    def __iter__(self) -> Iterator[bytes]:
        begun_s, arrived = time.monotonic(), 0
        for piece in self._stream:
            yield piece
            arrived += len(piece)
            if time.monotonic() - begun_s > _TRICKLE_S:
                if arrived < _TRICKLE_BYTES:
                    raise httpx2.ReadTimeout(f"{arrived} bytes in {_TRICKLE_S:.0f} s")
                begun_s, arrived = time.monotonic(), 0

    def close(self) -> None:
        """Give the connection back."""
        self._stream.close()
