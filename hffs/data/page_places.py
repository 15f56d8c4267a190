"""Where the values of large pages elsewhere lie, found by small ranges: no page is fetched for it.

Owns the walk over a page that is not here: its first bytes, then the length before each value up to
the wanted one (`hffs.core.page_values.find_plain`), and for which pages that is worth it. Must not
know an index, nor what is done with a place. Thread-safe.

Invariants: no byte outside the page is asked for; a walk has at most `_MOST_VALUES` steps, each
remembered, so that one that was broken off goes on from there; memory is bounded by `_CHAIN_BYTES`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from hffs.core.levels import Levels
from hffs.core.page_values import PlainBody, find_plain
from hffs.core.plain import PREFIX_BYTES, step_plain
from hffs.data.recent import Recent
from hffs.data.remote.files import Check, Range, RangeReader, RemoteFile
from hffs.errors import OutageError, UnsupportedError

_HEADS = (16 << 10, 128 << 10, 1 << 20)
"""First bytes of a page, tried one after the other: statistics in its header may be long."""

_MEAN_BYTES = 512 << 10
"""A step costs about as much as half a megabyte: pages of smaller values are fetched whole."""

_MOST_VALUES = 4096

_CHAINS, _CHAIN_BYTES = 4096, 8 << 20
_LOCKS = 64


@dataclass(frozen=True, slots=True)
class FarPage:
    """A page that lies elsewhere; `compressed` is what its chunk says, of which it may differ."""

    file: RemoteFile
    range: Range
    levels: Levels
    compressed: bool


@dataclass(frozen=True, slots=True, eq=False)
class _Chain:
    """How far a page was walked: `places` are the offsets of the values that are known, with their
    prefixes, and the one behind these. Without a `body` the page has to be fetched whole.
    """

    body: PlainBody | None
    places: list[int]

    def find(self, slot: int) -> Range | None:
        """Where a value lies in the page; None if that is not known yet."""
        if self.body is None:
            return None
        number = self.body.number(slot)
        if number + 1 >= len(self.places):
            return None
        return Range(self.places[number] + PREFIX_BYTES, self.places[number + 1])


class _NotHereError(Exception):
    """Somebody would have to be asked."""


class ValuePlaces:
    """Finds values in pages; `cap_bytes` is how large a page that is fetched whole may be."""

    def __init__(self, reader: RangeReader, cap_bytes: int) -> None:
        self._reader, self._cap_bytes = reader, cap_bytes
        self._chains: Recent[_Chain] = Recent(_CHAIN_BYTES, _CHAINS, _count_bytes)
        self._locks = [threading.Lock() for _ in range(_LOCKS)]

    def find(self, page: FarPage, slot: int) -> Range | None:
        """Where in the file the value of a slot lies; None if only the whole page tells.

        Raises FormatError (the page is broken, or has no such value), and what fetching raises.
        """
        chain = self._chains.get(page)
        if chain is None or (chain.body is not None and chain.find(slot) is None):
            with self._lock(page):
                chain = self._walk(page, slot, asks=True)
        place = chain.find(slot)
        if place is None:
            return None
        return Range(page.range.start + place.start, page.range.start + place.stop)

    def knows(self, page: FarPage, slot: int) -> bool:
        """Whether `find` would ask nobody; never waits for anybody else's walk.

        Raises FormatError as `find` does, as far as that asks nobody.
        """
        chain = self._chains.get(page)
        if chain is not None and (chain.body is None or chain.find(slot) is not None):
            return True
        lock = self._lock(page)
        if not lock.acquire(blocking=False):
            return False
        try:
            self._walk(page, slot, asks=False)
        except (_NotHereError, OutageError):
            return False
        finally:
            lock.release()
        return True

    def _lock(self, page: FarPage) -> threading.Lock:
        return self._locks[hash(page.range) % _LOCKS]

    def _walk(self, page: FarPage, slot: int, *, asks: bool) -> _Chain:
        """Walk a page as far as the value of a slot; the caller has the lock."""
        chain = self._chains.get(page)
        if chain is None:
            chain = self._begin(page, asks=asks)
            self._chains.put(page, chain)
        while chain.body is not None and chain.find(slot) is None:
            at = page.range.start + chain.places[-1]
            step = _next_step(chain.body, chain.places)
            check = partial(_check_step, step)
            prefix = self._take(page, Range(at, at + PREFIX_BYTES), check, asks=asks)
            chain.places.append(step(prefix))
        return chain

    def _begin(self, page: FarPage, *, asks: bool) -> _Chain:
        start, stop = page.range
        for size in _HEADS:
            place = Range(start, min(start + size, stop))
            head = self._take(page, place, partial(_check_head, page), asks=asks)
            try:
                body = find_plain(
                    head, page.range.size_bytes, page.levels, compressed=page.compressed
                )
            except UnsupportedError:
                return _Chain(None, [])
            if body is not None:
                return self._open(page, body, head)
        return _Chain(None, [])

    def _open(self, page: FarPage, body: PlainBody, head: memoryview) -> _Chain:
        is_large = body.count * _MEAN_BYTES <= body.end - body.start
        if body.count > _MOST_VALUES or not (is_large or page.range.size_bytes > self._cap_bytes):
            return _Chain(None, [])
        places = [body.start]
        prefix = head[body.start : body.start + PREFIX_BYTES]
        if body.count and len(prefix) == PREFIX_BYTES:  # of the first value it is there already
            places.append(_next_step(body, places)(prefix))
        return _Chain(body, places)

    def _take(self, page: FarPage, place: Range, check: Check, *, asks: bool) -> memoryview:
        """Bytes of a page; what makes no sense is asked for again, and not kept."""
        if not asks and not self._reader.holds(page.file, place):
            raise _NotHereError
        outcome: Future[memoryview]
        (outcome,) = self._reader.submit(page.file, [place], check)
        if not asks and not outcome.done():  # it was gone after all
            raise _NotHereError
        return outcome.result()


def _next_step(body: PlainBody, places: list[int]) -> Callable[[memoryview], int]:
    """What finds the end of the next value that is to be known, given its prefix."""
    return partial(step_plain, at=places[-1], end=body.end, left=body.count - len(places))


def _check_step(step: Callable[[memoryview], int], prefix: memoryview) -> None:
    step(prefix)


def _check_head(page: FarPage, head: memoryview) -> None:
    try:
        find_plain(head, page.range.size_bytes, page.levels, compressed=page.compressed)
    except UnsupportedError:
        return


def _count_bytes(chain: _Chain) -> int:
    """What a chain may come to take, whatever is known of it now."""
    return 64 if chain.body is None else chain.body.numbers.nbytes + 40 * chain.body.count
