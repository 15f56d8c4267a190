"""The counters of one mount: plain numbers that whoever answers its requests adds to.

Owns what is counted of requests, and the buckets of their durations. Must not know FUSE, nor who
reads the numbers. One process writes, on one thread; any may read at any time, and may find
a request counted in one number and not yet in another. Nothing here allocates once every kind of
request and of error was met. Several processes that answer for one mount have counters each, made
before they were forked, in memory that they share with the one that tells of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from mmap import mmap
from typing import Self

from hffs.errors import HffsError

BOUNDS_S = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of durations; what takes longer has a bucket of its own. A request that needs no
waiting takes some 10 us, and one may wait for 60 s.
"""

_BOUNDS_NS = tuple(round(bound * 1e9) for bound in BOUNDS_S)
_NUMBERS = len(BOUNDS_S) + 2
_NUMBER_BYTES = 8

UNEXPECTED = "unexpected"
"""The kind of an error that no part of hffs raises on purpose: a bug."""


class Meter:
    """What became of one kind of request."""

    __slots__ = ("_numbers", "errnos")

    def __init__(self, numbers: memoryview) -> None:
        """`numbers` are a bucket for each of `BOUNDS_S`, one beyond, and nanoseconds in all."""
        self._numbers = numbers
        self.errnos: Counter[int] = Counter()

    def note(self, nanoseconds: int) -> None:
        """Count a request that has ended."""
        numbers = self._numbers
        numbers[bisect_left(_BOUNDS_NS, nanoseconds)] += 1
        numbers[-1] += nanoseconds

    @property
    def buckets(self) -> list[int]:
        """Requests by how long they took."""
        return list(self._numbers[:-1])

    @property
    def total_s(self) -> float:
        """What they took together."""
        return self._numbers[-1] / 1e9


class Counters:
    """What one process was asked for, and how it went; `kinds` are those of its requests."""

    __slots__ = ("_bytes", "errors", "in_flight", "meters", "others", "waiting")

    def __init__(self, kinds: tuple[str, ...] = ()) -> None:
        count = len(kinds) * _NUMBERS
        numbers = memoryview(mmap(-1, (count + 1) * _NUMBER_BYTES)).cast("q")  # a fork shares it
        places = range(0, count, _NUMBERS)
        self.meters = {
            kind: Meter(numbers[at : at + _NUMBERS]) for kind, at in zip(kinds, places, strict=True)
        }
        self.errors: Counter[str] = Counter(dict.fromkeys(name_error_kinds(), 0))
        self.in_flight = 0
        """Requests that are being answered."""
        self.waiting = 0
        """Those of them that wait for a thread or the network."""
        self._bytes = numbers[count : count + 1]
        self.others: list[Self] = []
        """Of the other processes that answer for the same mount."""

    def add_read(self, length: int) -> None:
        """So many bytes of files were given."""
        self._bytes[0] += length

    @property
    def read_bytes(self) -> int:
        """Bytes of files that were given."""
        return self._bytes[0]


def name_error_kinds() -> list[str]:
    """Every kind of error that can be counted, sorted; the unexpected come last."""
    return [*sorted(_name_subclasses(HffsError)), UNEXPECTED]


def _name_subclasses(kind: type[HffsError]) -> Iterator[str]:
    yield kind.__name__
    for each in kind.__subclasses__():
        yield from _name_subclasses(each)
