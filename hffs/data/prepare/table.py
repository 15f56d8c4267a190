"""Writing a prepared table: Parquet laid out for how hffs reads it.

Owns which columns are packed and where a row group ends. It must not know where rows come from.
Invariants: what may be an image (binary, long texts) lies uncompressed and PLAIN, so that cells are
slices of the file's map; everything else is packed for filters; no more than about a row group is
in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hffs.data.source import is_binary, is_list, is_text

GROUP_ROWS = 1 << 16
GROUP_BYTES = 64 << 20

LONG_TEXT_BYTES = 1024
"""Texts longer than this on average may be images in base64; captions and paths never are."""


class TableWriter:
    """Takes rows batch by batch; the file is whole once it was closed without an error."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path, self._schema = path, schema
        self._held: list[pa.RecordBatch] = []
        self._held_rows = self._held_bytes = 0
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._write_group(is_last=True)  # of a table without rows too
        if self._writer is not None:
            self._writer.close()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take rows over; the batch must have the writer's schema."""
        share = -(-batch.nbytes // GROUP_BYTES)
        rows = max(1, min(GROUP_ROWS, batch.num_rows // max(1, share)))
        for at in range(0, batch.num_rows, rows):
            part = batch.slice(at, rows)
            if self._held_rows + len(part) > GROUP_ROWS or (
                self._held_bytes + part.nbytes > GROUP_BYTES
            ):
                self._write_group()
            self._held.append(part)
            self._held_rows += len(part)
            self._held_bytes += part.nbytes

    def _write_group(self, *, is_last: bool = False) -> None:
        table = pa.Table.from_batches(self._held, self._schema)
        self._held, self._held_rows, self._held_bytes = [], 0, 0
        if not table.num_rows and not is_last:
            return
        if self._writer is None:
            self._writer = _open_writer(self._path, table)
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)


def _open_writer(path: Path, first: pa.Table) -> pq.ParquetWriter:
    """Decide the layout by the first row group: rows of one column are of a kind."""
    leaves = list(list_leaves(first))
    packed = [name for name, may_be_image in leaves if not may_be_image]
    return pq.ParquetWriter(
        path,
        first.schema,
        compression={name: "NONE" if image else "ZSTD" for name, image in leaves},
        use_dictionary=packed,
        write_statistics=packed,
    )


def list_leaves(table: pa.Table) -> Iterator[tuple[str, bool]]:
    """Names of Parquet's leaf columns, and whether their values may be images."""
    for name in table.schema.names:
        column = table.column(name)
        yield from _walk(name, column.type, column.chunks)


def _walk(name: str, kind: pa.DataType, chunks: list[pa.Array]) -> Iterator[tuple[str, bool]]:
    if isinstance(kind, pa.BaseExtensionType):
        chunks = [chunk.storage for chunk in chunks]
        yield from _walk(name, kind.storage_type, chunks)
    elif pa.types.is_struct(kind):
        for field in kind:
            inner = [chunk.field(field.name) for chunk in chunks]
            yield from _walk(f"{name}.{field.name}", field.type, inner)
    elif is_list(kind):
        values = [chunk.flatten() for chunk in chunks]
        yield from _walk(f"{name}.list.element", kind.value_type, values)
    else:
        yield name, is_binary(kind) or (is_text(kind) and _are_long(chunks))


def _are_long(chunks: list[pa.Array]) -> bool:
    count = sum(len(chunk) - chunk.null_count for chunk in chunks)
    total = sum(pc.sum(pc.binary_length(chunk)).as_py() or 0 for chunk in chunks)
    return bool(total > LONG_TEXT_BYTES * count)
