from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data import metadata
from hffs.data.locating.local import locate
from hffs.data.metadata import (
    BATCH_ROWS,
    find_column,
    metadata_columns,
    plain_type,
    read_batches,
    read_columns,
    read_tables,
)
from hffs.data.source import Source, open_source
from hffs.errors import ConfigError, FormatError, StaleError

LAYOUTS = ["parquet", "arrow"]


def make_source(folder: Path, *tables: pa.Table, layout: str = "parquet") -> Source:
    for number, table in enumerate(tables):
        path = folder / f"{number}.{layout}"
        if layout == "parquet":
            pq.write_table(table, path, row_group_size=3)
        else:
            with pa.ipc.new_stream(path, table.schema) as writer:
                writer.write_table(table, max_chunksize=3)
    return open_source(locate(str(folder)))


def table_of(start: int, count: int, **columns: Sequence[Any] | pa.Array) -> pa.Table:
    number = list(range(start, start + count))
    return pa.table({"image": [b"\xff\xd8"] * count, "number": number, **columns})


def refusal(source: Source, path: str) -> str:
    with pytest.raises(ConfigError) as caught:
        find_column(source, path, "caption_column")
    return str(caught.value)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("batch_rows", [1, 4, BATCH_ROWS])
def test_batches_hold_all_rows_in_order(tmp_path: Path, layout: str, batch_rows: int) -> None:
    source = make_source(tmp_path, table_of(0, 7), table_of(7, 1), table_of(8, 9), layout=layout)
    batches = list(read_batches(source, ["number"], batch_rows))
    assert [value for batch in batches for value in batch["number"].to_pylist()] == list(range(17))
    assert all(1 <= batch.num_rows <= batch_rows for batch in batches)
    assert batches[0].schema.names == ["number"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_small_batches_of_a_shard_are_joined(tmp_path: Path, layout: str) -> None:
    source = make_source(tmp_path, table_of(0, 20), layout=layout)
    assert [batch.num_rows for batch in read_batches(source, ["number"])] == [20]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_read_columns_keeps_the_order_of_the_names(tmp_path: Path, layout: str) -> None:
    source = make_source(tmp_path, table_of(0, 5, text=list("abcde")), layout=layout)
    table = read_columns(source, ["text", "number"])
    assert table.schema.names == ["text", "number"]
    assert table["text"].to_pylist() == list("abcde")


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_source_without_rows_has_columns(tmp_path: Path, layout: str) -> None:
    source = make_source(tmp_path, table_of(0, 0, text=pa.array([], pa.string())), layout=layout)
    table = read_columns(source, ["text"])
    assert (table.num_rows, table.schema.types) == (0, [pa.large_string()])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_shards_may_encode_a_column_differently(tmp_path: Path, layout: str) -> None:
    texts = ["a", None, "b"]
    kinds = [
        pa.array(texts).dictionary_encode(),
        pa.array(texts, pa.string()),
        pa.array(texts, pa.large_string()),
        pa.array(texts, pa.string_view()),
    ]
    shards = [table_of(3 * at, 3, text=kind) for at, kind in enumerate(kinds)]
    for number, first in enumerate(shards):
        folder = tmp_path / str(number)
        folder.mkdir()
        others = shards[:number] + shards[number + 1 :]
        table = read_columns(make_source(folder, first, *others, layout=layout), ["text"])
        assert table["text"].type == pa.large_string()
        assert table["text"].to_pylist() == texts * 4


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (pa.int32(), pa.int32()),
        (pa.dictionary(pa.int8(), pa.string()), pa.large_string()),
        (pa.dictionary(pa.int8(), pa.int64()), pa.int64()),
        (pa.list_(pa.string()), pa.large_list(pa.large_string())),
        (pa.list_(pa.int8(), 2), pa.large_list(pa.int8())),
        (
            pa.struct([("a", pa.list_(pa.struct([("b", pa.string_view())])))]),
            pa.struct([("a", pa.large_list(pa.struct([("b", pa.large_string())])))]),
        ),
        (pa.bool8(), pa.int8()),
    ],
)
def test_plain_type(kind: pa.DataType, plain: pa.DataType) -> None:
    assert plain_type(kind) == plain
    assert pa.nulls(2, kind).cast(plain).null_count == 2


def test_image_bytes_are_never_read(tmp_path: Path) -> None:
    images = [np.random.default_rng(seed).bytes(1 << 20) for seed in range(8)]
    table = pa.table({"width": list(range(8)), "image": images, "text": list("abcdefgh")})
    path = tmp_path / "0.parquet"
    pq.write_table(table, path, row_group_size=2)
    _overwrite_column(path, "image")
    with pytest.raises(OSError, match=r".+"):
        pq.read_table(path, columns=["image"])
    source = open_source(locate(str(path)))
    before = _bytes_read()
    assert read_columns(source, ["width", "text"])["text"].to_pylist() == list("abcdefgh")
    assert _bytes_read() - before < 128 << 10  # of which pyarrow takes 64 KB for any footer


def test_small_images_between_two_columns_are_not_read_either(tmp_path: Path) -> None:
    count, image_bytes = 256, 4096  # less than the holes that pyarrow reads over to save a request
    images = [np.random.default_rng(seed).bytes(image_bytes) for seed in range(count)]
    table = pa.table({"width": range(count), "image": images, "text": ["a"] * count})
    path = tmp_path / "0.parquet"
    pq.write_table(table, path, row_group_size=1, use_dictionary=False, write_statistics=False)
    source = open_source(locate(str(path)))
    before = _bytes_read()
    assert read_columns(source, ["width", "text"]).num_rows == count
    assert _bytes_read() - before < count * image_bytes // 2


def _overwrite_column(path: Path, name: str) -> None:
    footer = pq.read_metadata(path)
    column = footer.schema.to_arrow_schema().names.index(name)
    with path.open("r+b") as file:
        for group in range(footer.num_row_groups):
            chunk = footer.row_group(group).column(column)
            start = chunk.dictionary_page_offset or chunk.data_page_offset
            file.seek(start)
            file.write(b"\xff" * min(64, chunk.total_compressed_size))


def _bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_column_named_like_the_beginning_of_a_path_is_not_mistaken(
    tmp_path: Path, layout: str
) -> None:
    dotted = pa.array([{"b": 1}, {"b": 2}])
    source = make_source(tmp_path, table_of(0, 2, **{"a": dotted, "a.b": [3, 4]}), layout=layout)
    assert read_columns(source, ["a.b"])["a.b"].to_pylist() == [3, 4]
    assert read_columns(source, ["a"])["a"].to_pylist() == [{"b": 1}, {"b": 2}]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_binary_columns_are_no_metadata(tmp_path: Path, layout: str) -> None:
    source = make_source(tmp_path, table_of(0, 2), layout=layout)
    assert metadata_columns(source) == ["number"]
    with pytest.raises(ConfigError, match="holds binary data"):
        read_columns(source, ["image"])
    with pytest.raises(ConfigError, match="there is no such column; did you mean number"):
        read_columns(source, ["numbr"])
    assert "holds binary data" in refusal(source, "image")


def test_an_unknown_column_names_the_nearest_and_all(tmp_path: Path) -> None:
    source = make_source(tmp_path, table_of(0, 1, caption=["a"]))
    assert refusal(source, "captoin") == (
        "cannot use caption_column captoin: there is no such column; "
        "did you mean caption? columns: number, caption"
    )
    assert "did you mean" not in refusal(source, "zzz")


def test_a_dotted_path_goes_through_structs(tmp_path: Path) -> None:
    meta = pa.array([{"size": {"w": 5}, "json": '{"k": 1}'}, None, {"size": None, "json": ""}])
    source = make_source(tmp_path, table_of(0, 3, meta=meta))
    found = find_column(source, "meta.size.w", "width_column")
    assert (found.column, found.fields, found.inner) == ("meta", ("size", "w"), ())
    assert found.type == pa.int64()
    assert found.take_from(read_columns(source, ["meta"])).to_pylist() == [5, None, None]
    inner = find_column(source, "meta.json.k.l", "caption_column")
    assert (inner.fields, inner.inner) == (("json",), ("k", "l"))
    assert inner.type == pa.large_string()
    assert str(inner) == "meta.json.k.l"
    assert "did you mean meta.size? fields: meta.size, meta.json" in refusal(source, "meta.sise")


def test_a_column_whose_own_name_has_a_dot_wins(tmp_path: Path) -> None:
    source = make_source(tmp_path, table_of(0, 1, **{"a": [{"b": {"c": 1}}], "a.b": [{"c": 2}]}))
    found = find_column(source, "a.b.c", "width_column")
    assert (found.column, found.fields) == ("a.b", ("c",))


def test_a_shard_that_lost_rows_since_it_was_found_is_stale(tmp_path: Path) -> None:
    source = make_source(tmp_path, table_of(0, 5))
    pq.write_table(table_of(0, 4), source.shards[0].path)
    with pytest.raises(StaleError, match="it was changed since it was found"):
        read_columns(source, ["number"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_shard_of_other_rows_than_were_found_is_stale(tmp_path: Path, layout: str) -> None:
    source = make_source(tmp_path, table_of(0, 4), layout=layout)
    wrong = replace(source, shard_rows=(5,), windows=((0, 5),))
    with pytest.raises(StaleError, match="it has 4 rows, and had 5"):
        read_columns(wrong, ["number"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_broken_shard_is_one_clear_error(tmp_path: Path, layout: str) -> None:
    source = make_source(tmp_path, table_of(0, 50), layout=layout)
    path = source.shards[0].path
    found, data = path.stat(), path.read_bytes()
    path.write_bytes(data[: len(data) // 2] + b"\xff" * (len(data) - len(data) // 2))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    with pytest.raises(FormatError, match=f"cannot read .*{path.name}"):
        read_columns(source, ["number"])


def test_tables_are_cut_by_size_and_where_texts_change_their_form(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = pa.array(["a", "b"] * 3)
    for number, coded in enumerate([True, True, False]):
        pq.write_table(pa.table({"t": texts}), tmp_path / f"{number}.parquet", use_dictionary=coded)
    (tmp_path / "3.parquet").write_bytes((tmp_path / "2.parquet").read_bytes())
    pq.write_table(pa.table({"t": texts[:0]}), tmp_path / "4.parquet")
    source = open_source(locate(str(tmp_path)))
    path = find_column(source, "t", "caption_column")
    monkeypatch.setattr(metadata, "_LENGTH_BYTES", 100)
    tables = list(read_tables(source, [path]))
    assert [table.num_rows for table in tables] == [12, 12]
    assert [pa.types.is_dictionary(table["t"].type) for table in tables] == [True, False]
    assert [text for table in tables for text in table["t"].to_pylist()] == texts.to_pylist() * 4
    monkeypatch.setattr(metadata, "TABLE_BYTES", 1)
    assert [table.num_rows for table in read_tables(source, [path])] == [6] * 4


def test_few_bytes_a_row_are_read_in_larger_batches_and_long_texts_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metadata, "BATCH_ROWS", 10)
    monkeypatch.setattr(metadata, "_FEW_BYTES_ROWS", 40)
    table = pa.table(
        {
            "number": range(100),
            "set": ["art", "maps"] * 50,
            "text": [f"a text of its own, {number}" for number in range(100)],
            "late": ["same"] * 50 + [f"another, {number}" for number in range(50)],
            "list": [[1, 2]] * 100,
        }
    )
    path = tmp_path / "0.parquet"
    pq.write_table(table, path, row_group_size=50, dictionary_pagesize_limit=200)
    source = open_source(locate(str(path)))
    for names, longest in {
        ("number",): 40, ("number", "set"): 40, ("set",): 40,
        ("text",): 10, ("number", "late"): 10, ("list",): 10,
    }.items():  # fmt: skip
        (read,) = read_tables(source, [find_column(source, name, "where") for name in names])
        assert max(map(len, read.column(0).chunks)) == longest, names
        assert read.select([0]).to_pydict() == table.select(names[:1]).to_pydict()
