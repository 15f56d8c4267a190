"""What is fetched from other hosts, counted. Thread-safe; knows nothing of how it is fetched."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TrafficFigures:
    """What was fetched so far; `under_way` are the requests that wait for their answer now.

    `retries` counts what is asked for again after it failed, `late` what did not come in time.
    """

    requests: int = 0
    fetched_bytes: int = 0
    retries: int = 0
    late: int = 0
    under_way: int = 0


class Traffic:
    """The counters of all that fetches for one view."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = self._bytes = self._retries = self._late = self._under_way = 0

    @contextmanager
    def requesting(self) -> Iterator[None]:
        """A request is under way, to the end of the block."""
        with self._lock:
            self._requests += 1
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def count_fetched(self, size_bytes: int) -> None:
        """So many bytes have come."""
        with self._lock:
            self._bytes += size_bytes

    def count_retries(self, number: int = 1) -> None:
        """So many things are to be asked for again."""
        with self._lock:
            self._retries += number

    def count_late(self) -> None:
        """Something has not come in time."""
        with self._lock:
            self._late += 1

    def figures(self) -> TrafficFigures:
        """What was counted so far."""
        with self._lock:
            return TrafficFigures(
                self._requests, self._bytes, self._retries, self._late, self._under_way
            )
