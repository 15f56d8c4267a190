"""Parts of large values that lie elsewhere: read by blocks, so that a seek fetches little.

Owns how a value is cut into blocks, and which of them are fetched before anybody asks. Must not
know what a value is, where it was found, or how ranges are fetched (`RangeReader`). Thread-safe.

Invariants: blocks are counted from the start of the value, each is asked for and kept under its
own range, and none reaches beyond the value; whoever jumps fetches the blocks that it reads and two
more at most; memory is bounded by `_OPEN_BYTES`, `_VALUES` trackers, and what is asked for at once.
"""

from __future__ import annotations

import threading

import numpy as np

from hffs.core.readahead import Streams
from hffs.data.recent import Recent
from hffs.data.remote.files import Range, RangeReader, RemoteFile

BLOCK_BYTES = 256 << 10

_OPEN_BYTES = 8 << 20
"""Blocks read last, open: most reads are smaller than a block, and each would have its checksum
made anew. Where the disk keeps nothing, each would fetch it anew.
"""

_VALUES = 64
"""Values whose readers are followed."""

_NOTED = 3
"""Blocks at the end of one read that count as read one after the other. That is as many as it takes
to begin to read ahead; the more of a long read were counted, the more would be fetched behind it.
"""

_AHEAD = 32
_TOGETHER, _NEAR = 8, 8
"""Blocks that are fetched ahead by one request, unless one of them is wanted that soon."""

_AROUND = 2 * _AHEAD
_PENDING = 4 * _AHEAD


class Blocks:
    """Reads parts of values; nothing has to be closed but the reader."""

    def __init__(self, reader: RangeReader) -> None:
        self._reader = reader
        self._open: Recent[memoryview] = Recent(_OPEN_BYTES, _OPEN_BYTES // BLOCK_BYTES, len)
        self._followers: Recent[_Follower] = Recent(_VALUES, _VALUES, lambda _: 1)
        self._lock = threading.Lock()

    def read(self, file: RemoteFile, value: Range, start: int, stop: int) -> memoryview:
        """Bytes of a value from `start` up to `stop`, as far as it has them; a view of one block
        where that holds them. Raises what fetching raises.
        """
        start, stop = clip(value.size_bytes, start, stop)
        numbers = _list_blocks(start, stop)
        if not numbers:
            return memoryview(b"")
        pieces = self._take(file, value, numbers)
        first = numbers[0] * BLOCK_BYTES
        if len(pieces) == 1:
            return pieces[0][start - first : stop - first]
        pieces[-1] = pieces[-1][: stop - numbers[-1] * BLOCK_BYTES]
        pieces[0] = pieces[0][start - first :]
        return memoryview(b"".join(pieces))

    def has(self, file: RemoteFile, value: Range, start: int, stop: int) -> bool:
        """Whether nobody has to be asked for a part."""
        numbers = _list_blocks(*clip(value.size_bytes, start, stop))
        places = [_place(value, number) for number in numbers]
        return all(
            self._open.get((file, place)) is not None or self._reader.holds(file, place)
            for place in places
        )

    def _take(self, file: RemoteFile, value: Range, numbers: range) -> list[memoryview]:
        """Blocks of a value, in order; those that nobody has are asked for together."""
        places = [_place(value, number) for number in numbers]
        found = {place: self._open.get((file, place)) for place in places}
        lacking = [place for place, block in found.items() if block is None]
        under_way = self._reader.submit(file, lacking) if lacking else []
        self._read_ahead(file, value, numbers)  # before anybody waits
        for place, future in zip(lacking, under_way, strict=True):
            found[place] = block = future.result()
            self._open.put((file, place), block)
        return [block for block in found.values() if block is not None]

    def _read_ahead(self, file: RemoteFile, value: Range, numbers: range) -> None:
        end = -(-value.size_bytes // BLOCK_BYTES)
        if numbers[-1] + 1 == end:
            return
        with self._lock:
            follower = self._followers.get((file, value))
            if follower is None:
                follower = _Follower(end)
                self._followers.put((file, value), follower)
            wanted = follower.note(numbers)
        if wanted:
            places = [_place(value, number) for number in wanted]
            self._reader.submit(file, places, ahead=True)


class _Follower:
    """Follows the readers of one value; what they will want is gathered for larger requests."""

    def __init__(self, end: int) -> None:
        self._streams = Streams(np.array([0, end], np.int64), _AHEAD)
        self._pending: list[int] = []

    def note(self, numbers: range) -> list[int]:
        """Blocks to fetch now that some were read, ascending."""
        for number in numbers[-_NOTED:]:
            self._pending += self._streams.note(number)
        last = numbers[-1]
        near = sorted({each for each in self._pending if last < each <= last + _AROUND})
        if near and (len(near) >= _TOGETHER or near[0] <= last + _NEAR):
            self._pending = [each for each in self._pending if abs(each - last) > _AROUND]
            return near
        del self._pending[:-_PENDING]  # what readers proposed that went elsewhere
        return []


def clip(size_bytes: int, start: int, stop: int) -> Range:
    """What there is of a part of a value.

    >>> clip(10, 8, 12), clip(10, 12, 20)
    (Range(start=8, stop=10), Range(start=10, stop=10))
    """
    start = min(max(start, 0), size_bytes)
    return Range(start, max(start, min(stop, size_bytes)))


def _list_blocks(start: int, stop: int) -> range:
    """Numbers of the blocks that hold a part; none of an empty one."""
    first = start // BLOCK_BYTES
    return range(first, -(-stop // BLOCK_BYTES) if start < stop else first)


def _place(value: Range, number: int) -> Range:
    start = value.start + number * BLOCK_BYTES
    return Range(start, min(start + BLOCK_BYTES, value.stop))
