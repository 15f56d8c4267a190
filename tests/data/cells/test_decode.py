from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data.cells import decode
from hffs.data.cells.decode import ParquetCells, decode_parts, open_decoder
from hffs.data.locating.local import Layout
from hffs.data.mapped import open_mapped
from hffs.data.source import MediaColumn
from hffs.errors import DataError

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
IMAGE = MediaColumn("image", "struct")


def _cells(count: int, size: int = 100) -> pa.Table:
    cells = [{"bytes": bytes([n % 256]) * size, "path": f"{n}.jpg"} for n in range(count)]
    return pa.table({"image": pa.array(cells, STRUCT), "n": range(count)})


@pytest.mark.parametrize(
    ("form", "groups", "parts"),
    [
        ("parquet-zstd", 3, [[4], [4], [2]]),
        ("arrow-file-zstd", 4, [[3], [3], [3], [1]]),
        ("arrow-stream-lz4", 1, [[3, 3, 3, 1]]),
    ],
)
def test_groups_and_parts(
    form: str, groups: int, parts: list[list[int]], tmp_path: Path, sets: Any
) -> None:
    path = sets.write(form, _cells(10), tmp_path / "set")
    layout: Layout = "parquet" if path.suffix == ".parquet" else "arrow"
    with open_mapped(path) as file:
        decoder = open_decoder(file, layout, IMAGE)
        assert decoder.groups == groups
        for group in reversed(range(groups)):
            found = list(decode_parts(decoder, IMAGE, group))
            assert [part.rows for part in found] == parts[group]
            assert all(len(part.blob) == 100 * part.rows for part in found)


@pytest.mark.parametrize(
    ("part_bytes", "part_rows", "rows"), [(350, 99, 2), (10**9, 3, 3), (1, 9, 1)]
)
def test_parts_are_bounded_by_bytes_and_rows(
    part_bytes: int, part_rows: int, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "PART_BYTES", part_bytes)
    monkeypatch.setattr(decode, "PART_ROWS", part_rows)
    path = tmp_path / "a.parquet"
    pq.write_table(_cells(12).select(["image"]), path, compression="gzip", use_dictionary=False)
    with open_mapped(path) as file:
        parts = list(decode_parts(open_decoder(file, "parquet", IMAGE), IMAGE, 0))
    assert [part.rows for part in parts] == [rows] * (12 // rows)
    assert b"".join(part.blob for part in parts) == b"".join(bytes([n]) * 100 for n in range(12))


def test_leaves_are_the_cells_own(tmp_path: Path) -> None:
    inner = pa.struct([("path", pa.string()), ("bytes", pa.string())])
    cell = pa.struct([("extra", inner), ("bytes", pa.binary()), ("path", pa.string())])
    table = pa.table(
        {
            "image": pa.array([{"bytes": b"x", "path": "a", "extra": {"path": "b"}}], cell),
            "images": pa.array([[{"bytes": b"y"}]], pa.list_(cell)),
            "image.bytes2": ["no"],
            "raw": [b"z"],
            "raw.bytes": ["no"],
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    with open_mapped(tmp_path / "a.parquet") as file:
        for column, data in {
            IMAGE: b"x",
            MediaColumn("images", "struct", True): b"y",
            MediaColumn("raw", "binary"): b"z",
        }.items():
            (part,) = decode_parts(ParquetCells(file, column), column, 0)
            assert part.blob == data
        assert ParquetCells(file, MediaColumn("raw.bytes", "path")).bytes_leaf is None


@pytest.mark.parametrize("form", ["parquet-plain", "arrow-file"])
def test_a_column_that_is_not_there(form: str, tmp_path: Path, sets: Any) -> None:
    path = sets.write(form, _cells(1), tmp_path / "set")
    layout: Layout = "parquet" if path.suffix == ".parquet" else "arrow"
    with open_mapped(path) as file, pytest.raises(DataError, match="it has no column other"):
        open_decoder(file, layout, MediaColumn("other", "struct"))


def test_a_blob_holds_no_more_than_the_part() -> None:
    class Slices:
        which, groups = "a slice", 1

        def read_parts(self, group: int) -> Iterator[pa.Array]:
            yield _cells(6)["image"].chunk(0)[2:4]

    (part,) = decode_parts(Slices(), IMAGE, 0)
    assert part.blob == b"\2" * 100 + b"\3" * 100
    assert part.offsets.tolist() == [0, 100]
