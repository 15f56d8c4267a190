"""Where every value of one BYTE_ARRAY leaf lies in a Parquet file, found without reading values.

Owns page headers, levels and the PLAIN layout (https://parquet.apache.org/docs/file-format).
Knows nothing of files, footers, schemas or images: it is given the whole file as one buffer and
where the leaf's column chunks are.

A PLAIN page is a chain of <u32 length><bytes>: the place of a value is known only once the
length before it was read. Pages are independent, so all pages of all chunks are walked in
lockstep, one numpy gather a step; `prefetch` hears the places of a step before they are read,
which turns the page faults of a cold file into parallel reads without a thread.

Invariants, whatever the bytes: every failure is a `FormatError`; nothing outside a page is read
as part of it; time and memory are linear in the slots that the footer claims, at most `MAX_SLOTS`.

A *slot* is one entry of the leaf: a value, or the null or empty list in its place.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hffs.core.thrift import Cursor, Struct, read_struct
from hffs.errors import FormatError

MAX_SLOTS = 1 << 26
"""Slots of one leaf in one file; a few bytes can claim billions of nulls, at 29 bytes each."""

BLOCK_BYTES = 4096
"""What the kernel reads at a time: a place in a block that was already prefetched is not told."""

_MAX_HEADER_BYTES = 1 << 24
_MAX_HEADER_VALUES = 256
_MIN_LANES = 32
"""Below it each lane is walked alone. Warm, a step costs 19 us and a value alone 0.13 us, so they
break even at 150 lanes; cold, every lane more is one more read at a time."""
_MAX_LEVEL = 255
_PLAIN, _RLE = 0, 3
_U32 = struct.Struct("<I")
_PREFIX_BYTES = _U32.size
_PREFIX = np.arange(_PREFIX_BYTES)

Prefetch = Callable[[NDArray[np.int64]], None]
"""Told the offsets that are about to be read, in any order; broken ones may lie outside."""


@dataclass(frozen=True, slots=True)
class Levels:
    """Maximum levels of the leaf: steps of its path that are optional or repeated; repeated."""

    definition: int
    repetition: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """The leaf's part of one row group; `slots` is what Parquet calls `num_values`."""

    offset: int
    size_bytes: int
    slots: int
    rows: int

    @property
    def end(self) -> int:
        """Offset of the first byte behind the chunk."""
        return self.offset + self.size_bytes


class PageKind(IntEnum):
    """Page types that can hold or describe values of a chunk."""

    DATA = 0
    DICTIONARY = 2
    DATA_V2 = 3


@dataclass(frozen=True, slots=True)
class Page:
    """One page: its header's facts, and where its body lies in the file.

    `level_bytes` are the sizes of the repetition and the definition levels in a v2 body; a v1
    body says them itself.
    """

    kind: PageKind
    encoding: int
    slots: int
    offset: int
    size_bytes: int
    level_bytes: tuple[int, int] | None = None
    rle_levels: bool = True

    @property
    def end(self) -> int:
        """Offset of the first byte behind the page."""
        return self.offset + self.size_bytes

    @property
    def is_plain(self) -> bool:
        """Whether `locate_values` can walk it."""
        return self.kind != PageKind.DICTIONARY and self.encoding == _PLAIN and self.rle_levels


@dataclass(frozen=True, slots=True, eq=False)
class Values:
    """The slots of a leaf in file order, one array entry each.

    `rows` (int64) count from the first chunk on, `items` (int32) within a row. A value lies at
    `offsets` (int64) for `lengths` (int64) bytes, and has the maximum `definitions` (uint8);
    any other slot has offset -1 and length 0.
    """

    rows: NDArray[np.int64]
    items: NDArray[np.int32]
    definitions: NDArray[np.uint8]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


def no_prefetch(offsets: NDArray[np.int64]) -> None:
    """Let every read fault by itself (the bytes are in memory)."""


def list_pages(
    data: memoryview, chunks: Sequence[Chunk], levels: Levels, prefetch: Prefetch = no_prefetch
) -> list[Page]:
    """Read the page headers of all chunks, chunk after chunk, dictionary pages included.

    `data` is the whole file; `levels` are the same for all chunks.
    """
    _check_claims(data, chunks, levels)
    pages: list[list[Page]] = [[] for _ in chunks]
    ats = [chunk.offset for chunk in chunks]
    left = [chunk.slots for chunk in chunks]
    active = [i for i, slots in enumerate(left) if slots]
    while active:  # a header is found only through the one before it, so chunks are the lanes
        prefetch(np.array([ats[i] for i in active], np.int64))
        for i in active:
            page = _read_page(data, ats[i], chunks[i].end, levels)
            if page.slots > left[i] or len(pages[i]) > chunks[i].slots:
                raise _bad(ats[i], f"more values or pages than the footer's {chunks[i].slots}")
            pages[i].append(page)
            ats[i] = page.end
            left[i] -= page.slots
        active = [i for i in active if left[i]]
    return [page for each in pages for page in each]


def locate_values(
    data: memoryview,
    chunks: Sequence[Chunk],
    pages: Sequence[Page],
    levels: Levels,
    prefetch: Prefetch = no_prefetch,
) -> Values:
    """Find every slot of the chunks in all their pages (`list_pages`), which must be plain."""
    total = sum(page.slots for page in pages)
    repetitions, definitions = np.empty(total, np.uint8), np.empty(total, np.uint8)
    lanes = _Lanes.empty(len(pages))
    done = 0
    for i, page in enumerate(pages):
        levels_read = _read_levels(data, page, levels)
        slots = slice(done, done + page.slots)
        repetitions[slots] = levels_read.repetitions
        definitions[slots] = levels_read.definitions
        count = np.count_nonzero(levels_read.definitions == levels.definition)
        lanes.starts[i], lanes.ends[i], lanes.counts[i] = levels_read.end, page.end, count
        done = slots.stop
    rows = _number_rows(repetitions, chunks)
    present = definitions == levels.definition
    places = _walk_plain(data, lanes, prefetch)
    offsets, lengths = np.full(total, -1, np.int64), np.zeros(total, np.int64)
    offsets[present] = places + _PREFIX_BYTES
    lengths[present] = _lengths(places, lanes)
    return Values(rows, _number_items(repetitions, rows), definitions, offsets, lengths)


def decode_levels(stream: memoryview, maximum: int, count: int) -> NDArray[np.uint8]:
    """Decode `count` levels of the RLE / bit-packed hybrid; `maximum` is at most 255."""
    width = maximum.bit_length()
    levels = np.empty(count, np.uint8)
    cursor = Cursor(stream)
    done = 0
    while done < count:
        header = cursor.varint(32)
        run = min((header >> 1) * (8 if header & 1 else 1), count - done)
        if run == 0:  # Arrow refuses it too; a stream of empty runs would cost time for nothing
            raise FormatError("cannot read levels", why="a run of no levels")
        if header & 1:  # some writers cut the padding of the last run, so take no more than needed
            packed = np.frombuffer(cursor.take((run * width + 7) // 8), np.uint8)
            bits = np.unpackbits(packed, count=run * width, bitorder="little")
            grid = bits.reshape(run, width)
            levels[done : done + run] = np.packbits(grid, axis=1, bitorder="little")[:, 0]
        else:
            levels[done : done + run] = cursor.byte()
        done += run
    if (levels > maximum).any():
        raise FormatError("cannot read levels", why=f"a level over {maximum}")
    return levels


def _check_claims(data: memoryview, chunks: Sequence[Chunk], levels: Levels) -> None:
    if max(levels.definition, levels.repetition) > _MAX_LEVEL:
        raise FormatError("cannot read pages", why="the column is nested too deep")
    if sum(chunk.slots for chunk in chunks) > MAX_SLOTS:
        raise FormatError("cannot read pages", why=f"the footer claims over {MAX_SLOTS} values")
    for chunk in chunks:
        if min(chunk.offset, chunk.size_bytes, chunk.slots, chunk.rows) < 0:
            raise _bad(chunk.offset, "the footer has a negative number for its column chunk")
        if chunk.end > len(data):
            raise _bad(chunk.offset, "its column chunk ends behind the file")


def _read_page(data: memoryview, at: int, end: int, levels: Levels) -> Page:
    cursor = Cursor(data[at : min(end, at + _MAX_HEADER_BYTES)])
    try:
        header = read_struct(cursor, _MAX_HEADER_VALUES)
        page = _parse_header(header, at + cursor.at, levels)
    except FormatError as error:
        raise _bad(at, error.why) from error
    if page.slots < 0 or not 0 <= page.size_bytes <= end - page.offset:
        raise _bad(at, f"{page.slots} values in {page.size_bytes} bytes")
    return page


def _parse_header(header: Struct, offset: int, levels: Levels) -> Page:
    """Turn a PageHeader (field numbers: parquet.thrift) into a `Page` with its body at `offset`."""
    kind, size_bytes = header.integer(1), header.integer(3)
    if kind == PageKind.DICTIONARY:
        return Page(PageKind.DICTIONARY, header.struct(7).integer(2), 0, offset, size_bytes)
    if kind == PageKind.DATA_V2:
        v2 = header.struct(8)
        sections = (v2.integer(6), v2.integer(5))
        slots, encoding = v2.integer(1), v2.integer(4)
        return Page(PageKind.DATA_V2, encoding, slots, offset, size_bytes, sections)
    if kind != PageKind.DATA:
        raise FormatError("cannot read pages", why=f"page type {kind}")
    v1 = header.struct(5)
    rle = (v1.integer(3) == _RLE or not levels.definition) and (
        v1.integer(4) == _RLE or not levels.repetition
    )
    return Page(PageKind.DATA, v1.integer(2), v1.integer(1), offset, size_bytes, rle_levels=rle)


@dataclass(frozen=True, slots=True, eq=False)
class _PageLevels:
    repetitions: NDArray[np.uint8]
    definitions: NDArray[np.uint8]
    end: int  # offset in the file where levels end and values begin


def _read_levels(data: memoryview, page: Page, levels: Levels) -> _PageLevels:
    cursor = Cursor(data[page.offset : page.end])
    repetition_bytes, definition_bytes = page.level_bytes or (None, None)
    try:
        repetitions = _read_stream(cursor, repetition_bytes, levels.repetition, page.slots)
        definitions = _read_stream(cursor, definition_bytes, levels.definition, page.slots)
    except FormatError as error:
        raise _bad(page.offset, error.why) from error
    return _PageLevels(repetitions, definitions, page.offset + cursor.at)


def _read_stream(
    cursor: Cursor, size_bytes: int | None, maximum: int, count: int
) -> NDArray[np.uint8]:
    if size_bytes is None:  # v1: the stream says its own size, and is left out where all are 0
        size_bytes = _U32.unpack(cursor.take(4))[0] if maximum else 0
    stream = cursor.take(size_bytes)
    return decode_levels(stream, maximum, count) if maximum else np.zeros(count, np.uint8)


def _number_rows(repetitions: NDArray[np.uint8], chunks: Sequence[Chunk]) -> NDArray[np.int64]:
    """Row of each slot: level 0 begins a new one, which no chunk boundary may cut."""
    begins = repetitions == 0
    rows_before = np.concatenate([np.zeros(1, np.int64), np.cumsum(begins)])
    chunk_slots = np.array([chunk.slots for chunk in chunks], np.int64)
    ends = np.cumsum(chunk_slots)
    if not begins[(ends - chunk_slots)[chunk_slots > 0]].all():
        raise FormatError("cannot read pages", why="a row group begins within a row")
    if (rows_before[ends] != np.cumsum([chunk.rows for chunk in chunks])).any():
        raise FormatError("cannot read pages", why="pages and footer differ in the rows")
    return rows_before[1:] - 1


def _number_items(repetitions: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    first_slots = np.flatnonzero(repetitions == 0)
    return (np.arange(len(rows)) - first_slots[rows]).astype(np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class _Lanes:
    """Pages to walk: where the values of each begin and end in the file, and how many there are."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, count: int) -> _Lanes:
        return cls(*(np.empty(count, np.int64) for _ in range(3)))


def _walk_plain(data: memoryview, lanes: _Lanes, prefetch: Prefetch) -> NDArray[np.int64]:
    """Offsets of all length prefixes, lane after lane."""
    if (lanes.counts * _PREFIX_BYTES > lanes.ends - lanes.starts).any():
        raise FormatError("cannot read pages", why="more values than bytes for their lengths")
    places = np.empty(lanes.counts.sum(), np.int64)
    order = np.argsort(-lanes.counts)  # so that the lanes still active lead
    at, ends, counts = lanes.starts[order], lanes.ends[order], lanes.counts[order]
    slots = (np.cumsum(lanes.counts) - lanes.counts)[order]
    told = np.full(len(at), -1, np.int64)
    file = np.frombuffer(data, np.uint8)
    step, active = 0, int(np.count_nonzero(counts))
    while active >= _MIN_LANES:
        here, blocks = at[:active], at[:active] // BLOCK_BYTES
        prefetch(here[blocks != told[:active]])
        told[:active] = blocks
        places[slots[:active] + step] = here
        at[:active] = _next_places(file, here, ends[:active])
        step += 1
        active = int(np.searchsorted(-counts, -step))
    for lane in range(active):
        walked = _walk_alone(data, int(at[lane]), int(ends[lane]), int(counts[lane]) - step)
        places[slots[lane] + step : slots[lane] + counts[lane]] = walked[:-1]
        at[lane] = walked[-1]
    if (at != ends).any():
        raise _bad(int(at[at != ends][0]), "its values do not end where the page does")
    return places


def _next_places(
    file: NDArray[np.uint8], at: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    values = at + _PREFIX_BYTES
    late = values > ends
    if late.any():
        raise _bad(int(at[late][0]), "a value runs over the end of the page")
    values += file[at[:, None] + _PREFIX].view("<u4")[:, 0]
    return values


def _walk_alone(data: memoryview, at: int, end: int, count: int) -> NDArray[np.int64]:
    """Offsets of the next `count` prefixes of one lane, and the offset behind their values."""
    places = array("q", [at])
    last = end - _PREFIX_BYTES
    for _ in range(count):
        if at > last:
            raise _bad(at, "a value runs over the end of the page")
        at += _PREFIX_BYTES + _U32.unpack_from(data, at)[0]
        places.append(at)
    return np.frombuffer(places, np.int64)


def _lengths(places: NDArray[np.int64], lanes: _Lanes) -> NDArray[np.int64]:
    """Lengths of all values: each ends where the next prefix, or its page's end, is."""
    value_ends = np.append(places[1:], 0)
    filled = lanes.counts > 0
    value_ends[np.cumsum(lanes.counts)[filled] - 1] = lanes.ends[filled]
    return value_ends - places - _PREFIX_BYTES


def _bad(offset: int, why: str) -> FormatError:
    return FormatError("cannot read the page", f"at byte {offset}", why=why)
