"""The counters of one mount: plain numbers that its event loop adds to.

Owns what is counted of requests, and the buckets of their durations. Must not know FUSE, nor who
reads the numbers. The loop alone writes; any thread may read at any time, and may find a request
counted in one number and not yet in another. Nothing here allocates once every kind of request
and of error was met.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator

from hffs.errors import HffsError

BOUNDS_S = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
"""Upper bounds of durations; what takes longer has a bucket of its own. A request that needs no
waiting takes some 10 us, and one may wait for 60 s.
"""

UNEXPECTED = "unexpected"
"""The kind of an error that no part of hffs raises on purpose: a bug."""


class Meter:
    """What became of one kind of request."""

    __slots__ = ("buckets", "errnos", "total_s")

    def __init__(self) -> None:
        self.buckets = [0] * (len(BOUNDS_S) + 1)
        self.total_s = 0.0
        self.errnos: Counter[int] = Counter()

    def note(self, seconds: float) -> None:
        """Count a request that has ended."""
        self.buckets[bisect_left(BOUNDS_S, seconds)] += 1
        self.total_s += seconds


class Counters:
    """What one mount has been asked for, and how it went; `kinds` are those of its requests."""

    __slots__ = ("errors", "in_flight", "meters", "read_bytes", "waiting")

    def __init__(self, kinds: tuple[str, ...] = ()) -> None:
        self.meters = {kind: Meter() for kind in kinds}
        self.errors: Counter[str] = Counter(dict.fromkeys(name_error_kinds(), 0))
        self.read_bytes = 0
        self.in_flight = 0
        """Requests that are being answered."""
        self.waiting = 0
        """Those of them that wait for a thread or the network."""


def name_error_kinds() -> list[str]:
    """Every kind of error that can be counted, sorted; the unexpected come last."""
    return [*sorted(_name_subclasses(HffsError)), UNEXPECTED]


def _name_subclasses(kind: type[HffsError]) -> Iterator[str]:
    yield kind.__name__
    for each in kind.__subclasses__():
        yield from _name_subclasses(each)
