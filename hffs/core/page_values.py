"""The values of one BYTE_ARRAY page, given nothing but the page: its header and its body, exactly.

Owns what a body is made of: levels, then values that are PLAIN, indexes into a dictionary, or
DELTA_LENGTH_BYTE_ARRAY (https://parquet.apache.org/docs/file-format/data-pages). Knows nothing of
files: who fetched the page, and what decompresses it, is the caller's.

Values are never copied: they are places in the page if that is not compressed, in the body that
`Decompress` gave, or in the dictionary.

Invariants, whatever the bytes: every failure is a `FormatError`, an `UnsupportedError` where
another reader may do better; no more than `max_bytes` is decompressed, nor taken for the slots of a
page; time and memory are linear in the bytes and the slots.

Where values are PLAIN and not compressed, the first bytes of a page and the length before each
value tell where one lies (`find_plain`, `hffs.core.plain.step_plain`): of a page of large values
nothing more has to be there.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.core.deltas import read_deltas
from hffs.core.levels import MAX_LEVEL, Levels, PageLevels, fill_hybrid, read_levels
from hffs.core.page_headers import (
    Encoding,
    PageHeader,
    PageKind,
    read_header,
)
from hffs.core.plain import PREFIX_BYTES, walk_plain
from hffs.core.thrift import Cursor
from hffs.errors import FormatError, UnsupportedError

SLOT_BYTES = 18
"""What `PageValues` takes for a slot: two levels, an offset and a length."""

MOST_SLOTS = 1 << 16
"""Of a page that is read by parts: one that has more has no large values, or hardly any."""

_ENTRY_BYTES = 16
_MAX_INDEX_BITS = 32
_INDEXED = {Encoding.PLAIN_DICTIONARY, Encoding.RLE_DICTIONARY}

Decompress = Callable[[memoryview, int], memoryview]
"""From compressed bytes and the size of what they hold to that, FormatError where they do not."""


@dataclass(frozen=True, slots=True, eq=False)
class Dictionary:
    """Distinct values of a column chunk: entry i is `lengths[i]` bytes (int64) at `offsets[i]`."""

    data: memoryview
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PageValues(PageLevels):
    """The slots of a page in order, one array entry each.

    A value is `lengths` bytes (int64) of `data` at `offsets` (int64), and has the maximum
    `definitions` (uint8); any other slot has offset -1 and length 0. Values may share bytes.
    A slot whose `repetitions` (uint8) is 0 begins a row.
    """

    data: memoryview
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class PlainBody:
    """The chain of PLAIN values of a page, which is `count` values from byte `start` up to `end`.

    Both are counted from the beginning of the page. `numbers` (int32) has an entry for each slot:
    which value of the chain it is, -1 where it has none.
    """

    start: int
    end: int
    count: int
    numbers: NDArray[np.int32]

    def number(self, slot: int) -> int:
        """Which value is that of a slot; FormatError where it has none."""
        if slot >= len(self.numbers) or self.numbers[slot] < 0:
            raise _bad(f"it has no value in slot {slot}")
        return int(self.numbers[slot])


def check_page(page: memoryview) -> None:
    """Raise `FormatError` unless these are one header, its whole body, and the checksum of that.

    The checksum (CRC-32 of the body as it is stored) is what tells a bit that was flipped on the
    way; few writers give one, and where there is none only the sizes are checked. It reads every
    byte, so it is for bytes that have just come, not for each time that they are decoded.
    """
    header, body = _split(page)
    if header.crc is not None and zlib.crc32(body.data[body.at :]) != header.crc:
        raise _bad("its checksum differs")


def needs_dictionary(page: memoryview) -> bool:
    """Whether the values of a data page are indexes into a dictionary."""
    return read_header(Cursor(page)).encoding in _INDEXED


def decode_dictionary(
    page: memoryview, decompress: Decompress | None, max_bytes: int
) -> Dictionary:
    """Find the entries of a dictionary page; `decompress` is None for a chunk that is not."""
    header, body = _split(page)
    if header.kind != PageKind.DICTIONARY:
        raise _bad("it holds values, and not the dictionary")
    if header.encoding not in {Encoding.PLAIN, Encoding.PLAIN_DICTIONARY}:
        raise _unsupported(f"a dictionary in encoding {header.encoding}")
    _check_claims(header, _ENTRY_BYTES, max_bytes)
    return _locate_plain(_expand(header, body, decompress), header.slots)


def decode_page(
    page: memoryview,
    levels: Levels,
    decompress: Decompress | None,
    dictionary: Dictionary | None,
    max_bytes: int,
) -> PageValues:
    """Find the value of every slot of a data page.

    `decompress` is None for a chunk that is not compressed, `dictionary` for one that has none. Up
    to `max_bytes` may be decompressed, and as much taken for slots, at `SLOT_BYTES` each. Whether
    the page has the rows that the offset index says is left to the caller.
    """
    header, body = _split(page)
    _check_levels(header, levels)
    if header.encoding not in _LOCATE:
        raise _unsupported(f"values in encoding {header.encoding}")
    _check_claims(header, SLOT_BYTES, max_bytes)
    if header.kind == PageKind.DATA:  # the levels of a v2 page are never compressed
        body = _expand(header, body, decompress)
    read = read_levels(body, header.level_bytes, levels, header.slots)
    if header.kind == PageKind.DATA_V2:
        body = _expand(header, body, decompress if header.may_compress else None)
    present = read.definitions == levels.definition
    values = _LOCATE[header.encoding](body, int(np.count_nonzero(present)), dictionary)
    offsets, lengths = np.full(header.slots, -1, np.int64), np.zeros(header.slots, np.int64)
    offsets[present], lengths[present] = values.offsets, values.lengths
    return PageValues(read.repetitions, read.definitions, values.data, offsets, lengths)


def decode_head(
    head: memoryview, levels: Levels, max_bytes: int, *, compressed: bool
) -> PageLevels | None:
    """Read the levels of a data page from its first bytes, however many these are.

    None where more of the page is wanted: bytes that were not given, or its decompression, which a
    v1 page needs if its chunk is `compressed`. Where the head makes no sense that is None too: it
    may be cut in any place, and only the whole page tells what is wrong with it. At most
    `max_bytes` are taken for the slots, as if they were decoded.
    """
    cursor = Cursor(head)
    header = _begin(cursor, levels)
    if header is None:
        return None
    _check_claims(header, SLOT_BYTES, max_bytes)
    if header.kind == PageKind.DATA and compressed:
        return None
    return _read_levels(cursor, header, levels)


def find_plain(
    head: memoryview, page_bytes: int, levels: Levels, *, compressed: bool
) -> PlainBody | None:
    """Find where the values of a data page begin, and which slots have one, from its first bytes.

    `page_bytes` is how large the page is, `compressed` whether its chunk is. None where more of the
    page is wanted, or where its head makes no sense, as of `decode_head`. `UnsupportedError` where
    no more than these bytes would help, as the whole page is wanted: its values are compressed, or
    not PLAIN, or there are more than `MOST_SLOTS` of them.
    """
    cursor = Cursor(head)
    header = _begin(cursor, levels)
    if header is None:
        return None
    end = cursor.at + header.stored_bytes
    if end != page_bytes:
        raise _bad(f"{header.stored_bytes} bytes in {page_bytes - cursor.at}")
    if compressed and (header.kind == PageKind.DATA or header.may_compress):
        raise _unsupported("values that are compressed, by parts")
    if header.encoding != Encoding.PLAIN:
        raise _unsupported(f"values in encoding {header.encoding}, by parts")
    if header.full_bytes != header.stored_bytes:
        raise _bad(f"{header.stored_bytes} bytes that are to be {header.full_bytes}")
    if header.slots > MOST_SLOTS:
        raise _unsupported(f"{header.slots} values, by parts")
    read = _read_levels(cursor, header, levels)
    return None if read is None else _chain(read.definitions == levels.definition, cursor.at, end)


def _chain(present: NDArray[np.bool_], start: int, end: int) -> PlainBody:
    numbers = np.cumsum(present, dtype=np.int32)
    count = int(numbers[-1]) if len(numbers) else 0
    if count * PREFIX_BYTES > end - start:
        raise _bad("more values than bytes for their lengths")
    return PlainBody(start, end, count, np.where(present, numbers - 1, -1).astype(np.int32))


def _begin(cursor: Cursor, levels: Levels) -> PageHeader | None:
    """Header of a data page, given its first bytes; None if these are too few, or make no sense."""
    try:
        header = read_header(cursor)
    except UnsupportedError:
        raise
    except FormatError:
        return None
    _check_levels(header, levels)
    return header


def _read_levels(cursor: Cursor, header: PageHeader, levels: Levels) -> PageLevels | None:
    """Levels behind a header, where the bytes are enough; the cursor is left behind them."""
    body = Cursor(cursor.data[: cursor.at + header.stored_bytes], cursor.at)
    try:
        read = read_levels(body, header.level_bytes, levels, header.slots)
    except FormatError:
        return None
    cursor.at = body.at
    return read


def _split(page: memoryview) -> tuple[PageHeader, Cursor]:
    """Header of a page, and a cursor over the page that is at its body."""
    body = Cursor(page)
    header = read_header(body)
    if header.stored_bytes != len(body.data) - body.at:
        raise _bad(f"{header.stored_bytes} bytes in {len(body.data) - body.at}")
    return header, body


def _check_levels(header: PageHeader, levels: Levels) -> None:
    if header.kind == PageKind.DICTIONARY:
        raise _bad("it holds the dictionary, and not values")
    if max(levels.definition, levels.repetition) > MAX_LEVEL:
        raise _unsupported("the column is nested too deep")
    if not header.has_rle_levels(levels):
        raise _unsupported("levels in an encoding other than RLE")


def _check_claims(header: PageHeader, slot_bytes: int, max_bytes: int) -> None:
    """Refuse what would take too much memory, before any is taken."""
    if header.full_bytes > max_bytes or header.slots * slot_bytes > max_bytes:
        raise _bad(f"{header.slots} values in {header.full_bytes} bytes, over {max_bytes} bytes")


def _expand(header: PageHeader, body: Cursor, decompress: Decompress | None) -> Cursor:
    """What is left of a body, decompressed."""
    if not decompress:
        if header.full_bytes != header.stored_bytes:
            raise _bad(f"{header.stored_bytes} bytes that are to be {header.full_bytes}")
        return body
    size_bytes = header.full_bytes - sum(header.level_bytes or ())
    if size_bytes < 0:
        raise _bad("levels that are longer than all of it")
    if size_bytes == 0:  # nulls alone: some writers then have nothing compressed, or nothing at all
        return Cursor(memoryview(b""))
    expanded = Cursor(decompress(body.data[body.at :], size_bytes))
    if len(expanded.data) != size_bytes:
        raise _bad(f"{len(expanded.data)} bytes that were to be {size_bytes}")
    return expanded


def _locate_plain(body: Cursor, count: int, _: Dictionary | None = None) -> Dictionary:
    end = len(body.data)
    if count * PREFIX_BYTES > end - body.at:
        raise _bad("more values than bytes for their lengths")
    places = walk_plain(body.data, body.at, end, count)
    if places[-1] != end:
        raise _bad("its values do not end where the page does")
    offsets = places[:-1] + PREFIX_BYTES
    return Dictionary(body.data, offsets, places[1:] - offsets)


def _locate_indexes(body: Cursor, count: int, dictionary: Dictionary | None) -> Dictionary:
    if dictionary is None:
        raise _bad("it takes a dictionary, and its column chunk has none")
    indexes = np.zeros(count, np.uint32)
    if count:  # a page of nulls alone may not even say how many bits an index has
        width = body.byte()
        if width > _MAX_INDEX_BITS:
            raise _bad(f"indexes of {width} bits")
        fill_hybrid(body.data[body.at :], width, indexes)
        if indexes.max() >= len(dictionary.offsets):
            raise _bad(f"index {indexes.max()} in a dictionary of {len(dictionary.offsets)}")
    return Dictionary(dictionary.data, dictionary.offsets[indexes], dictionary.lengths[indexes])


def _locate_deltas(body: Cursor, count: int, _: Dictionary | None) -> Dictionary:
    lengths = read_deltas(body, count)
    ends = np.cumsum(lengths) + body.at
    if (lengths < 0).any():
        raise _bad("a length below 0")
    if (ends[-1] if count else body.at) != len(body.data):
        raise _bad("its values do not end where the page does")
    return Dictionary(body.data, ends - lengths, lengths)


_LOCATE: dict[int, Callable[[Cursor, int, Dictionary | None], Dictionary]] = {
    Encoding.PLAIN.value: _locate_plain,
    Encoding.PLAIN_DICTIONARY.value: _locate_indexes,
    Encoding.RLE_DICTIONARY.value: _locate_indexes,
    Encoding.DELTA_LENGTH_BYTE_ARRAY.value: _locate_deltas,
}


def _bad(why: str) -> FormatError:
    return FormatError("cannot read the page", why=why)


def _unsupported(why: str) -> UnsupportedError:
    return UnsupportedError("cannot read the page", why=why)
