from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data.mapped import open_mapped
from hffs.data.parquet import read_leaf
from hffs.data.prepare.table import GROUP_BYTES, GROUP_ROWS, TableWriter


def write(path: Path, table: pa.Table, batch_rows: int = 1000) -> pq.FileMetaData:
    with TableWriter(path, table.schema) as writer:
        for batch in table.to_batches(batch_rows):
            writer.add(batch)
    assert pq.read_table(path).equals(table)
    return pq.read_metadata(path)


def test_long_texts_and_bytes_can_be_sliced_from_the_map(tmp_path: Path) -> None:
    texts = [base64.b64encode(bytes([n] * 3000)).decode() for n in range(50)]
    cell = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {
        "image": pa.array(texts),
        "images": pa.array([[text] for text in texts], pa.list_(pa.string())),
        "file": pa.array([{"bytes": None, "path": "a.jpg"}] * 50, cell),
    }
    path = tmp_path / "x.parquet"
    metadata = write(path, pa.table(columns), 7)
    with open_mapped(path) as file:
        for leaf in ("image", "images.list.element"):
            found = read_leaf(file, metadata, leaf)
            assert found is not None
            places = zip(found.offsets.tolist(), found.lengths.tolist(), strict=True)
            assert [bytes(file.view[o : o + n]).decode() for o, n in places] == texts
        assert read_leaf(file, metadata, "file.bytes") is not None


def test_other_columns_are_packed(tmp_path: Path) -> None:
    table = pa.table({"caption": ["a cat"] * 5000, "width": np.arange(5000)})
    group = write(tmp_path / "x.parquet", table).row_group(0)
    assert [group.column(n).compression for n in range(2)] == ["ZSTD", "ZSTD"]


@pytest.mark.parametrize("rows", [0, 1, GROUP_ROWS, GROUP_ROWS + 1])
def test_row_groups_have_their_number_of_rows(tmp_path: Path, rows: int) -> None:
    metadata = write(tmp_path / "x.parquet", pa.table({"n": np.arange(rows)}), 1 << 13)
    assert metadata.num_rows == rows
    sizes = [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)]
    assert all(size <= GROUP_ROWS for size in sizes)


def test_row_groups_are_bounded_by_bytes_in_one_batch_too(tmp_path: Path) -> None:
    table = pa.table({"image": ["x" * (1 << 20)] * 200})
    metadata = write(tmp_path / "x.parquet", table)
    sizes = [metadata.row_group(n).total_byte_size for n in range(metadata.num_row_groups)]
    assert max(sizes) <= 1.1 * GROUP_BYTES


def test_an_error_passes_through_before_the_first_row(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyError),
        TableWriter(tmp_path / "x.parquet", pa.schema([("n", pa.int64())])),
    ):
        raise KeyError
