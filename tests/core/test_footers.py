from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.footers import (
    ChunkPlace,
    OffsetIndex,
    find_dictionary,
    parse_chunks,
    parse_offset_index,
)
from hffs.core.page_headers import read_header
from hffs.core.tails import Span, find_footer
from hffs.core.thrift import Cursor
from hffs.errors import FormatError, UnsupportedError
from tests.parquet_bytes import Field, Header, Wide, thrift, uvarint, zigzag


def write(table: pa.Table, **options: Any) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return memoryview(sink.getvalue())


def footer_of(file: memoryview) -> memoryview:
    span = find_footer(file[-100:], len(file))
    return file[span.offset : span.end]


def cut(file: memoryview, span: Span | None) -> memoryview:
    assert span is not None
    return file[span.offset : span.end]


TABLE = pa.table(
    {
        "number": range(40),
        "image": [None if i % 3 == 0 else bytes([i]) * 50 for i in range(40)],
        "tags": pa.array([["a", None], [], None, ["b"]] * 10, pa.list_(pa.string())),
    }
)


@pytest.mark.parametrize("leaf", [1, 2])
@pytest.mark.parametrize("codec", [("none", 0), ("snappy", 1), ("zstd", 6), ("lz4", 7)])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_chunks_are_as_pyarrow_says(
    leaf: int, codec: tuple[str, int], use_dictionary: bool
) -> None:
    options = {"compression": codec[0], "use_dictionary": use_dictionary}
    file = write(TABLE, row_group_size=15, **options)
    metadata = pq.read_metadata(pa.BufferReader(file))
    places = parse_chunks(footer_of(file), leaf)
    assert len(places) == metadata.num_row_groups == 3
    for number, place in enumerate(places):
        column = metadata.row_group(number).column(leaf)
        first = column.dictionary_page_offset or column.data_page_offset
        assert place.chunk == Span(first, column.total_compressed_size)
        assert (place.slots, place.rows) == (column.num_values, metadata.row_group(number).num_rows)
        assert place.codec == codec[1]
        assert place.null_count == column.statistics.null_count
        assert place.has_dictionary == use_dictionary
        assert place.offset_index is None


@pytest.mark.parametrize("leaf", [1, 2])
@pytest.mark.parametrize("use_dictionary", [True, False])
def test_page_indexes_are_found_and_agree_with_the_pages(leaf: int, use_dictionary: bool) -> None:
    options = {"write_page_index": True, "data_page_size": 20, "write_batch_size": 4}
    file = write(TABLE, row_group_size=15, use_dictionary=use_dictionary, **options)
    for place in parse_chunks(footer_of(file), leaf):
        pages = parse_offset_index(cut(file, place.offset_index), place)
        assert pages.offsets.dtype == pages.sizes.dtype == pages.first_rows.dtype == np.int64
        assert len(pages.first_rows) > 1
        ends = pages.offsets + pages.sizes
        assert ends.tolist() == [*pages.offsets[1:].tolist(), place.chunk.end]
        dictionary = find_dictionary(pages, place)
        if use_dictionary:
            assert dictionary is not None
            assert dictionary.offset == place.chunk.offset
            assert dictionary.end == pages.offsets[0]
        else:
            assert dictionary is None


def test_nobody_need_count_nulls() -> None:
    file = write(TABLE, write_statistics=False)
    assert parse_chunks(footer_of(file), 1)[0].null_count is None


@pytest.mark.parametrize(
    ("tail", "size_bytes", "why"),
    [
        (b"", 0, "0 bytes are no Parquet file"),
        (b"\x05\0\0PAR1", 7, "7 bytes are no Parquet file"),
        (b"\x05\0\0\0PAR2", 100, "does not end as"),
        (b"\0\0\0\0PAR1", 100, "a footer of 0 bytes"),
        (struct.pack("<I", 89) + b"PAR1", 100, "a footer of 89 bytes in a file of 100"),
        (b"\xff\xff\xff\xffPAR1", 100, "a footer of 4294967295 bytes"),
    ],
)
def test_a_file_without_a_footer_is_refused(tail: bytes, size_bytes: int, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        find_footer(memoryview(tail), size_bytes)


def test_a_footer_as_large_as_the_file_is_found() -> None:
    assert find_footer(memoryview(struct.pack("<I", 88) + b"PAR1"), 100) == Span(4, 88)


def test_an_encrypted_footer_is_told_apart() -> None:
    with pytest.raises(UnsupportedError, match="it is encrypted"):
        find_footer(memoryview(b"\x05\0\0\0PARE"), 100)


FACTS: Header = {1: 6, 2: [0, 3], 4: 0, 5: Wide(3), 7: Wide(90), 9: Wide(10)}


def footer(column: Mapping[int, Field], rows: Mapping[int, Field] | None = None) -> memoryview:
    groups: list[Field] = [{1: [column], **({3: Wide(3)} if rows is None else rows)}]
    return memoryview(thrift({1: 2, 3: Wide(3), 4: groups}))


def test_a_handmade_footer_is_read() -> None:
    span = Span(10, 90)
    place = ChunkPlace(span, 3, 3, 0, frozenset({0, 3}), None, None)
    assert parse_chunks(footer({2: Wide(0), 3: FACTS}), 0) == [place]
    assert not place.has_dictionary


@pytest.mark.parametrize(("dictionary", "offset"), [(0, 10), (4, 4), (40, 10)])
def test_a_chunk_begins_with_what_comes_first(dictionary: int, offset: int) -> None:
    (place,) = parse_chunks(footer({3: {**FACTS, 11: Wide(dictionary)}}), 0)
    assert place.chunk.offset == offset


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (memoryview(b""), "cut off"),
        (footer({3: FACTS})[:-9], "cut off|bytes wanted"),
        (footer({3: FACTS}, {}), "rows of no number"),
        (footer({3: FACTS}, {3: True}), "rows of no number"),
        (footer({3: FACTS}, {3: Wide(-1)}), "a negative number"),
        (footer({3: {**FACTS, 5: Wide(-1)}}), "a negative number"),
        (footer({3: {**FACTS, 7: Wide(-1)}}), "a negative number"),
        (footer({3: {**FACTS, 9: Wide(-1)}}), "a negative number"),
        (footer({3: {**FACTS, 12: {3: Wide(-1)}}}), "a negative number"),
        (footer({3: {**FACTS, 2: 1}}), "field 2 is no list of integers"),
        (footer({3: {**FACTS, 2: [True]}}), "field 2 is no list of integers"),
        (footer({3: FACTS, 4: Wide(-1), 5: 5}), "an index of 5 bytes at byte -1"),
        (footer({3: FACTS, 4: Wide(1), 5: 0}), "an index of 0 bytes"),
        (footer({2: Wide(0)}), "field 3 is no struct"),
        (memoryview(thrift({4: 1})), "type 5 before"),
        (memoryview(thrift({4: [1]})), "a list of type 5"),
        (memoryview(thrift({4: [{1: []}]})), "a row group without column 0"),
    ],
)
def test_a_broken_footer_is_refused(data: memoryview, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_chunks(data, 0)


def test_an_index_of_half_a_place_is_none() -> None:
    (place,) = parse_chunks(footer({3: FACTS, 4: Wide(100), 7: 3}), 0)
    assert place.offset_index is None


@pytest.mark.parametrize(
    ("column", "why"),
    [
        ({1: b"other.parquet", 3: FACTS}, "in another file"),
        ({3: FACTS, 8: {1: {}}}, "is encrypted"),
        ({3: {**FACTS, 1: 1}}, "not of BYTE_ARRAY"),
    ],
)
def test_columns_for_another_reader_are_told_apart(column: Mapping[int, Field], why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        parse_chunks(footer(column), 0)


PLACE = ChunkPlace(Span(100, 900), 50, 50, 0, frozenset({0}), None, None)


def offset_index(*pages: tuple[int, int, int]) -> bytes:
    return thrift({1: [{1: Wide(at), 2: size, 3: Wide(row)} for at, size, row in pages], 2: [1]})


def pages_of(index: OffsetIndex) -> list[tuple[int, int, int]]:
    columns = (index.offsets.tolist(), index.sizes.tolist(), index.first_rows.tolist())
    return list(zip(*columns, strict=True))


PAGES = [(100, 200, 0), (300, 100, 20), (500, 500, 49)]


def test_pages_may_fill_their_chunk() -> None:
    index = parse_offset_index(memoryview(offset_index(*PAGES)), PLACE)
    assert pages_of(index) == PAGES
    assert find_dictionary(index, PLACE) is None
    assert find_dictionary(index, replace(PLACE, chunk=Span(90, 910))) == Span(90, 10)


def test_unusual_page_locations_are_read_one_by_one() -> None:
    """Fields in another order, an integer of more bits, one more field: thrift allows them."""
    first = b"\x36" + zigzag(0) + b"\x05" + zigzag(2) + zigzag(200) + b"\x06\x02" + zigzag(100)
    structs = [first + b"\0", thrift({1: Wide(300), 2: 100, 3: Wide(20), 4: True})]
    last = thrift({1: Wide(500), 2: 500, 3: Wide(49)})
    data = b"\x19\x3c" + b"".join(structs) + last + b"\0"
    assert pages_of(parse_offset_index(memoryview(data), PLACE)) == PAGES


def test_regression_a_page_may_have_no_rows() -> None:
    """pyarrow 26 writes an empty page before the last row of lists whose pages are small."""
    options = {"write_page_index": True, "data_page_size": 20, "write_batch_size": 1}
    file = write(TABLE, row_group_size=15, **options)
    place = parse_chunks(footer_of(file), 2)[0]
    pages = parse_offset_index(cut(file, place.offset_index), place)
    empty = np.flatnonzero(np.diff(pages.first_rows) == 0)
    assert len(empty)
    for at, size in zip(pages.offsets[empty].tolist(), pages.sizes[empty].tolist(), strict=True):
        assert read_header(Cursor(file[at : at + size])).slots == 0


def test_a_chunk_of_no_values_has_no_pages() -> None:
    empty = replace(PLACE, slots=0)
    index = parse_offset_index(memoryview(offset_index()), empty)
    assert pages_of(index) == []
    assert find_dictionary(index, empty) is None


HUGE = (1 << 63) - 1


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "cut off"),
        (b"\0", "without pages"),
        (offset_index(), "no pages for 50 values"),
        (offset_index(*PAGES)[:-8], "cut off"),
        (offset_index((99, 10, 0)), "outside its column chunk"),
        (offset_index((-1, 10, 0)), "outside its column chunk"),
        (offset_index((1001, 10, 0)), "outside its column chunk"),
        (offset_index((HUGE, 10, 0)), "outside its column chunk"),
        (offset_index((100, 0, 0)), "outside its column chunk"),
        (offset_index((100, -5, 0)), "outside its column chunk"),
        (offset_index((100, 901, 0)), "runs into the next, or over"),
        (offset_index((100, 20, 0), (110, 20, 1)), "runs into the next"),
        (offset_index((200, 20, 0), (100, 20, 1)), "runs into the next"),
        (offset_index((100, 20, 1)), "do not divide the 50 rows"),
        (offset_index((100, 20, 0), (200, 20, 9), (300, 20, 8)), "do not divide"),
        (offset_index((100, 20, 0), (200, 20, 50)), "do not divide"),
        (offset_index((100, 20, 0), (200, 20, HUGE), (300, 20, -HUGE)), "do not divide"),
        (b"\x19\xfc" + uvarint((1 << 32) - 1) + b"\0", "cut off|no integer"),
        (b"\x19\x1c\x16" + b"\x80" * 10 + b"\x01\x15\x02\x16\0\0\0", "over 64 bits"),
        (b"\x19\x1c\x16" + b"\xff" * 9 + b"\x03\x15\x02\x16\0\0\0", "over 64 bits"),
    ],
)
def test_a_broken_offset_index_is_refused(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        parse_offset_index(memoryview(data), PLACE)


def test_a_million_pages_are_parsed_without_a_loop() -> None:
    count = 1_000_000
    pages = b"".join(
        b"\x16" + zigzag(100 + 9 * i) + b"\x15\x12\x16" + zigzag(i) + b"\0" for i in range(count)
    )
    data = memoryview(b"\x19\xfc" + uvarint(count) + pages + b"\0")
    place = replace(PLACE, chunk=Span(100, 9 * count), slots=count, rows=count)
    started = time.process_time()
    index = parse_offset_index(data, place)
    assert time.process_time() - started < 3
    assert index.offsets[-1] == 100 + 9 * (count - 1)


WRITTEN = write(TABLE, row_group_size=15, write_page_index=True, data_page_size=20)
FOOTER = footer_of(WRITTEN)
WHOLE = parse_chunks(FOOTER, 1)[0]
PARTS = [bytes(FOOTER), bytes(cut(WRITTEN, WHOLE.offset_index))]


@given(st.data())
def test_damaged_footers_and_indexes_are_refused_or_read(draw: st.DataObject) -> None:
    part = bytearray(draw.draw(st.sampled_from(PARTS)))
    for _ in range(draw.draw(st.integers(0, 3))):
        part[draw.draw(st.integers(0, len(part) - 1))] = draw.draw(st.integers(0, 255))
    at, size = draw.draw(st.integers(0, len(part))), draw.draw(st.integers(0, 3))
    part[at : at + size] = draw.draw(st.binary(max_size=3))
    data = memoryview(part)
    with contextlib.suppress(FormatError):
        parse_chunks(data, draw.draw(st.integers(0, 3)))
    try:
        index = parse_offset_index(data, WHOLE)
    except FormatError:
        return
    assert (index.offsets >= WHOLE.chunk.offset).all()
    assert (index.offsets + index.sizes <= WHOLE.chunk.end).all()


@given(st.binary(max_size=60))
def test_any_bytes_are_no_footer_or_one(data: bytes) -> None:
    for parse in (lambda: find_footer(memoryview(data), len(data)), lambda: footer_chunks(data)):
        with contextlib.suppress(FormatError):
            parse()


def footer_chunks(data: bytes) -> list[ChunkPlace]:
    return parse_chunks(memoryview(data), 0)
