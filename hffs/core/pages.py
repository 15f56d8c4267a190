"""Where every value of one BYTE_ARRAY leaf lies in a Parquet file, found without reading values.

Owns the walk over the pages of all chunks (https://parquet.apache.org/docs/file-format).
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

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.core.levels import MAX_LEVEL, Levels, PageLevels, read_levels
from hffs.core.page_headers import MAX_HEADER_BYTES, Encoding, PageKind, read_header
from hffs.core.plain import PREFIX_BYTES, walk_plain
from hffs.core.thrift import Cursor
from hffs.errors import FormatError

MAX_SLOTS = 1 << 26
"""Slots of one leaf in one file; a few bytes can claim billions of nulls, at 29 bytes each."""

BLOCK_BYTES = 4096
"""What the kernel reads at a time: a place in a block that was already prefetched is not told."""

_MIN_LANES = 32
"""Below it each lane is walked alone. Warm, a step costs 19 us and a value alone 0.13 us, so they
break even at 150 lanes; cold, every lane more is one more read at a time."""
_EXTRA_PAGES = 2
"""Pages of a chunk without slots, at most: a dictionary, and the empty page that pyarrow writes
before the last of some lists."""
_PREFIX = np.arange(PREFIX_BYTES)

Prefetch = Callable[[NDArray[np.int64]], None]
"""Told the offsets that are about to be read, in any order; broken ones may lie outside."""


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
        return (
            self.kind != PageKind.DICTIONARY and self.encoding == Encoding.PLAIN and self.rle_levels
        )


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
            if page.slots > left[i] or len(pages[i]) > chunks[i].slots + _EXTRA_PAGES:
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
        levels_read, lanes.starts[i] = _read_page_levels(data, page, levels)
        slots = slice(done, done + page.slots)
        repetitions[slots] = levels_read.repetitions
        definitions[slots] = levels_read.definitions
        count = np.count_nonzero(levels_read.definitions == levels.definition)
        lanes.ends[i], lanes.counts[i] = page.end, count
        done = slots.stop
    rows = _number_rows(repetitions, chunks)
    present = definitions == levels.definition
    places = _walk_plain(data, lanes, prefetch)
    offsets, lengths = np.full(total, -1, np.int64), np.zeros(total, np.int64)
    offsets[present] = places + PREFIX_BYTES
    lengths[present] = _lengths(places, lanes)
    return Values(rows, _number_items(repetitions, rows), definitions, offsets, lengths)


def _check_claims(data: memoryview, chunks: Sequence[Chunk], levels: Levels) -> None:
    if max(levels.definition, levels.repetition) > MAX_LEVEL:
        raise FormatError("cannot read pages", why="the column is nested too deep")
    if sum(chunk.slots for chunk in chunks) > MAX_SLOTS:
        raise FormatError("cannot read pages", why=f"the footer claims over {MAX_SLOTS} values")
    for chunk in chunks:
        if min(chunk.offset, chunk.size_bytes, chunk.slots, chunk.rows) < 0:
            raise _bad(chunk.offset, "the footer has a negative number for its column chunk")
        if chunk.end > len(data):
            raise _bad(chunk.offset, "its column chunk ends behind the file")


def _read_page(data: memoryview, at: int, end: int, levels: Levels) -> Page:
    cursor = Cursor(data[at : min(end, at + MAX_HEADER_BYTES)])
    try:
        header = read_header(cursor)
    except FormatError as error:
        raise _bad(at, error.why) from error
    offset = at + cursor.at
    if header.stored_bytes > end - offset:
        raise _bad(at, f"{header.slots} values in {header.stored_bytes} bytes")
    return Page(
        header.kind,
        header.encoding,
        0 if header.kind == PageKind.DICTIONARY else header.slots,
        offset,
        header.stored_bytes,
        header.level_bytes,
        header.has_rle_levels(levels),
    )


def _read_page_levels(data: memoryview, page: Page, levels: Levels) -> tuple[PageLevels, int]:
    """Levels of a page, and the offset where its values begin."""
    cursor = Cursor(data[page.offset : page.end])
    try:
        read = read_levels(cursor, page.level_bytes, levels, page.slots)
    except FormatError as error:
        raise _bad(page.offset, error.why) from error
    return read, page.offset + cursor.at


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
    if (lanes.counts * PREFIX_BYTES > lanes.ends - lanes.starts).any():
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
        walked = walk_plain(data, int(at[lane]), int(ends[lane]), int(counts[lane]) - step)
        places[slots[lane] + step : slots[lane] + counts[lane]] = walked[:-1]
        at[lane] = walked[-1]
    if (at != ends).any():
        raise _bad(int(at[at != ends][0]), "its values do not end where the page does")
    return places


def _next_places(
    file: NDArray[np.uint8], at: NDArray[np.int64], ends: NDArray[np.int64]
) -> NDArray[np.int64]:
    values = at + PREFIX_BYTES
    late = values > ends
    if late.any():
        raise _bad(int(at[late][0]), "a value runs over the end of the page")
    values += file[at[:, None] + _PREFIX].view("<u4")[:, 0]
    return values


def _lengths(places: NDArray[np.int64], lanes: _Lanes) -> NDArray[np.int64]:
    """Lengths of all values: each ends where the next prefix, or its page's end, is."""
    value_ends = np.append(places[1:], 0)
    filled = lanes.counts > 0
    value_ends[np.cumsum(lanes.counts)[filled] - 1] = lanes.ends[filled]
    return value_ends - places - PREFIX_BYTES


def _bad(offset: int, why: str) -> FormatError:
    return FormatError("cannot read the page", f"at byte {offset}", why=why)
