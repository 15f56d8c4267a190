"""When a request to the Hub is worth repeating, and how long to wait before.

Waits grow by doubling, with jitter, unless the Hub says how long (`Retry-After`, `RateLimit`). They
end at a deadline that counts from the last progress, so that a large download over a bad line goes
on, and a dead host is given up.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from threading import Event
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import httpx2

Answer = TypeVar("Answer")

_WORTH_REPEATING = {408, 429, 500, 502, 503, 504}


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to go on without any progress; `limited_s` where the Hub itself says to wait."""

    stalled_s: float = 30
    limited_s: float = 330  # the Hub's own window is 300 s
    first_wait_s: float = 0.5
    longest_wait_s: float = 8


PATIENCE = Patience()


class Attempts:
    """The failures of one request since it last made progress."""

    def __init__(self, patience: Patience, stop: Event | None = None) -> None:
        self._patience, self._stop = patience, stop or Event()
        self.note_progress()

    def note_progress(self) -> None:
        """Forget what failed: bytes have arrived."""
        self._failed, self._since = 0, time.monotonic()

    def wait_after(self, error: Exception, *, is_passing: bool = False) -> None:
        """Wait before the next attempt; raise `error` if none is worth it, or in time.

        `is_passing` tells of an error that another request would not be repeated after.
        """
        if not (is_passing or _is_passing(error)) or self._stop.is_set():
            raise error
        asked_s = _asked_wait_s(error)
        wait_s = asked_s if asked_s is not None else self._next_wait_s()
        most_s = self._patience.limited_s if asked_s is not None else self._patience.stalled_s
        if time.monotonic() + wait_s > self._since + most_s:
            raise error
        self._failed += 1
        if self._stop.wait(wait_s):
            raise error

    def _next_wait_s(self) -> float:
        grown_s = self._patience.first_wait_s * 2.0 ** min(self._failed, 20)
        # So that many who were cut off at once do not come back at once; no secret hangs on it.
        wait_s = min(grown_s, self._patience.longest_wait_s)
        return wait_s * random.uniform(0.5, 1)  # noqa: S311


def repeat(call: Callable[[], Answer], patience: Patience = PATIENCE) -> Answer:
    """Return what `call` does, repeated while what it raises may pass."""
    import httpx2

    attempts = Attempts(patience)
    while True:
        try:
            return call()
        except httpx2.HTTPError as error:
            attempts.wait_after(error)


def is_broken(error: Exception) -> bool:
    """Whether the network failed, in whatever way, rather than the Hub."""
    import httpx2

    return isinstance(error, httpx2.NetworkError | httpx2.TimeoutException | httpx2.ProtocolError)


def _is_passing(error: Exception) -> bool:
    """Whether the same request may succeed a little later.

    So may a refused connection or an unknown name, but not while a person waits for the first word.
    """
    import httpx2

    if (status := status_of(error)) is not None:
        return status in _WORTH_REPEATING
    unreached = (httpx2.ConnectError, httpx2.TimeoutException)
    return is_broken(error) and not isinstance(error, unreached)


def status_of(error: BaseException) -> int | None:
    """Return the status that the Hub answered with, None if it did not come to an answer."""
    import httpx2
    from huggingface_hub.errors import HfHubHTTPError

    if isinstance(error, HfHubHTTPError | httpx2.HTTPStatusError):
        return error.response.status_code
    return None


def find_asked_wait_s(response: httpx2.Response) -> float | None:
    """How long a 429 or 503 asks to wait; None for any other answer, or if it does not say."""
    from huggingface_hub.utils import parse_ratelimit_headers

    if response.status_code not in {429, 503}:
        return None
    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return float(limit.reset_in_seconds)
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text[:10])
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max((until - datetime.now(until.tzinfo)).total_seconds(), 0)


def _asked_wait_s(error: Exception) -> float | None:
    from huggingface_hub.errors import HfHubHTTPError

    return find_asked_wait_s(error.response) if isinstance(error, HfHubHTTPError) else None
