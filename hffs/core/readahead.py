"""Which pages to fetch before anybody asks for them.

Pure: numbers of pages that were read in, numbers of pages to fetch out; no clock, no threads. It
must not know what a page is, who fetches it, or whether it is there already: what is proposed may
be skipped by whoever fetches. Pages are numbered from 0 through all shards.

`Streams` guesses from the reads themselves; `Order` was told what will be read. Invariants: a page
that is proposed exists; the memory of both is bounded, but for the order itself, and so is the
work of a note. Both expect readers that run ahead of one another: several threads, loader workers.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import floor

import numpy as np
from numpy.typing import NDArray

_STREAMS_MAX = 32
_PAGES_A_STREAM = 64
"""Fewer streams are followed in a small data set, where random pages are often neighbours."""

_STEP_MAX = 8
_STRIDED_MAX = 8
"""Steps to fetch ahead where pages are left out: further on, the step is not known well enough."""

_BACK = 128
"""Pages before the front of a stream that are remembered."""

_LATE = 32
"""Pages before the front that still belong to a stream: workers that are behind the foremost."""


class Streams:
    """Follows reads that go forwards, and proposes what comes next of each.

    `starts` (int64) is the first page of each shard, ascending, then the end. Reading ahead begins
    with two pages, and doubles with each page that is read up to `most` pages.
    """

    def __init__(self, starts: NDArray[np.int64], most: int = 32) -> None:
        self._starts: list[int] = starts.tolist()
        self._most = most
        pages = self._starts[-1] if self._starts else 0
        self._streams_max = min(max(pages // _PAGES_A_STREAM, 2), _STREAMS_MAX)
        self._streams: list[_Stream] = []  # the last one that was read is the last

    def note(self, page: int) -> Sequence[int]:
        """Pages worth fetching now that a page is read, the first one wanted first.

        Never twice the same for one stream. They stay in the shard; whoever reads nearly every
        page is led on into the next.
        """
        stream = self._find(page)
        if not stream.advance(page):
            return ()
        step = stream.find_step()
        if step is None:
            if stream.is_random():
                stream.begin(page)
            return ()
        end = self._starts[-1]
        if step > 1:
            # Of its front: a page that is read late may be of the shard before.
            end = self._starts[bisect_right(self._starts, stream.front)]
        return stream.propose(step, end, self._most)

    def _find(self, page: int) -> _Stream:
        streams = self._streams
        for place in range(len(streams) - 1, -1, -1):
            if streams[place].first <= page <= streams[place].last:
                break
        else:
            place = 0
            if len(streams) == self._streams_max:
                del streams[0]
            streams.insert(0, _Stream(page))
        streams.append(streams.pop(place))
        return streams[-1]


class _Stream:
    """Reads near one another: pages from `first` to `last` belong to it.

    Bit i of `_seen` says that the page i before the front was read, of `_asked` that the one i
    after it was proposed. As bits have no order, workers that overtake one another do not matter.
    """

    __slots__ = ("_asked", "_seen", "_start", "_window", "first", "front", "last")

    def __init__(self, page: int) -> None:
        self.begin(page)

    def begin(self, page: int) -> None:
        """Know nothing but that a page was read."""
        self.front = self._start = page
        self._seen, self._asked, self._window = 1, 0, 1
        self.first, self.last = page - _STEP_MAX, page + _STEP_MAX

    def advance(self, page: int) -> bool:
        """Take a page that belongs to it; whether it was not known to be read."""
        ahead = page - self.front
        if ahead <= 0:
            known = self._seen
            self._seen |= 1 << -ahead
            self._start = min(self._start, page)
            return self._seen != known
        self._seen = (self._seen << ahead | 1) & ((1 << _BACK) - 1)
        self._asked >>= ahead
        self.front = page
        self._claim()
        return True

    def _claim(self) -> None:
        """Pages before its start may be another reader's, on the way to it."""
        self.first = max(self.front - _LATE, self._start - _STEP_MAX)
        self.last = self.front + max(_STEP_MAX, self._asked.bit_length())

    def find_step(self) -> float | None:
        """Pages from one read to the next, 1 where most are read; None where there is no order.

        A new stream needs three pages in a row, or four at distances that differ by one at most,
        as those of every 20th image do. One that runs goes on while it reads every other page.
        """
        gaps = self._gaps()
        if gaps[:2] == [1, 1]:
            return 1
        mean = (self._seen.bit_length() - 1) / max(self._seen.bit_count() - 1, 1)
        if self._asked and mean < 2:
            return 1
        if len(gaps) < 3 or max(gaps) > _STEP_MAX or max(gaps) - min(gaps) > 1:
            return None
        return 1 if sum(gaps) < 2 * len(gaps) else max(mean, 2) if self._asked else sum(gaps) / 3

    def is_random(self) -> bool:
        """Whether pages without order are enough: at random they would fill any stretch in time."""
        return self._seen.bit_count() >= 4

    def _gaps(self) -> list[int]:
        """Distances between the last four pages, the nearest to the front first."""
        rest, gaps = self._seen >> 1, list[int]()
        while rest and len(gaps) < 3:
            gap = (rest & -rest).bit_length()
            gaps.append(gap)
            rest >>= gap
        return gaps

    def propose(self, step: float, end: int, most: int) -> list[int]:
        """Pages before `end` in steps from the front that were not proposed yet."""
        self._window = min(self._window * 2, most)
        if step == 1:
            wanted = ((1 << self._window) - 1) << 1 & ~self._asked
        else:
            wanted = self._find_strided(step)
        wanted &= (1 << end - self.front) - 1
        self._asked |= wanted
        self._claim()
        return [self.front + ahead for ahead in _list_bits(wanted)]

    def _find_strided(self, step: float) -> int:
        """Bits of the next pages: two beside one another where the step is no whole number.

        None where one of them was proposed already, when the step was less sure.
        """
        wanted = 0
        for number in range(1, min(self._window, _STRIDED_MAX) + 1):
            ahead = floor(number * step)
            bits = (1 if ahead == number * step else 3) << ahead
            if not bits & self._asked:
                wanted |= bits
        return wanted


def _list_bits(bits: int) -> list[int]:
    """Numbers of the bits that are set, ascending."""
    numbers = []
    while bits:
        numbers.append((bits & -bits).bit_length() - 1)
        bits &= bits - 1
    return numbers


_REMEMBERED_MAX = 1 << 14
"""Entries: in a data set that is smaller than the budget, nothing else would end them."""

_STRAYS = 4
_REST_MIN, _REST_MAX = 64, 1024
"""Strays that pass between two searches; more after each one that was in vain."""

_TRUST_MIN, _TRUST_MAX = 16, 64
"""A read counts one up, a stray one down: nothing is fetched for readers in another order."""


class Order:
    """Follows an order of reading that was given, and proposes what comes next in it.

    `pages` are those of each image in the order in which they will be read, `sizes_bytes` (int64)
    those of all pages. An entry is one page of the order; one that follows itself is one entry.
    Pages that were proposed and not read yet have at most `budget_bytes`; a page that is larger is
    never proposed. Readers may be `slack` entries apart.

    Entries from `_first` to `_end` are remembered: those up to `_newest` are being read, those
    after it were proposed. Nothing waits for an entry that was left behind by the slack, or by
    half of what is remembered: a reader that takes every fourth image needs the budget for what
    it will read.
    """

    def __init__(
        self,
        pages: NDArray[np.int64],
        sizes_bytes: NDArray[np.int64],
        budget_bytes: int,
        slack: int = 256,
    ) -> None:
        self._order = _fold(pages)
        self._pages, self._sizes = self._order.data, sizes_bytes.data
        self._budget_bytes, self._slack = budget_bytes, slack
        self._first, self._end, self._newest = 0, 0, -1
        self._wanted: dict[int, list[int]] = {}  # entries to be read of each page, ascending
        self._read: dict[int, int] = {}  # of each page, the last entry that was read
        self._proposed: set[int] = set()
        self._strays: list[int] = []
        self._trust = _TRUST_MAX  # how far reads exceed strays of late
        self._rest = 0  # strays to let pass before the next search
        self._next_rest = _REST_MIN
        self.outstanding_bytes = 0  # of what was proposed, neither read nor given up

    def start(self) -> Sequence[int]:
        """Pages to fetch before anything is read."""
        return self._extend()

    def note(self, page: int) -> Sequence[int]:
        """Pages to fetch now that a page is read, the first one wanted first.

        A page that is remembered as proposed or read is not proposed again. Pages elsewhere in the
        order are taken for strays, until four of them in a row lie together somewhere: there the
        order goes on.
        """
        if self._consume(page):
            self._trust = min(self._trust + 1, _TRUST_MAX)
            self._strays.clear()
        else:
            self._trust = max(self._trust - 1, 0)
            if page not in self._strays:
                self._stray(page)
        return self._extend() if self._trust >= _TRUST_MIN else ()

    def _consume(self, page: int) -> bool:
        """Take the earliest entry of a page that is to be read; whether it is about where we are.

        A page whose next entry is further away than its last one is read again for the latter: ten
        images of a page are ten notes.
        """
        entries, last = self._wanted.get(page), self._read.get(page)
        if entries is None:
            return last is not None
        entry = entries[0]
        if last is not None and self._newest - last < entry - self._newest:
            return True
        self._take(page)
        self._read[page] = entry
        if entry > self._newest + self._slack:
            return False
        self._reach(max(entry, self._newest))
        return True

    def _take(self, page: int) -> None:
        """The first entry of a page is no longer to be read."""
        entries = self._wanted[page]
        del entries[0]
        if not entries:
            del self._wanted[page]
            if page in self._proposed:
                self._proposed.remove(page)
                self.outstanding_bytes -= self._sizes[page]

    def _reach(self, newest: int) -> None:
        """Move on to an entry, and forget what is too far behind it."""
        self._newest = newest
        behind = min(self._slack, (self._end - self._first) // 2)
        while self._first < newest - behind:
            page = self._pages[self._first]
            if self._wanted.get(page, [None])[0] == self._first:
                self._take(page)
            if self._read.get(page) == self._first:
                del self._read[page]
            self._first += 1

    def _extend(self) -> list[int]:
        pages: list[int] = []
        most = min(self._first + _REMEMBERED_MAX, len(self._pages))
        while self._end < most:
            page = self._pages[self._end]
            if page in self._wanted:
                self._wanted[page].append(self._end)
            elif self._afford(page, pages):
                self._wanted[page] = [self._end]
            else:
                break
            self._end += 1
        return pages

    def _afford(self, page: int, pages: list[int]) -> bool:
        """Propose a page, if need be; whether the budget allows it."""
        size: int = self._sizes[page]
        if page in self._read or size > self._budget_bytes:
            return True
        if self.outstanding_bytes + size > self._budget_bytes:
            return False
        self.outstanding_bytes += size
        self._proposed.add(page)
        pages.append(page)
        return True

    def _stray(self, page: int) -> None:
        """Look where the readers are, after four strays in a row, and less often where in vain."""
        if self._rest:
            self._rest -= 1
            return
        self._strays.append(page)
        if len(self._strays) < _STRAYS:
            return
        entry = self._search()
        self._strays.clear()
        self._rest = self._next_rest
        if entry is None:
            self._next_rest = min(self._next_rest * 2, _REST_MAX)
            return
        self._next_rest, self._trust = _REST_MIN, _TRUST_MAX
        if self._first <= entry < self._end:
            self._reach(entry)
        elif not self._first - self._slack <= entry < self._first or self._end == len(self._pages):
            self._begin(entry)  # and not for readers that are late

    def _begin(self, entry: int) -> None:
        self._wanted.clear()
        self._read.clear()
        self._proposed.clear()
        self._first = self._end = entry
        self.outstanding_bytes = 0
        self._newest = entry

    def _search(self) -> int | None:
        """Next entry of the last stray, from the newest on and round, that has the others near."""
        *others, found = (np.flatnonzero(self._order == page) for page in self._strays)
        # Not so far that pages which occur often would be near one another by chance.
        near = min(self._slack // 2, len(self._pages) // (20 * len(found) + 1))
        for entries in others:
            places = np.searchsorted(entries, found - near)
            padded = np.append(entries, np.iinfo(np.int64).max)
            found = found[padded[places] <= found + near]
        if not len(found):
            return None
        place = int(np.searchsorted(found, self._newest, side="right"))
        return int(found[place % len(found)])


def _fold(pages: NDArray[np.int64]) -> NDArray[np.int32]:
    """Pages without those that follow themselves."""
    kept = np.ones(len(pages), np.bool_)
    np.not_equal(pages[1:], pages[:-1], out=kept[1:])
    return pages[kept].astype(np.int32)
