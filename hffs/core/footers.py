"""What the footer of a Parquet file, and the page indexes that it names, say of one leaf column.

Owns the structs FileMetaData, OffsetIndex and ColumnIndex (field numbers:
https://github.com/apache/parquet-format, parquet.thrift). Knows nothing of schemas: a leaf is its
ordinal; nor of pages beyond their places.

Invariants, whatever the bytes: every failure is a `FormatError`, an `UnsupportedError` where
another reader may do better; time and memory are linear in the bytes. Places are checked against
each other, and may still lie outside a file whose size is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.core.page_headers import Encoding
from hffs.core.tails import Span, bad_footer, read_count
from hffs.core.thrift import (
    Cursor,
    Kind,
    Struct,
    iterate_fields,
    read_struct,
    skip_value,
)
from hffs.core.varints import MAX_VARINT_BYTES, decode_integers, find_ends
from hffs.errors import UnsupportedError

_BYTE_ARRAY = 6
_MAX_CHUNK_VALUES = 1 << 16
_MAX_LOCATION_VALUES = 16
_LOCATION = np.array([0x16, 0x15, 0x16, 0], np.uint8)
"""A PageLocation is these bytes, with an integer between each two of them."""
_INTEGERS = frozenset({Kind.I16, Kind.I32, Kind.I64})
_STRUCTS = frozenset({Kind.STRUCT})
_DICTIONARIES = {Encoding.PLAIN_DICTIONARY, Encoding.RLE_DICTIONARY}


@dataclass(frozen=True, slots=True)
class ChunkPlace:
    """A leaf's part of one row group: where it lies, and what the footer says of it.

    `slots` is what Parquet calls `num_values`, `codec` its number for the compression (0: none).
    `encodings` are those of values and levels. `null_count` is None where nobody counted; it counts
    slots without a value, empty lists too.
    """

    chunk: Span
    slots: int
    rows: int
    codec: int
    encodings: frozenset[int]
    null_count: int | None
    offset_index: Span | None

    @property
    def has_dictionary(self) -> bool:
        """Whether some pages may take a dictionary."""
        return not self.encodings.isdisjoint(_DICTIONARIES)


@dataclass(frozen=True, slots=True, eq=False)
class OffsetIndex:
    """Where the data pages of a chunk lie; all arrays are int64 and as long as there are pages.

    Page i is `sizes[i]` bytes, its header among them, at `offsets[i]` in the file; its first row is
    `first_rows[i]` of the row group. A page begins with a row, and ends with one. It
    has none, and no values, if the next page begins with the same row (pyarrow writes such before
    the last page of lists), so the page of a row is the last one that begins with it or before it.
    """

    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]
    first_rows: NDArray[np.int64]


def parse_chunks(footer: memoryview, leaf: int) -> list[ChunkPlace]:
    """List the chunks of a leaf, one for each row group, from the bytes of a FileMetaData struct.

    What the leaf does not need is skipped: a footer of 5 row groups and 12 columns takes 1.5 ms.
    """
    cursor = Cursor(footer)
    places = []
    for number, kind in iterate_fields(cursor):
        if number == 4:
            for _ in range(read_count(cursor, kind, _STRUCTS)):
                places.append(_parse_group(cursor, leaf))
        else:
            skip_value(cursor, kind)
    return places


def _parse_group(cursor: Cursor, leaf: int) -> ChunkPlace:
    rows, column = None, None
    for number, kind in iterate_fields(cursor):
        if number == 1:
            for ordinal in range(read_count(cursor, kind, _STRUCTS)):
                if ordinal == leaf:
                    column = read_struct(cursor, _MAX_CHUNK_VALUES)
                else:
                    skip_value(cursor, Kind.STRUCT)
        elif number == 3 and kind in _INTEGERS:
            rows = cursor.signed(64)
        else:
            skip_value(cursor, kind)
    if column is None or rows is None:
        why = f"a row group without column {leaf}" if column is None else "rows of no number"
        raise bad_footer(why)
    return _parse_column(column, rows)


def _parse_column(column: Struct, rows: int) -> ChunkPlace:
    """Turn a ColumnChunk into a `ChunkPlace`."""
    if 1 in column.fields:
        raise UnsupportedError("cannot read the footer", why="a column lies in another file")
    if 8 in column.fields:
        raise UnsupportedError("cannot read the footer", why="a column is encrypted")
    facts = column.struct(3)
    if facts.integer(1) != _BYTE_ARRAY:
        raise UnsupportedError("cannot read the footer", why="a column that is not of BYTE_ARRAY")
    offset, dictionary = facts.integer(9), facts.optional_integer(11) or 0
    if dictionary > 0:  # 0, where a header of the file is, means that there is none
        offset = min(offset, dictionary)
    statistics = facts.struct(12) if 12 in facts.fields else Struct({})
    place = ChunkPlace(
        Span(offset, facts.integer(7)),
        facts.integer(5),
        rows,
        facts.integer(4),
        frozenset(facts.integers(2)),
        statistics.optional_integer(3),
        _parse_span(column, 4),
    )
    if min(offset, place.chunk.size_bytes, place.slots, rows, place.null_count or 0) < 0:
        raise bad_footer("a negative number for a column chunk")
    return place


def _parse_span(column: Struct, field: int) -> Span | None:
    """Place of an index, whose offset and length are two fields; None where there is none."""
    offset, size_bytes = column.optional_integer(field), column.optional_integer(field + 1)
    if offset is None or size_bytes is None:
        return None
    if offset < 0 or size_bytes <= 0:
        raise bad_footer(f"an index of {size_bytes} bytes at byte {offset}")
    return Span(offset, size_bytes)


def parse_offset_index(data: memoryview, place: ChunkPlace) -> OffsetIndex:
    """Parse the OffsetIndex of a chunk, whose pages must lie in it, in order of bytes and rows.

    Takes 0.3 us a page, and 0.2 ms more: a set of ten million rows may have a million.
    """
    cursor = Cursor(data)
    pages = None
    for number, kind in iterate_fields(cursor):
        if number == 1:
            pages = _read_locations(cursor, read_count(cursor, kind, _STRUCTS))
        else:
            skip_value(cursor, kind)
    if pages is None:
        raise bad_footer("an offset index without pages")
    _check_pages(pages, place)
    return pages


def _read_locations(cursor: Cursor, count: int) -> OffsetIndex:
    """Read `count` PageLocation structs: offset, size, first row."""
    if regular := _read_regular_locations(cursor, count):
        return regular
    structs = [read_struct(cursor, _MAX_LOCATION_VALUES) for _ in range(count)]
    fields = ([each.integer(number) for each in structs] for number in (1, 2, 3))
    return OffsetIndex(*(np.array(values, np.int64) for values in fields))


def _read_regular_locations(cursor: Cursor, count: int) -> OffsetIndex | None:
    """Read them if they are as every writer writes them; else None, and the cursor does not move.

    A byte under 0x80 ends an integer or is no part of one, so these bytes divide the structs.
    """
    most = count * (3 * MAX_VARINT_BYTES + len(_LOCATION))
    data = np.frombuffer(cursor.data[cursor.at :], np.uint8)[:most]
    ends = find_ends(data, 7 * count)
    if len(ends) < 7 * count:
        return None
    starts = np.concatenate([np.zeros(1, np.int64), ends])
    cursor_end = cursor.at + int(starts[-1])
    starts, ends = starts[:-1].reshape(count, 7), ends.reshape(count, 7)
    fixed = data[starts[:, ::2]]
    if (ends - starts != 1)[:, ::2].any() or (fixed != _LOCATION).any():
        return None
    cursor.at = cursor_end
    columns = (decode_integers(data, starts[:, i], ends[:, i]) for i in (1, 3, 5))
    return OffsetIndex(*columns)


def _check_pages(pages: OffsetIndex, place: ChunkPlace) -> None:
    offsets, sizes, first_rows = pages.offsets, pages.sizes, pages.first_rows
    if not len(offsets):
        if place.slots:
            raise bad_footer(f"an offset index of no pages for {place.slots} values")
        return
    start, end = place.chunk.offset, place.chunk.end
    if offsets.min() < start or int(offsets.max()) > end or sizes.min() <= 0:
        raise bad_footer("a page that lies outside its column chunk")
    ends = np.append(offsets[1:], end)
    if (sizes > ends - offsets).any():
        raise bad_footer("a page that runs into the next, or over its column chunk")
    if first_rows[0] or (first_rows[1:] < first_rows[:-1]).any() or first_rows[-1] >= place.rows:
        raise bad_footer(f"pages that do not divide the {place.rows} rows of their row group")


def find_dictionary(pages: OffsetIndex, place: ChunkPlace) -> Span | None:
    """Where the dictionary page lies, which no offset index names: in front of the data pages."""
    if not len(pages.offsets):
        return None
    size_bytes = int(pages.offsets[0]) - place.chunk.offset
    return Span(place.chunk.offset, size_bytes) if size_bytes else None
