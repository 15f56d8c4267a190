"""Pages of files as their writers write them, each read from nothing but its own bytes."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.core.footers import (
    ChunkPlace,
    find_dictionary,
    parse_chunks,
    parse_offset_index,
)
from hffs.core.levels import Levels
from hffs.core.page_headers import Encoding, read_header
from hffs.core.page_values import (
    Dictionary,
    PageValues,
    check_page,
    decode_dictionary,
    decode_head,
    decode_page,
    find_plain,
)
from hffs.core.pages import Chunk, list_pages
from hffs.core.plain import PREFIX_BYTES, step_plain
from hffs.core.tails import find_footer
from hffs.core.thrift import Cursor
from hffs.data.decompressing import open_codec
from hffs.errors import FormatError, UnsupportedError
from tests.parquet_cells import cells, expected, types

MAX_BYTES = 1 << 26


@dataclass(frozen=True, slots=True)
class Pages:
    """A chunk cut into pages, as ranges of a file give them; `dictionary` may be empty."""

    place: ChunkPlace
    levels: Levels
    dictionary: memoryview
    data: list[memoryview]
    first_rows: list[int] | None

    def open_dictionary(self) -> Dictionary | None:
        if not self.dictionary:
            return None
        return decode_dictionary(self.dictionary, open_codec(self.place.codec), MAX_BYTES)

    def decode(self, page: memoryview, dictionary: Dictionary | None) -> PageValues:
        return decode_page(page, self.levels, open_codec(self.place.codec), dictionary, MAX_BYTES)


def cut_pages(file: memoryview, leaf: int = 0) -> Iterator[Pages]:
    """The pages of each chunk, by the offset index; by their headers where there is none."""
    span = find_footer(file[-8:], len(file))
    column = pq.ParquetFile(pa.BufferReader(file)).schema.column(leaf)
    levels = Levels(column.max_definition_level, column.max_repetition_level)
    for place in parse_chunks(file[span.offset : span.end], leaf):
        index, start = place.offset_index, place.chunk.offset
        if index is None:
            chunk = Chunk(start, place.chunk.size_bytes, place.slots, place.rows)
            ends = [page.end for page in list_pages(file, [chunk], levels)]
            starts = [start, *ends]
            data = [file[at:end] for at, end in zip(starts, ends, strict=False)]
            has_dictionary = place.has_dictionary and _is_dictionary(data[0])
            dictionary = data.pop(0) if has_dictionary else memoryview(b"")
            yield Pages(place, levels, dictionary, data, None)
            continue
        pages = parse_offset_index(file[index.offset : index.end], place)
        found = find_dictionary(pages, place)
        dictionary = file[found.offset : found.end] if found else memoryview(b"")
        spans = zip(pages.offsets.tolist(), pages.sizes.tolist(), strict=True)
        data = [file[at : at + size] for at, size in spans]
        yield Pages(place, levels, dictionary, data, pages.first_rows.tolist())


def _is_dictionary(page: memoryview) -> bool:
    try:
        decode_head(page, Levels(0, 0), MAX_BYTES, compressed=True)
    except FormatError:
        return True
    return False


def values_of(page: PageValues) -> list[bytes | None]:
    spans = zip(page.offsets.tolist(), page.lengths.tolist(), strict=True)
    return [None if at < 0 else bytes(page.data[at : at + size]) for at, size in spans]


def assert_read(file: memoryview, table: pa.Table | None = None) -> list[Pages]:
    """Every page decodes to what pyarrow reads; so do its first bytes, and its index.

    `table` is for files that pyarrow itself reads no longer as they were written.
    """
    leaf = 0
    chunks = list(cut_pages(file, leaf))
    found: list[tuple[int, int, bytes | None]] = []
    rows = 0
    for chunk in chunks:
        dictionary, begun = chunk.open_dictionary(), 0
        nulls = []
        for number, page in enumerate(chunk.data):
            check_page(page)
            values = chunk.decode(page, dictionary)
            assert_head(chunk, page, values)
            assert_parts(chunk, page, values)
            if chunk.first_rows is not None:
                assert chunk.first_rows[number] == begun
            numbers = rows + begun + np.cumsum(values.repetitions == 0) - 1
            found += zip(
                numbers.tolist(), values.definitions.tolist(), values_of(values), strict=True
            )
            begun += int(np.count_nonzero(values.repetitions == 0))
            nulls.append(int(np.count_nonzero(values.offsets < 0)))
        assert begun == chunk.place.rows
        assert chunk.place.null_count in (None, sum(nulls))
        rows += begun
    if table is None:
        table = pq.read_table(pa.BufferReader(file))
    column = table.column(leaf)
    slots = expected(table.schema.field(leaf), column.to_pylist())
    assert found == [(row, level, value) for row, _, level, value in slots]
    return chunks


def assert_head(chunk: Pages, page: memoryview, values: PageValues) -> None:
    for size in (len(page), len(page) // 2):
        compressed = chunk.place.codec != 0
        head = decode_head(page[:size], chunk.levels, MAX_BYTES, compressed=compressed)
        if head is None:
            assert compressed or size < len(page)
            continue
        assert (head.definitions == values.definitions).all()
        assert (head.repetitions == values.repetitions).all()


def assert_parts(chunk: Pages, page: memoryview, values: PageValues) -> None:
    """What is found by the first bytes of a page, and the lengths before values, is as it is."""
    header, compressed = read_header(Cursor(page)), chunk.place.codec != 0
    if header.encoding != Encoding.PLAIN or (compressed and header.may_compress):
        with pytest.raises(UnsupportedError):
            find_plain(page, len(page), chunk.levels, compressed=compressed)
        return
    for size in (len(page), len(page) // 2):
        body = find_plain(page[:size], len(page), chunk.levels, compressed=compressed)
        if body is None:
            assert size < len(page)
            continue
        places = [body.start]
        for number in range(body.count):
            at = places[-1]
            prefix = page[at : at + PREFIX_BYTES]
            places.append(step_plain(prefix, at, body.end, body.count - number - 1))
        starts, stops = np.array([0, *places[:-1]]) + PREFIX_BYTES, np.array([0, *places[1:]])
        present = body.numbers >= 0
        assert ((values.offsets >= 0) == present).all()
        assert (values.offsets[present] == starts[body.numbers[present] + 1]).all()
        assert (
            (values.offsets + values.lengths)[present] == stops[body.numbers[present] + 1]
        ).all()


def write(table: pa.Table, **options: Any) -> memoryview:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, **options)
    return memoryview(sink.getvalue())


CODECS = ["none", "snappy", "gzip", "brotli", "zstd", "lz4"]

fields = st.builds(pa.field, st.just("image"), types(pa.string()), nullable=st.booleans())
options = st.fixed_dictionaries(
    {
        "compression": st.sampled_from(CODECS),
        "use_dictionary": st.booleans(),
        "dictionary_pagesize_limit": st.sampled_from([1, 60, 2 << 20]),
        "data_page_version": st.sampled_from(["1.0", "2.0"]),
        "data_page_size": st.sampled_from([1, 40, 1 << 20]),
        "write_batch_size": st.sampled_from([1, 3, 1024]),
        "row_group_size": st.sampled_from([1, 7, 1 << 20]),
        "write_page_index": st.booleans(),
        "write_page_checksum": st.booleans(),
    }
)


@given(fields, options, st.data())
def test_pages_that_pyarrow_wrote(
    field: pa.Field, options: dict[str, Any], draw: st.DataObject
) -> None:
    rows = draw.draw(st.lists(cells(field), max_size=30))
    table = pa.table([pa.array(rows, field.type)], schema=pa.schema([field]))
    assert_read(write(table, **options), table)


LARGE = [None if i % 11 == 0 else bytes([i % 251]) * (20_000 + i) for i in range(300)]


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_dictionary_that_was_full_is_followed_by_plain_pages(codec: str, version: str) -> None:
    table = pa.table({"image": LARGE})
    file = write(
        table, compression=codec, data_page_version=version, write_page_index=True,
        dictionary_pagesize_limit=2 << 20, data_page_size=1 << 18, write_batch_size=8,
    )  # fmt: skip
    (chunk,) = assert_read(file)
    assert chunk.dictionary
    assert len(chunk.data) > 5


@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_lengths_that_pyarrow_packs(version: str) -> None:
    table = pa.table({"image": [b"x" * (i * 7 % 300) for i in range(5000)]})
    encoding = {"column_encoding": {"image": "DELTA_LENGTH_BYTE_ARRAY"}, "use_dictionary": False}
    assert_read(write(table, data_page_version=version, data_page_size=20_000, **encoding))


def test_an_encoding_that_only_pyarrow_reads_is_told_apart() -> None:
    table = pa.table({"image": [b"abc", b"abd"]})
    encoding = {"column_encoding": {"image": "DELTA_BYTE_ARRAY"}, "use_dictionary": False}
    with pytest.raises(UnsupportedError, match="values in encoding 7"):
        assert_read(write(table, **encoding))


def images() -> dict[str, list[Any]]:
    pictures = [None if i % 9 == 4 else {"bytes": LARGE[i], "path": f"{i}.jpg"} for i in range(60)]
    return {"image": pictures, "caption": [f"a photo of {i % 7}" for i in range(60)]}


@pytest.mark.parametrize("rows", [7, 100])
def test_pages_that_datasets_wrote(rows: int, tmp_path: Path) -> None:
    features = datasets.Features({"image": datasets.Image(), "caption": datasets.Value("string")})
    whole = datasets.Dataset.from_dict(images(), features=features)
    path = tmp_path / "train.parquet"
    whole.to_parquet(path, batch_size=rows)
    file = memoryview(path.read_bytes())
    for chunk in assert_read(file):
        assert chunk.first_rows is not None
    captions = pq.ParquetFile(path).metadata.num_columns - 1
    (first, *_) = cut_pages(file, captions)
    decoded = values_of(first.decode(first.data[0], first.open_dictionary()))
    assert decoded[:3] == [b"a photo of 0", b"a photo of 1", b"a photo of 2"]


@pytest.mark.parametrize("codec", ["uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4"])
def test_pages_that_polars_wrote(codec: Any) -> None:
    frames = [
        pl.DataFrame({"image": LARGE}),
        pl.DataFrame({"image": [None, "", "grün", "blau"] * 50}),
        pl.DataFrame({"image": [[], None, [b"a", None], [b"bc"]] * 50}),
        pl.DataFrame({"image": images()["image"]}),
    ]
    for frame in frames:
        sink = io.BytesIO()
        frame.write_parquet(sink, compression=codec, data_page_size=10_000, row_group_size=90)
        assert_read(memoryview(sink.getvalue()))


@pytest.mark.parametrize("version", ["V1", "V2"])
@pytest.mark.parametrize("codec", ["uncompressed", "snappy", "gzip", "brotli", "zstd", "lz4_raw"])
@pytest.mark.parametrize("dictionary_limit", [0, 1 << 20])
def test_pages_that_duckdb_wrote(
    version: str, codec: str, dictionary_limit: int, tmp_path: Path
) -> None:
    path = tmp_path / "written.parquet"
    tables = [
        pa.table({"image": pa.array(LARGE, pa.binary())}),
        pa.table({"image": [None, "", "green", "blue"] * 600}),
        pa.table({"image": [f"{i} green" for i in range(3000)]}),
        pa.table({"image": [[], None, [b"a", None], [b"bc"]] * 50}),
    ]
    for table in tables:
        with duckdb.connect() as database:
            database.register("rows", table)
            database.execute(
                f"COPY rows TO '{path}' (FORMAT parquet, PARQUET_VERSION {version}, "
                f"COMPRESSION {codec}, STRING_DICTIONARY_PAGE_SIZE_LIMIT {dictionary_limit + 1}, "
                f"ROW_GROUP_SIZE 2048)"
            )
        assert_read(memoryview(path.read_bytes()))


INTACT = [
    write(
        pa.table({"image": pa.array([[b"a" * (i % 40), None] * (i % 3) for i in range(90)])}),
        compression=codec, data_page_version=version, use_dictionary=use_dictionary,
        data_page_size=100, write_batch_size=5, write_page_index=True, write_page_checksum=True,
    )
    for codec in CODECS
    for version in ("1.0", "2.0")
    for use_dictionary in (True, False)
]  # fmt: skip
CUT = [next(cut_pages(file)) for file in INTACT]
PAGES = [
    (chunk, page) for chunk in CUT for page in (bytes(chunk.dictionary), *map(bytes, chunk.data))
]
"""Each with its chunk; where there is no dictionary an empty one."""


@settings(max_examples=300)
@given(st.data())
def test_damaged_pages_are_refused_or_read_within_their_bytes(draw: st.DataObject) -> None:
    chunk, whole = PAGES[draw.draw(st.integers(0, len(PAGES) - 1))]
    page = bytearray(whole)
    for _ in range(draw.draw(st.integers(0, 4)) if page else 0):
        page[draw.draw(st.integers(0, len(page) - 1))] ^= draw.draw(st.integers(0, 255))
    if draw.draw(st.booleans()):  # a piece of another page
        at = draw.draw(st.integers(0, len(page)))
        _, other = PAGES[draw.draw(st.integers(0, len(PAGES) - 1))]
        page[at:] = other[draw.draw(st.integers(0, len(other))) :]
    with contextlib.suppress(FormatError):
        decode_dictionary(memoryview(page), open_codec(chunk.place.codec), 1 << 20)
    with contextlib.suppress(FormatError):
        codec = open_codec(chunk.place.codec)
        dictionary = chunk.open_dictionary()
        values = decode_page(memoryview(page), chunk.levels, codec, dictionary, 1 << 20)
        assert (values.offsets + values.lengths).max(initial=0) <= len(values.data)
        assert (values.lengths >= 0).all()


@given(st.data())
def test_every_flipped_bit_of_a_body_is_told(draw: st.DataObject) -> None:
    page = bytearray(draw.draw(st.sampled_from([page for _, page in PAGES if page])))
    check_page(memoryview(page))
    body = Cursor(memoryview(page))
    read_header(body)
    page[draw.draw(st.integers(body.at, len(page) - 1))] ^= 1 << draw.draw(st.integers(0, 7))
    with pytest.raises(FormatError, match="its checksum differs"):
        check_page(memoryview(page))
