from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core import pages as under_test
from hffs.core.levels import Levels
from hffs.core.page_headers import PageKind
from hffs.core.pages import (
    BLOCK_BYTES,
    MAX_SLOTS,
    Chunk,
    Page,
    Prefetch,
    Values,
    list_pages,
    locate_values,
    no_prefetch,
)
from hffs.errors import FormatError
from tests.parquet_bytes import (
    BIT_PACKED,
    PLAIN,
    RLE_DICTIONARY,
    dictionary_page,
    page_v1,
    page_v2,
    thrift,
)
from tests.parquet_cells import Cell, Slot, cells, expected, image_type, types


@dataclass(frozen=True, slots=True)
class Written:
    """A file in memory, and where its first leaf is."""

    data: memoryview
    chunks: list[Chunk]
    levels: Levels

    def locate(self, prefetch: Prefetch = no_prefetch) -> Values:
        pages = list_pages(self.data, self.chunks, self.levels, prefetch)
        return locate_values(self.data, self.chunks, pages, self.levels, prefetch)


def write(table: pa.Table, **options: Any) -> Written:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, use_dictionary=False, compression="none", **options)
    data = sink.getvalue()
    metadata = pq.read_metadata(pa.BufferReader(data))
    leaf = metadata.schema.column(0)
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [
        Chunk(column.data_page_offset, column.total_compressed_size, column.num_values, rows)
        for column, rows in ((group.column(0), group.num_rows) for group in groups)
    ]
    levels = Levels(leaf.max_definition_level, leaf.max_repetition_level)
    return Written(memoryview(data), chunks, levels)


def slots_of(values: Values, data: memoryview) -> list[Slot]:
    """The slots as Python objects, with their bytes cut out of the file."""
    assert values.rows.dtype == values.offsets.dtype == values.lengths.dtype == np.int64
    assert values.items.dtype == np.int32
    assert values.definitions.dtype == np.uint8
    spans = zip(values.offsets.tolist(), values.lengths.tolist(), strict=True)
    cells = [None if at < 0 else bytes(data[at : at + size]) for at, size in spans]
    assert not values.lengths[values.offsets < 0].any()
    columns = (values.rows.tolist(), values.items.tolist(), values.definitions.tolist(), cells)
    return list(zip(*columns, strict=True))


fields = st.builds(pa.field, st.just("image"), types(), nullable=st.booleans())
options = st.fixed_dictionaries(
    {
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "data_page_size": st.sampled_from([1, 40, 1 << 20]),
        "write_batch_size": st.sampled_from([1, 3, 1024]),
        "row_group_size": st.sampled_from([1, 7, 1 << 20]),
        "write_page_index": st.booleans(),
        "write_page_checksum": st.booleans(),
    }
)


@given(fields, options, st.sampled_from([1, 3, 32]), st.data())
def test_every_slot_is_where_pyarrow_wrote_it(
    field: pa.Field, options: dict[str, Any], min_lanes: int, draw: st.DataObject
) -> None:
    rows = draw.draw(st.lists(cells(field), max_size=30))
    table = pa.table([pa.array(rows, field.type)], schema=pa.schema([field]))
    written = write(table, **options)
    with pytest.MonkeyPatch.context() as patch:  # few pages are enough to walk them together
        patch.setattr(under_test, "_MIN_LANES", min_lanes)
        values = written.locate()
    assert slots_of(values, written.data) == expected(field, rows)


def blobs(count: int, size: int) -> list[bytes]:
    return [bytes([i % 251]) * (size + i % 7) for i in range(count)]


def many_pages(count: int = 4000, size: int = 1000) -> Written:
    table = pa.table({"image": blobs(count, size)})
    return write(table, data_page_size=20_000, write_batch_size=4, row_group_size=1500)


def test_many_pages_of_many_row_groups_are_walked_together() -> None:
    written = many_pages()
    assert len(list_pages(written.data, written.chunks, written.levels)) > 100
    found = slots_of(written.locate(), written.data)
    assert [value for *_, value in found] == blobs(4000, 1000)
    assert [row for row, *_ in found] == list(range(4000))


def test_every_block_is_prefetched_before_it_is_read() -> None:
    written = many_pages()
    told: list[int] = []
    pages = list_pages(written.data, written.chunks, written.levels, lambda at: told.extend(at))
    assert sorted(told) == sorted(
        [page.end for page in pages if page.end not in {chunk.end for chunk in written.chunks}]
        + [chunk.offset for chunk in written.chunks]
    )
    steps: list[NDArray[np.int64]] = []
    values = locate_values(written.data, written.chunks, pages, written.levels, steps.append)
    asked = np.concatenate(steps)
    prefixes = values.offsets - 4
    walked_alone = len(
        set((prefixes // BLOCK_BYTES).tolist()) - set((asked // BLOCK_BYTES).tolist())
    )
    assert walked_alone < 32
    assert set(asked.tolist()) <= set(prefixes.tolist())
    assert len(asked) < 0.6 * len(prefixes)  # several 1000-byte values lie in one block


def test_a_million_values_in_one_page_are_walked() -> None:
    table = pa.table({"image": pa.array([b"12345678"] * 1_000_000)})
    written = write(table, data_page_size=1 << 30, max_rows_per_page=1 << 30)
    assert len(list_pages(written.data, written.chunks, written.levels)) == 1
    values = written.locate()
    assert (values.lengths == 8).all()


REQUIRED, OPTIONAL, REPEATED = Levels(0, 0), Levels(1, 0), Levels(1, 1)
VALUE = b"\x02\0\0\0ab"


def chunk_of(data: bytes, slots: int, rows: int | None = None) -> Written:
    chunk = Chunk(0, len(data), slots, slots if rows is None else rows)
    return Written(memoryview(data), [chunk], REQUIRED)


@pytest.mark.parametrize(
    ("data", "slots", "why"),
    [
        (page_v1(VALUE, 1), 2, "cut off"),
        (page_v1(VALUE, 2), 1, "more values or pages than the footer's 1"),
        (page_v1(b"", 0) * 5, 1, "more values or pages than the footer's 1"),
        (page_v1(VALUE, -1), 1, "-1 values"),
        (page_v1(VALUE, 1)[:-1], 1, "1 values in 6 bytes"),
        (thrift({1: 0, 2: 6, 3: -1, 5: {1: 1, 2: 0, 3: 3, 4: 3}}), 1, "1 values in -1 bytes"),
        (thrift({1: 1, 2: 6, 3: 6}) + VALUE, 1, "page type 1"),
        (thrift({2: 6, 3: 6}) + VALUE, 1, "field 1 is no integer"),
        (thrift({1: 0, 2: 6, 3: 6}) + VALUE, 1, "field 5 is no struct"),
        (page_v1(VALUE[:-1], 1), 1, "runs over|do not end where"),
        (page_v1(VALUE + b"c", 1), 1, "do not end where"),
        (page_v1(b"\xff\xff\xff\xff....", 2), 2, "runs over"),
        (page_v1(VALUE, 2), 2, "more values than bytes"),
        (page_v2(VALUE, 1, 7, 0), 1, "7 bytes wanted"),
        (page_v2(VALUE, 1, 0, -1), 1, "in -1 bytes"),
    ],
)
@pytest.mark.parametrize("min_lanes", [1, 32])
def test_a_broken_page_is_refused(
    data: bytes, slots: int, why: str, min_lanes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "_MIN_LANES", min_lanes)
    with pytest.raises(FormatError, match=why):
        chunk_of(data, slots).locate()


@pytest.mark.parametrize("min_lanes", [1, 32])
def test_a_walk_does_not_leave_its_page(min_lanes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_MIN_LANES", min_lanes)
    longer = page_v1(b"\x0c\0\0\0" + b"ab" * 3 + b"\0\0", 3) + page_v1(VALUE, 1)
    prefix_cut = page_v1(b"\x07\0\0\0" + b"ab" * 3 + b"\0\0\0", 2) + page_v1(VALUE, 1)
    for data, slots in ((longer, 4), (prefix_cut, 3)):
        with pytest.raises(FormatError, match="runs over"):
            chunk_of(data, slots).locate()


@pytest.mark.parametrize(
    ("chunk", "why"),
    [
        (Chunk(-1, 5, 1, 1), "negative"),
        (Chunk(0, -5, 1, 1), "negative"),
        (Chunk(0, 5, -1, 1), "negative"),
        (Chunk(0, 5, 1, -1), "negative"),
        (Chunk(0, 101, 1, 1), "behind the file"),
        (Chunk(0, 5, MAX_SLOTS + 1, 1), "footer claims over"),
    ],
)
def test_a_footer_that_lies_is_refused(chunk: Chunk, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        list_pages(memoryview(bytes(100)), [chunk], REQUIRED)


@pytest.mark.parametrize("levels", [Levels(256, 0), Levels(3, 256)])
def test_too_many_levels_are_refused(levels: Levels) -> None:
    with pytest.raises(FormatError, match="nested too deep"):
        list_pages(memoryview(b""), [], levels)


def test_rows_that_differ_from_the_footer_are_refused() -> None:
    with pytest.raises(FormatError, match="differ in the rows"):
        chunk_of(page_v1(VALUE * 2, 2), 2, rows=3).locate()


def test_a_row_group_that_begins_within_a_row_is_refused() -> None:
    levels = b"\x02\0\0\0\x02\x01" * 2  # repetition and definition level 1
    data = memoryview(page_v1(levels + VALUE, 1))
    with pytest.raises(FormatError, match="begins within a row"):
        Written(data, [Chunk(0, len(data), 1, 0)], REPEATED).locate()


def test_empty_row_groups_are_passed_over() -> None:
    page = page_v1(VALUE, 1)
    data = memoryview(page * 2)
    empty = Chunk(len(page), 0, 0, 0)
    full = [Chunk(0, len(page), 1, 1), Chunk(len(page), len(page), 1, 1)]
    chunks = [empty, full[0], empty, full[1], empty]
    values = Written(data, chunks, REQUIRED).locate()
    assert [value for *_, value in slots_of(values, data)] == [b"ab", b"ab"]
    assert values.rows.tolist() == [0, 1]


def test_pages_that_are_not_plain_are_told() -> None:
    dictionary, coded = dictionary_page(VALUE), page_v1(b"\0", 1, RLE_DICTIONARY)
    data = dictionary + coded
    written = chunk_of(data, 1)
    first, second = list_pages(written.data, written.chunks, OPTIONAL)
    assert first == Page(PageKind.DICTIONARY, PLAIN, 0, len(dictionary) - len(VALUE), len(VALUE))
    assert (second.kind, second.encoding, second.slots) == (PageKind.DATA, RLE_DICTIONARY, 1)
    assert not first.is_plain
    assert not second.is_plain


@pytest.mark.parametrize(
    ("levels", "plain"), [(REQUIRED, True), (OPTIONAL, False), (Levels(0, 1), False)]
)
def test_bit_packed_levels_are_plain_only_where_there_are_none(levels: Levels, plain: bool) -> None:
    written = chunk_of(page_v1(VALUE, 1, levels=BIT_PACKED), 1)
    (page,) = list_pages(written.data, written.chunks, levels)
    assert page.is_plain == plain


def nested_images(version: str) -> Written:
    rows: list[Cell] = [[{"bytes": b"x" * (i % 40), "path": None}] * (i % 3) for i in range(300)]
    rows[7:9] = [[None], [{"bytes": None, "path": b"p"}]]
    table = pa.table({"image": pa.array(rows, pa.list_(image_type(True)))})
    sizes = {"data_page_size": 200, "write_batch_size": 5, "row_group_size": 150}
    return write(table, data_page_version=version, **sizes)


INTACT = [nested_images("1.0"), nested_images("2.0")]


@given(
    st.sampled_from([0, 1]),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    st.none() | st.floats(0, 1),
    st.sampled_from([2, 32]),
)
def test_damaged_pages_are_refused_or_stay_within_their_chunks(
    version: int, damage: list[tuple[float, int]], cut: float | None, min_lanes: int
) -> None:
    intact = INTACT[version]
    data = bytearray(intact.data)
    end = intact.chunks[-1].end
    for where, value in damage:
        data[int(where * end)] = value
    short = memoryview(bytes(data))[: None if cut is None else int(cut * end)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(under_test, "_MIN_LANES", min_lanes)
        try:
            values = Written(short, intact.chunks, intact.levels).locate()
        except FormatError:
            return
    present = values.offsets >= 0
    starts, ends = values.offsets[present], (values.offsets + values.lengths)[present]
    assert (values.lengths >= 0).all()
    assert (starts[1:] >= ends[:-1]).all()
    assert ends.max(initial=0) <= end
