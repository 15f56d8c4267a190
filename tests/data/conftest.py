"""Small local data sets in every form that cells are stored in, and what reading them must give."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.data.cache import DiskCache
from hffs.data.cells.building import CellIndex, load_or_build
from hffs.data.cells.columns import find_media_column
from hffs.data.locating.local import locate
from hffs.data.rows import RowStore
from hffs.data.source import open_source

Write = Callable[[pa.Table, Path], Path]


def _write_plain(table: pa.Table, stem: Path) -> Path:
    path = stem.with_suffix(".parquet")
    pq.write_table(
        table, path, row_group_size=3, compression="none", use_dictionary=False, data_page_size=64
    )
    return path


def _write_zstd(table: pa.Table, stem: Path) -> Path:
    path = stem.with_suffix(".parquet")
    pq.write_table(table, path, row_group_size=4, compression="zstd", use_dictionary=False)
    return path


def _write_dictionary(table: pa.Table, stem: Path) -> Path:
    """As datasets <= 4.0 did, but for its 100 rows a group."""
    path = stem.with_suffix(".parquet")
    pq.write_table(table, path, row_group_size=3, compression="snappy", use_dictionary=True)
    return path


def _write_stream(table: pa.Table, stem: Path) -> Path:
    path = stem.with_suffix(".arrow")
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


def _write_file(table: pa.Table, stem: Path) -> Path:
    path = stem.with_suffix(".arrow")
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


def _write_lz4_stream(table: pa.Table, stem: Path) -> Path:
    path = stem.with_suffix(".arrow")
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_stream(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


def _write_zstd_file(table: pa.Table, stem: Path) -> Path:
    path = stem.with_suffix(".arrow")
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    with pa.ipc.new_file(path, table.schema, options=options) as writer:
        writer.write_table(table, max_chunksize=3)
    return path


FORMS: dict[str, Write] = {
    "parquet-plain": _write_plain,
    "parquet-zstd": _write_zstd,
    "parquet-dictionary": _write_dictionary,
    "arrow-stream": _write_stream,
    "arrow-file": _write_file,
    "arrow-stream-lz4": _write_lz4_stream,
    "arrow-file-zstd": _write_zstd_file,
}


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> str:
    """Name of each form in turn."""
    name: str = request.param
    return name


def _expect(table: pa.Table, column: str) -> list[tuple[int, int, bytes]]:
    found = []
    for row, cell in enumerate(table[column].to_pylist()):
        for item, value in enumerate(cell if isinstance(cell, list) else [cell]):
            data = value.get("bytes") if isinstance(value, dict) else value
            if data:
                found.append((row, item, data))
    return found


class Rows:
    """An index, and a row store over it, of one data set."""

    def __init__(self, source: str, folder: Path, column: str | None, **options: Any) -> None:
        self.located = locate(source)
        opened = open_source(self.located)
        chosen = find_media_column(opened, column)
        self.steps: list[tuple[int, int]] = []
        self.index: CellIndex = load_or_build(
            folder / "index", opened, chosen, lambda done, total: self.steps.append((done, total))
        )
        self.cache = DiskCache(folder / "blobs", 1 << 30)
        self.store = RowStore(self.index, self.located, self.cache, **options)

    def read_all(self) -> list[tuple[int, int, bytes]]:
        """Row, item and bytes of every cell."""
        cells = range(len(self.index))
        data = [bytes(self.store.load(cell)) for cell in cells]
        rows, items = self.index.row.tolist(), self.index.item.tolist()
        assert [len(each) for each in data] == self.index.length.tolist()
        return list(zip(rows, items, data, strict=True))


class Sets:
    """Makes and opens data sets. Tests know it as Any: what a conftest holds cannot be imported."""

    def write(self, form: str, table: pa.Table, stem: Path) -> Path:
        """Write a table in a form; the path is given without its suffix."""
        return FORMS[form](table, stem)

    def open(self, source: Path, folder: Path, column: str | None = None, **options: Any) -> Rows:
        """Index a data set below a cache folder and open its rows."""
        return Rows(str(source), folder, column, **options)

    def expect(self, table: pa.Table, column: str = "image") -> list[tuple[int, int, bytes]]:
        """Row, item and bytes of each image that has bytes, as pyarrow itself reads them."""
        return _expect(table, column)


@pytest.fixture(scope="session")
def sets() -> Sets:
    """Data sets in every form."""
    return Sets()
