"""The columns of a source that are not images: found by name, read batch by batch.

Owns the rules of a column's path, and projection: no read here touches a media column. It must not
know what a column is read for (`hffs.data.filters`, `hffs.data.captions`).
Invariant: a column has one type in every batch, that of the first shard without its encodings
(`plain_type`), whatever each shard says.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hffs.data.arrow import format_errors, open_table
from hffs.data.locate import Shard
from hffs.data.source import Source, media_columns
from hffs.errors import ConfigError, StaleError

BATCH_ROWS = 1 << 16
"""Rows held at once: large enough for vectorised steps, small enough for long texts."""

_STREAM_BYTES = 1 << 20
"""Read buffer of a Parquet column; without one, pyarrow holds a row group's whole column."""


@dataclass(frozen=True, slots=True)
class ColumnPath:
    """A column, the struct fields that a dotted path names in it, and what goes on below these.

    `type` is the plain type that the fields lead to; `inner` may be keys in a JSON string.
    """

    column: str
    type: pa.DataType
    fields: tuple[str, ...] = ()
    inner: tuple[str, ...] = ()

    def __str__(self) -> str:
        return ".".join((self.column, *self.fields, *self.inner))

    def take_from(self, rows: pa.RecordBatch | pa.Table) -> pa.Array | pa.ChunkedArray:
        """Values that the fields lead to; null wherever a struct on the way is."""
        values = rows.column(self.column)
        return pc.struct_field(values, list(self.fields)) if self.fields else values


def metadata_columns(source: Source) -> list[str]:
    """Names of the columns that may be read here, in the source's order."""
    media = media_columns(source.schema)
    return [name for name in source.schema.names if name not in media]


def find_column(source: Source, path: str, key: str) -> ColumnPath:
    """Resolve a dotted path, beginning with the longest column name that it begins with.

    So a column whose own name has a dot wins over a field. Raises ConfigError in the name of the
    configuration's `key`.
    """
    parts = path.split(".")
    for cut in range(len(parts), 0, -1):
        name = ".".join(parts[:cut])
        if name in source.schema.names:
            require_metadata(source, name, key)
            return _walk_structs(source, name, tuple(parts[cut:]), key)
    raise unknown_name(key, path, metadata_columns(source))


def _walk_structs(source: Source, name: str, parts: tuple[str, ...], key: str) -> ColumnPath:
    kind = plain_type(source.schema.field(name).type)
    for depth, part in enumerate(parts):
        if not pa.types.is_struct(kind):
            return ColumnPath(name, kind, parts[:depth], parts[depth:])
        if kind.get_field_index(part) < 0:
            known = [".".join((name, *parts[:depth], field.name)) for field in kind]
            raise unknown_name(key, ".".join((name, *parts)), known, "field")
        kind = kind.field(part).type
    return ColumnPath(name, kind, parts)


def require_metadata(source: Source, name: str, key: str) -> None:
    """Raise ConfigError unless `name` is a column that may be read here."""
    names = metadata_columns(source)
    if name not in source.schema.names:
        raise unknown_name(key, name, names)
    if name not in names:
        why = "it holds binary data, not metadata"
        raise ConfigError(f"cannot use {key}", name, why=why, fix=_listed("columns", names))


def unknown_name(key: str, wanted: str, known: Sequence[str], kind: str = "column") -> ConfigError:
    """Error for a name that is not there, with the nearest that is, and all of them."""
    near = difflib.get_close_matches(wanted, known, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    why = f"there is no such {kind}"
    return ConfigError(f"cannot use {key}", wanted, why=why, fix=hint + _listed(f"{kind}s", known))


def read_columns(source: Source, names: Sequence[str]) -> pa.Table:
    """Whole columns, in row order, with the columns in the order of `names`."""
    return pa.Table.from_batches(read_batches(source, names), _projected_schema(source, names))


def read_batches(
    source: Source, names: Sequence[str], batch_rows: int = BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """Batches of at most `batch_rows` rows of these columns (at least one), in row order.

    Raises ConfigError for a column that may not be read; FormatError; StaleError where a shard has
    not as many rows as when it was found.
    """
    schema = _projected_schema(source, names)
    for shard, expected in zip(source.shards, source.shard_rows, strict=True):
        rows = 0
        for part in _read_shard(shard, names, batch_rows):
            rows += part.num_rows
            with format_errors("cannot read", str(shard.path)):
                columns = [part.column(field.name).cast(field.type) for field in schema]
                # datasets writes Arrow batches of 1000 rows: one query each would take 50 times as
                # long. After the cast, which widens offsets, any texts fit into one array.
                joined = pa.Table.from_arrays(columns, schema=schema).combine_chunks()
            yield from joined.to_batches()
        if rows != expected:
            why = f"it has {rows} rows, and had {expected}"
            raise StaleError("cannot read", str(shard.path), why=why, fix="try again")


def read_rows(
    source: Source, names: Sequence[str], rows: NDArray[np.int64]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of some rows alone (ascending, repeats allowed): see `read_batches`.

    Each comes with the index in `rows` that it begins at.
    """
    first = 0
    for batch in read_batches(source, names):
        low, high = np.searchsorted(rows, (first, first + batch.num_rows)).tolist()
        wanted = rows[low:high] - first
        if np.array_equal(wanted, np.arange(batch.num_rows)):
            yield low, batch
        elif low < high:
            yield low, batch.take(pa.array(wanted))
        first += batch.num_rows


def _read_shard(shard: Shard, names: Sequence[str], part_rows: int) -> Iterator[pa.Table]:
    """Parts of at most `part_rows` rows; only these columns are sure to be in them."""
    if shard.layout == "arrow":
        table = open_table(shard.path, names)
        yield from (table.slice(at, part_rows) for at in range(0, table.num_rows, part_rows))
        return
    with (
        format_errors("cannot read", str(shard.path)),
        # pre_buffer would also fetch what lies between two wanted columns
        pq.ParquetFile(shard.path, buffer_size=_STREAM_BYTES, pre_buffer=False) as file,
    ):
        for batch in file.iter_batches(part_rows, columns=list(names)):
            yield pa.Table.from_batches([batch])


def _projected_schema(source: Source, names: Sequence[str]) -> pa.Schema:
    for name in names:
        require_metadata(source, name, "columns")
    return pa.schema([(name, plain_type(source.schema.field(name).type)) for name in names])


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type of the values themselves: no dictionary, no extension, one kind of text and list.

    Text and lists get 64-bit offsets, which fit whatever a shard holds.
    """
    if isinstance(kind, pa.BaseExtensionType):
        return plain_type(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return plain_type(kind.value_type)
    if pa.types.is_string(kind) or pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        return pa.large_list(plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, plain_type(field.type)) for field in kind])
    return kind


def _listed(what: str, names: Sequence[str]) -> str:
    return f"{what}: {', '.join(names)}" if names else f"there are no {what}"
