from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.core.formats import MediaFormat
from hffs.data import parquet
from hffs.data.mapped import MappedFile, open_mapped
from hffs.data.parquet import LeafValues, read_leaf
from hffs.errors import DataError, FormatError

JPEG, PNG = b"\xff\xd8\xff\xe0photo", b"\x89PNG\r\n\x1a\nphoto"
VALUES = [JPEG, None, b"", PNG, b"\xff", b"\xff\xd8\xff"]
CODES = [MediaFormat.JPEG, 0, 0, MediaFormat.PNG, 0, MediaFormat.JPEG]
IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


@contextmanager
def leaf_of(path: Path, leaf: str) -> Iterator[tuple[MappedFile, LeafValues | None]]:
    with open_mapped(path) as file:
        yield file, read_leaf(file, pq.read_metadata(path), leaf)


def cells(file: MappedFile, leaf: LeafValues) -> list[bytes | None]:
    spans = zip(leaf.offsets.tolist(), leaf.lengths.tolist(), strict=True)
    return [None if at < 0 else bytes(file.view[at : at + size]) for at, size in spans]


def write(path: Path, rows: list[Any], kind: pa.DataType, **options: Any) -> Path:
    table = pa.table({"number": range(len(rows)), "image": pa.array(rows, kind)})
    plain: dict[str, Any] = {"use_dictionary": False, "compression": "none"}
    pq.write_table(table, path, **plain | options)
    return path


@pytest.mark.parametrize("version", ["1.0", "2.0"])
@pytest.mark.parametrize("read_ahead", [0, 1 << 25])
@pytest.mark.parametrize("row_group_size", [4, 1000])
def test_values_of_each_layout_are_located_and_sniffed(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    version: str,
    read_ahead: int,
    row_group_size: int,
) -> None:
    monkeypatch.setattr(parquet, "_READ_AHEAD_BYTES", read_ahead)
    structs = [{"bytes": value, "path": "a.jpg"} for value in VALUES]
    layouts: dict[str, tuple[pa.DataType, list[Any]]] = {
        "image": (pa.binary(), VALUES),
        "image.bytes": (IMAGE, structs),
        "image.list.element": (pa.list_(pa.binary()), [[value] for value in VALUES]),
        "image.list.element.bytes": (pa.list_(IMAGE), [[value] for value in structs]),
    }
    options = {"data_page_version": version, "row_group_size": row_group_size}
    for leaf_path, (kind, rows) in layouts.items():
        path = write(tmp_path / "a.parquet", rows * 5, kind, **options)
        with leaf_of(path, leaf_path) as (file, leaf):
            assert leaf is not None
            assert cells(file, leaf) == VALUES * 5
            assert leaf.formats.tolist() == CODES * 5
            assert leaf.rows.tolist() == list(range(30))
            assert not leaf.items.any()


def test_rows_of_lists_run_through_the_file(tmp_path: Path) -> None:
    rows = [[JPEG, PNG], [], None, [b"a", None, b"b"]]
    path = write(tmp_path / "a.parquet", rows, pa.list_(pa.binary()), row_group_size=3)
    with leaf_of(path, "image.list.element") as (file, leaf):
        assert leaf is not None
        assert leaf.rows.tolist() == [0, 0, 1, 2, 3, 3, 3]
        assert leaf.items.tolist() == [0, 1, 0, 0, 0, 1, 2]
        assert leaf.definitions.tolist() == [3, 3, 1, 0, 3, 2, 3]
        assert cells(file, leaf) == [JPEG, PNG, None, None, b"a", None, b"b"]


def test_photos_written_by_datasets_are_located(photo_parquet: Path) -> None:
    whole = pq.read_table(photo_parquet)["image"].to_pylist()
    with leaf_of(photo_parquet, "image.bytes") as (file, leaf):
        assert leaf is not None
        assert cells(file, leaf) == [cell["bytes"] for cell in whole]
        names = [cell["path"].rpartition(".")[2] for cell in whole]
        assert [MediaFormat(code).extension for code in leaf.formats] == names


@pytest.mark.parametrize("row_group_size", [1, 1000])
def test_no_rows_have_no_values(tmp_path: Path, row_group_size: int) -> None:
    path = write(tmp_path / "a.parquet", [], IMAGE, row_group_size=row_group_size)
    with leaf_of(path, "image.bytes") as (_, leaf):
        assert leaf is not None
        assert len(leaf.rows) == len(leaf.formats) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"compression": "snappy"},
        {"use_dictionary": True},
        {"column_encoding": {"image.bytes": "DELTA_LENGTH_BYTE_ARRAY"}},
        {"column_encoding": {"image.bytes": "DELTA_BYTE_ARRAY"}, "data_page_version": "2.0"},
    ],
)
def test_what_is_not_plain_must_be_decoded(tmp_path: Path, options: dict[str, Any]) -> None:
    structs = [{"bytes": JPEG, "path": None}] * 10
    path = write(tmp_path / "a.parquet", structs, IMAGE, row_group_size=4, **options)
    with leaf_of(path, "image.bytes") as (_, leaf):
        assert leaf is None


@pytest.mark.parametrize("options", [{"compression": "snappy"}, {"use_dictionary": True}])
def test_the_footer_alone_can_tell_that(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write(tmp_path / "a.parquet", [JPEG] * 10, pa.binary(), **options)
    column = pq.read_metadata(path).row_group(0).column(1)
    data = bytearray(path.read_bytes())
    end = column.data_page_offset + column.total_compressed_size - 40
    data[column.data_page_offset : end] = bytes(end - column.data_page_offset)
    path.write_bytes(data)
    with leaf_of(path, "image") as (_, leaf):
        assert leaf is None


def test_photos_of_other_writers_must_be_decoded(photo_parquet_snappy: Path) -> None:
    with leaf_of(photo_parquet_snappy, "image.bytes") as (_, leaf):
        assert leaf is None


def test_one_chunk_that_is_not_plain_is_enough(tmp_path: Path) -> None:
    schema = pa.schema([("image", pa.binary())])
    sizes = {"dictionary_pagesize_limit": 100, "data_page_size": 10, "write_batch_size": 1}
    path = tmp_path / "a.parquet"
    with pq.ParquetWriter(path, schema, compression="none", **sizes) as writer:
        writer.write_table(pa.table({"image": [bytes([i]) * 50 for i in range(20)]}, schema))
    with leaf_of(path, "image") as (_, leaf):
        assert leaf is None


@pytest.mark.parametrize(
    ("leaf_path", "why"), [("picture", "no such column"), ("number", "it holds INT64, not bytes")]
)
def test_a_column_that_is_not_there_or_not_bytes_is_refused(
    tmp_path: Path, leaf_path: str, why: str
) -> None:
    path = write(tmp_path / "a.parquet", [JPEG], pa.binary())
    wanted = rf"column {leaf_path} of .*/a.parquet: {why}"
    with pytest.raises(DataError, match=wanted), leaf_of(path, leaf_path):
        pass


def test_a_broken_page_names_its_file_and_column(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", [JPEG] * 3, pa.binary())
    data = bytearray(path.read_bytes())
    at = data.index(struct.pack("<I", len(JPEG)) + JPEG)
    data[at] += 1
    path.write_bytes(data)
    wanted = r"column image of .*/a.parquet: cannot read the page at byte \d+"
    with pytest.raises(FormatError, match=wanted), leaf_of(path, "image"):
        pass
