from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data.cells.columns import find_media_column, media_columns_of
from hffs.data.locating.local import locate
from hffs.data.metadata import ColumnPath, find_column, plain_type, read_columns, read_tables
from hffs.data.source import MediaColumn, Source, media_columns, open_source
from hffs.errors import AccessError, ConfigError, DataError, FormatError
from tests.parquet_bytes import Header, Wide, thrift

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def _source(schema: pa.Schema) -> Source:
    return Source("photos", Path("/photos"), (), schema, ())


def _schema(features: Any = None, **columns: pa.DataType) -> pa.Schema:
    info = json.dumps({"info": {"features": features}})
    return pa.schema(columns.items(), metadata={"huggingface": info} if features else None)


def _choice(schema: pa.Schema, wanted: str | None = None) -> MediaColumn:
    return find_media_column(_source(schema), wanted)


def test_rows_and_schema_of_every_form(form: str, tmp_path: Path, sets: Any) -> None:
    cells = pa.array([{"bytes": b"x", "path": None}] * 7, STRUCT)
    table = pa.table({"image": cells, "n": range(7)})
    (tmp_path / "set").mkdir()
    for number in range(2):
        sets.write(form, table.slice(0, 7 - number), tmp_path / "set" / f"part-{number}")
    source = open_source(locate(str(tmp_path / "set")))
    assert source.shard_rows == (7, 6)
    assert source.rows == 13
    assert source.schema.equals(table.schema)


def test_a_shard_of_images_alone_is_counted(form: str, tmp_path: Path, sets: Any) -> None:
    path = sets.write(form, pa.table({"image": [b"x", b"y"]}), tmp_path / "set")
    assert open_source(locate(str(path))).rows == 2


@pytest.mark.parametrize(("own", "others"), [(1, 2), (2, 1), (2, 3)])
def test_row_groups_with_more_or_fewer_columns_are_refused(
    tmp_path: Path, own: int, others: int
) -> None:
    def chunk(number: int) -> Header:
        about: Header = {
            1: 1, 2: [0], 3: [b"n%d" % number], 4: 0, 5: Wide(1), 6: Wide(9), 7: Wide(9), 9: Wide(4)
        }  # fmt: skip
        return {2: Wide(4), 3: about}

    def group(columns: int) -> Header:
        return {1: [chunk(number) for number in range(columns)], 2: Wide(9), 3: Wide(1)}

    schema: list[Header] = [{4: b"schema", 5: 2}]
    schema += [{1: 1, 3: 0, 4: b"n%d" % number} for number in range(2)]
    footer = thrift({1: 2, 2: schema, 3: Wide(2), 4: [group(own), group(others)]})
    path = tmp_path / "0.parquet"
    path.write_bytes(b"PAR1" + footer + struct.pack("<I", len(footer)) + b"PAR1")
    number, count = (0, own) if own != 2 else (1, others)
    with pytest.raises(FormatError, match=f"{path}: row group {number} has {count} of 2 columns"):
        open_source(locate(str(path)))


def _open(folder: Path, *tables: pa.Table) -> Source:
    for number, table in enumerate(tables):
        pq.write_table(table, folder / f"{number}.parquet")
    return open_source(locate(str(folder)))


def test_shards_may_differ_in_layout_and_order(tmp_path: Path) -> None:
    texts = pa.array(["a", "b"])
    source = _open(
        tmp_path,
        pa.table({"image": pa.array([b"x", b"y"]), "text": texts, "tags": [["a"], []]}),
        pa.table(
            {
                "tags": pa.array([["a"], []], pa.large_list(pa.large_string())),
                "text": texts.dictionary_encode(),
                "image": pa.array([b"x", b"y"], pa.large_binary()),
            }
        ),
    )
    assert source.rows == 4


TEXT, WHOLE = pa.array(["x"]), pa.array([1])


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        ((WHOLE, None), [1, None]),
        ((pa.array([1], pa.int32()), WHOLE), [1, 1]),
        ((pa.array([0.5]), WHOLE), [0.5, 1.0]),
        ((TEXT, WHOLE), ["x", "1"]),
        ((TEXT, pa.nulls(1)), ["x", None]),
        ((pa.nulls(1), TEXT), [None, "x"]),
        ((pa.array([["x"]]), pa.array([[]])), [["x"], []]),
        (
            (pa.array([{"a": 1, "b": "x"}]), pa.array([{"b": None}])),
            [{"a": 1, "b": "x"}, {"a": None, "b": None}],
        ),
    ],
)
def test_regression_shards_differ_as_they_may_for_datasets(
    columns: tuple[pa.Array, pa.Array | None],
    values: list[Any],
    form: str,
    tmp_path: Path,
    sets: Any,
) -> None:
    for number, column in enumerate(columns):
        own = {"image": pa.array([b"x"])} | ({} if column is None else {"own": column})
        sets.write(form, pa.table(own), tmp_path / f"{number}")
    source = open_source(locate(str(tmp_path)))
    assert read_columns(source, ["own"])["own"].to_pylist() == values
    paths = [ColumnPath("own", plain_type(source.schema.field("own").type))]
    assert [v for table in read_tables(source, paths) for v in table["own"].to_pylist()] == values


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        ({"own": WHOLE}, {"own": TEXT}, "own is int64 in 0.parquet and string in 1.parquet; name"),
        ({}, {"own": WHOLE}, "column own is absent in 0.parquet and int64 in 1.parquet"),
        (
            {"own": pa.array([{"a": 1}])},
            {"own": pa.array([{"a": 1, "b": 1}])},
            r"own is struct<a: int64> in 0.parquet and struct<a: int64, b: int64> in 1.parquet",
        ),
        ({"image": pa.array([b"x"])}, {"image": pa.nulls(1)}, "image is binary in .* and null in"),
    ],
)
def test_shards_that_datasets_refuses(
    first: dict[str, pa.Array], second: dict[str, pa.Array], why: str, tmp_path: Path
) -> None:
    row = {"n": WHOLE}
    with pytest.raises(DataError, match=why):
        _open(tmp_path, pa.table(row | first), pa.table(row | second))


def test_regression_splits_that_are_summed_may_have_columns_of_their_own(tmp_path: Path) -> None:
    image = pa.array([b"x"])
    pq.write_table(pa.table({"image": image, "a": TEXT}), tmp_path / "test.parquet")
    pq.write_table(pa.table({"image": image, "b": WHOLE}), tmp_path / "train.parquet")
    source = open_source(locate(str(tmp_path), "test+train"))
    assert read_columns(source, ["a", "b"]).to_pylist() == [
        {"a": "x", "b": None},
        {"a": None, "b": 1},
    ]


def test_a_field_that_a_shard_lacks_is_null(tmp_path: Path) -> None:
    source = _open(
        tmp_path,
        pa.table({"meta": pa.array([{"a": 1, "b": "x"}])}),
        pa.table({"meta": pa.array([{"b": "y"}])}),
        pa.table({"n": WHOLE}).drop_columns(["n"]).append_column("meta", pa.nulls(1)),
    )
    path = find_column(source, "meta.a", "where")
    assert [v for t in read_tables(source, [path]) for v in t[0].to_pylist()] == [1, None, None]


def test_a_shard_without_its_list_of_images_is_one_line(tmp_path: Path, sets: Any) -> None:
    sets.write("arrow-stream", pa.table({"image": [["a.jpg"]]}), tmp_path / "0")
    sets.write("arrow-stream", pa.table({"image": pa.nulls(1)}), tmp_path / "1")
    with pytest.raises(DataError, match=r"cannot read .*1\.arrow: it has no column image"):
        sets.open(tmp_path, tmp_path / "cache")


def test_a_column_name_must_be_its_own(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], ["n", "n"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="two columns are named n"):
        open_source(locate(str(tmp_path)))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
@pytest.mark.parametrize("data", [b"PAR1", b"ARROW1", b"\xff" * 100, b"text " * 50])
def test_what_is_not_its_format_is_one_line(name: str, data: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(FormatError, match=f"cannot read .*{name}: ") as caught:
        open_source(locate(str(tmp_path / name)))
    assert "\n" not in str(caught.value)


def test_a_shard_that_was_cut_short_is_a_format_error(form: str, tmp_path: Path, sets: Any) -> None:
    path = sets.write(form, pa.table({"image": [b"x" * 99] * 9, "n": range(9)}), tmp_path / "set")
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(FormatError) as caught:
        open_source(locate(str(path)))
    if path.suffix == ".parquet":
        assert "magic bytes" in str(caught.value)


def test_a_shard_that_may_not_be_read_is_an_access_error(
    tmp_path: Path, as_nobody: Callable[[], Any], sets: Any
) -> None:
    path = sets.write("parquet-plain", pa.table({"image": [b"x"]}), tmp_path / "set")
    path.chmod(0)
    located = locate(str(path))
    with as_nobody(), pytest.raises(AccessError, match=r"cannot open .*set\.parquet"):
        open_source(located)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (STRUCT, ("struct", False)),
        (pa.struct([("path", pa.string()), ("bytes", pa.large_binary())]), ("struct", False)),
        (pa.binary(), ("binary", False)),
        (pa.large_binary(), ("binary", False)),
        (pa.binary_view(), ("binary", False)),
        (pa.dictionary(pa.int32(), pa.binary()), ("binary", False)),
        (pa.list_(STRUCT), ("struct", True)),
        (pa.large_list(pa.binary()), ("binary", True)),
        (pa.list_(STRUCT, 2), ("struct", True)),
        (pa.string(), ("path", False)),
        (pa.list_(pa.large_string()), ("path", True)),
        (pa.int32(), None),
        (pa.struct([("path", pa.string())]), None),
        (pa.struct([("bytes", pa.string())]), None),
        (pa.list_(pa.list_(STRUCT)), None),
        (pa.binary(16), None),
    ],
)
def test_types_that_can_hold_images(kind: pa.DataType, expected: tuple[str, bool] | None) -> None:
    if expected is None:
        with pytest.raises(ConfigError, match="cannot use image_column x: it holds "):
            _choice(_schema(x=kind), "x")
    else:
        column = _choice(_schema(x=kind), "x")
        assert (column.name, column.kind, column.is_list) == ("x", *expected)


@pytest.mark.parametrize(
    ("schema", "names"),
    [
        (_schema(a=STRUCT, b=pa.binary(), c=pa.string()), ["a"]),
        (_schema(a=STRUCT, image=pa.binary()), ["a", "image"]),
        (_schema(a=pa.binary(), b=pa.list_(pa.binary())), ["a", "b"]),
        (_schema(image=pa.string(), file=pa.string()), ["image"]),
        (_schema(image=pa.string(), a=pa.binary()), ["a"]),
        (_schema({"a": {"_type": "Image"}}, a=STRUCT, b=STRUCT), ["a"]),
        (_schema({"a": {"_type": "Audio"}, "v": {"_type": "Video"}}, a=STRUCT, v=STRUCT), []),
        (_schema({"a": {"_type": "Audio"}}, a=STRUCT, b=STRUCT), ["b"]),
        (
            _schema({"b": {"feature": {"_type": "Image"}, "_type": "List"}}, b=pa.list_(STRUCT)),
            ["b"],
        ),
        (_schema({"b": [{"_type": "Image"}]}, a=pa.binary(), b=pa.list_(STRUCT)), ["b"]),
        (
            _schema(
                {"b": {"feature": {"_type": "Audio"}, "_type": "Sequence"}}, b=pa.list_(STRUCT)
            ),
            [],
        ),
        (_schema({"a": {"dtype": "binary", "_type": "Value"}}, a=pa.binary()), ["a"]),
        (_schema({"a": 3}, a=STRUCT), ["a"]),
        (_schema([1], a=STRUCT), ["a"]),
        (pa.schema([("a", STRUCT)], metadata={"huggingface": "{"}), ["a"]),
        (_schema(caption=pa.string(), n=pa.int64()), []),
        (_schema(url=pa.string(), path=pa.string(), image_url=pa.string()), ["image_url"]),
        (_schema(url=pa.string(), file_name=pa.string()), ["file_name"]),
        (_schema(url=pa.list_(pa.string())), ["url"]),
        (_schema(image_url=pa.string(), jpg=pa.binary()), ["jpg"]),
        (_schema(image_path=pa.string(), webp=STRUCT, png=pa.binary()), ["webp"]),
        (_schema(image=pa.string(), image_base64=pa.string()), ["image"]),
    ],
)
def test_columns_that_count_as_images(schema: pa.Schema, names: list[str]) -> None:
    assert [column.name for column in media_columns_of(schema)] == names


def test_the_choice_of_a_column() -> None:
    assert _choice(_schema(thumb=STRUCT, image=STRUCT)).name == "image"
    assert _choice(_schema(photo=STRUCT, n=pa.int8())).name == "photo"
    assert _choice(_schema(photo=STRUCT, image=STRUCT), "photo").name == "photo"
    assert _choice(_schema(file_name=pa.string(), image=STRUCT), "file_name").kind == "path"


@pytest.mark.parametrize(
    ("schema", "wanted", "kind", "message"),
    [
        (
            _schema(caption=pa.string(), n=pa.int64()),
            None,
            DataError,
            r"no image column; columns: caption \(string\), n \(int64\)$",
        ),
        (
            _schema(a=STRUCT, b=STRUCT),
            None,
            ConfigError,
            "several image columns: a, b; choose one by --image-column$",
        ),
        (
            _schema(photo=STRUCT, n=pa.int64()),
            "photos",
            ConfigError,
            r"column photos: there is no such column; did you mean photo\? columns: photo, n$",
        ),
        (_schema(n=pa.int64()), "zzz", ConfigError, "zzz: there is no such column; columns: n$"),
        (_schema(n=pa.int64()), "n", ConfigError, "it holds int64, not images"),
        (_schema({"a": {"_type": "Audio"}}, a=STRUCT), "a", ConfigError, "holds Audio, not images"),
    ],
)
def test_a_choice_that_cannot_be_made(
    schema: pa.Schema, wanted: str | None, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        _choice(schema, wanted)


def test_media_columns_are_all_that_hold_binary_data() -> None:
    schema = _schema(
        image=STRUCT,
        raw=pa.large_binary(),
        view=pa.binary_view(),
        many=pa.list_(STRUCT),
        deep=pa.struct([("a", pa.struct([("b", pa.list_(pa.binary()))]))]),
        coded=pa.dictionary(pa.int8(), pa.binary()),
        mapped=pa.map_(pa.string(), pa.binary()),
        hashed=pa.binary(16),
        text=pa.string(),
        meta=pa.struct([("score", pa.float32()), ("tags", pa.list_(pa.string()))]),
        extension=pa.uuid(),
        sizes=pa.list_(pa.int32(), 2),
        words=pa.map_(pa.string(), pa.int32()),
    )
    clean = {"text", "meta", "sizes", "words"}
    assert media_columns(schema) == set(schema.names) - clean
