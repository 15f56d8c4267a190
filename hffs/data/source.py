"""Where a view's rows come from: the files of one data set, pinned, and their common schema.

Owns opening shards for their schemas and row counts, and what types are called. Reads footers and
message headers only, never a value. It must not know how cells are stored or read
(`hffs.data.cells`, `hffs.data.rows`).
Invariants: what a shard of a `Source` has of its columns can be read as the type that they have;
each row group of a Parquet shard has all of its columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from hffs.data.arrow import format_errors, read_batches, read_schema
from hffs.data.locating.slices import find_windows
from hffs.data.mapped import MappedFile
from hffs.data.mediacolumn import MediaColumn
from hffs.data.openfiles import open_shard
from hffs.data.remote.files import RangeReader
from hffs.data.remote.parquet import Leaves, RangedFile, no_leaves, open_remote
from hffs.data.shards import Located, Shard
from hffs.data.viewfile.header import is_view
from hffs.errors import DataError, SourceError

__all__ = [
    "Located",
    "MediaColumn",
    "Shard",
    "Source",
    "media_columns",
    "open_shard",
    "open_shards",
    "open_source",
]

ShardFile = MappedFile | RangedFile
"""A shard that is open: mapped, or read where it lies."""

Progress = Callable[[int, int], None]
"""Told how many of how many are done."""


@dataclass(frozen=True, slots=True)
class Source(Located):
    """The shards of one split in order, with the schema that all of them share.

    Row numbers run through the windows of all shards: that of shard k are its rows from
    `windows[k][0]` up to `windows[k][1]`, of the `shard_rows[k]` that it has.
    The schema is the first shard's, but for what that leaves open; another may say `large_string`
    for `string`, or lack a column, whose values are null there (`_join_schemas`).
    What is read where it lies is read by `reader`.
    """

    schema: pa.Schema
    shard_rows: tuple[int, ...]
    windows: tuple[tuple[int, int], ...] = ()
    reader: RangeReader | None = None

    @property
    def rows(self) -> int:
        """Rows of all windows together."""
        return sum(stop - start for start, stop in self.windows)


def tell_nobody(done: int, total: int) -> None:
    """Let nobody know how far it is."""


def open_source(
    located: Located, reader: RangeReader | None = None, progress: Progress = tell_nobody
) -> Source:
    """Read the schema and row count of every shard; `progress` hears of shards.

    Raises AccessError, SourceError, or DataError: a shard breaks its format, or has other columns
    than the first; and what fetching raises, of shards that are read where they lie.
    """
    schemas, rows = [], []
    every = range(len(located.shards))
    for number, file in open_shards(located, reader, every):
        shard = located.shards[number]
        with format_errors("cannot read", str(shard.path)):
            if shard.layout == "arrow" and isinstance(file, MappedFile):
                schema, count = _describe_arrow(file)
            else:
                schema, count = _describe_parquet(file)
            _require_own_names(shard, schema)
            schemas.append(schema)
            rows.append(count)
        progress(number + 1, len(every))
    known = {each.name: getattr(located, each.name) for each in fields(Located)}
    schema = _add_features(_join_schemas(located, schemas), located.features)
    return Source(
        **known,
        schema=schema,
        shard_rows=tuple(rows),
        windows=find_windows(located, rows),
        reader=reader,
    )


def _add_features(schema: pa.Schema, features: str) -> pa.Schema:
    """The schema with the features that the data set declares, where its shards tell none."""
    metadata = schema.metadata or {}
    if not features or b"huggingface" in metadata:
        return schema
    return schema.with_metadata(metadata | {b"huggingface": features.encode()})


def open_shards(
    located: Located,
    reader: RangeReader | None,
    numbers: Iterable[int],
    leaves: Leaves = no_leaves,
) -> Iterator[tuple[int, ShardFile]]:
    """Shards by their numbers, one after the other, each closed when the next is asked for.

    Of those that are read where they lie the next ones are on their way, with their `leaves`.
    Raises StaleError if one is not the file that was found.
    """
    if not any(shard.is_remote for shard in located.shards):
        for number in numbers:
            with open_shard(located.shards[number]) as file:
                yield number, file
        return
    chosen = list(numbers)
    shards = [located.shards[number] for number in chosen]
    if reader is None:
        raise SourceError("cannot read", located.name, why="nothing here may ask another host")
    files = ((each.remote, each.path) for each in shards)
    for number, remote in zip(chosen, open_remote(reader, files, leaves), strict=True):
        yield number, remote
        remote.close()


def _describe_parquet(file: ShardFile) -> tuple[pa.Schema, int]:
    reader = pq.ParquetFile(file.open_native())
    footer = reader.metadata
    for group in range(footer.num_row_groups):
        if (count := footer.row_group(group).num_columns) != footer.num_columns:
            raise ValueError(f"row group {group} has {count} of {footer.num_columns} columns")
    return reader.schema_arrow, footer.num_rows


def _describe_arrow(file: MappedFile) -> tuple[pa.Schema, int]:
    schema = read_schema(file)
    media = media_columns(schema)
    # one column is enough to count; a cheap one, as a compressed batch would be decompressed
    cheap = [number for number, name in enumerate(schema.names) if name not in media] or [0]
    return schema, sum(batch.num_rows for batch in read_batches(file, cheap[:1]))


def _require_own_names(shard: Shard, schema: pa.Schema) -> None:
    if twice := [name for name in schema.names if schema.names.count(name) > 1]:
        raise DataError("cannot use", str(shard.path), why=f"two columns are named {twice[0]}")


def _join_schemas(located: Located, schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all shards, in the way of `datasets`: each has the type of the first of them.

    A shard may lack some columns of the first of its split, but not have others beside them; those
    of another split may be others. Raises DataError.
    """
    columns: dict[str, tuple[pa.Field, Shard]] = {}
    known: set[str] = set()
    counts = [count for _, count in located.terms] or [len(schemas)]
    starts = set(accumulate(counts, initial=0))
    for number, (shard, schema) in enumerate(zip(located.shards, schemas, strict=True)):
        if number in starts:
            known, first = set(schema.names), shard
        for field in schema:
            if field.name not in known:
                raise _unlike(located, field.name, ("absent", first), (field.type, shard))
            before, its_shard = columns.setdefault(field.name, (field, shard))
            joined = _join_types(before.type, field.type)
            if joined is None:
                raise _unlike(located, field.name, (before.type, its_shard), (field.type, shard))
            columns[field.name] = (before.with_type(joined), its_shard)
    return pa.schema([field for field, _ in columns.values()], schemas[0].metadata)


def _unlike(
    located: Located, name: str, one: tuple[object, Shard], other: tuple[object, Shard]
) -> DataError:
    for _, shard in (one, other):
        if not shard.is_remote and is_view(shard.path):
            why, fix = f"{shard.name} is no part of it: hffs view wrote it", "move it elsewhere"
            return DataError("cannot use", located.name, why=why, fix=fix)
    what = " and ".join(f"{kind} in {shard.name}" for kind, shard in (one, other))
    fix = "name files with the same columns by data_files"
    return DataError("cannot use", located.name, why=f"column {name} is {what}", fix=fix)


def _join_types(first: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """What values of both types can be read as: the first, unless that leaves it open."""
    plain = _plain_type(first)
    joined = _join_plain(plain, _plain_type(other))
    return first if joined == plain else joined


def _join_plain(first: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    if first == other or _is_read_as(first, other):
        return first
    if pa.types.is_null(first) or pa.types.is_null(other):
        known = other if pa.types.is_null(first) else first
        return None if _holds_binary(known) else known
    if is_list(first) and is_list(other):
        items = _join_plain(first.value_type, other.value_type)
        return None if items is None else pa.list_(items)
    if pa.types.is_struct(first) and pa.types.is_struct(other):
        return _join_structs(first, other)
    return None


def _is_read_as(first: pa.DataType, other: pa.DataType) -> bool:
    """Whether values are cast one by one; one that does not fit is an error when it is read."""
    if is_text(first):
        return is_number(other) or pa.types.is_boolean(other)
    are_times = pa.types.is_timestamp(first) and pa.types.is_timestamp(other)
    return (is_number(first) and is_number(other)) or (are_times and first.tz == other.tz)


def _join_structs(first: pa.StructType, other: pa.StructType) -> pa.DataType | None:
    """The first with what the other knows of its fields; it may lack some, but has no others."""
    known = {field.name: field.type for field in other}
    if not known.keys() <= {field.name for field in first}:
        return None
    kinds = [(f.name, _join_plain(f.type, known.get(f.name, f.type))) for f in first]
    return None if any(kind is None for _, kind in kinds) else pa.struct(kinds)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    """The type without its layout: what may differ between shards that hold the same things."""
    if pa.types.is_dictionary(kind):
        return _plain_type(kind.value_type)
    if is_binary(kind):
        return pa.binary()
    if is_text(kind):
        return pa.string()
    if is_list(kind):
        return pa.list_(_plain_type(kind.value_type))
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, _plain_type(field.type)) for field in kind])
    return kind


def media_columns(schema: pa.Schema) -> set[str]:
    """Columns that metadata readers must never read: whatever holds binary data at any depth."""
    return {field.name for field in schema if _holds_binary(field.type)}


def _holds_binary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _holds_binary(kind.storage_type)
    if is_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    if is_list(kind):
        return _holds_binary(kind.value_type)
    if pa.types.is_map(kind):
        return _holds_binary(kind.key_type) or _holds_binary(kind.item_type)
    return pa.types.is_struct(kind) and any(_holds_binary(field.type) for field in kind)


def is_binary(kind: pa.DataType) -> bool:
    """Whether values of this type are byte strings, in any of Arrow's layouts."""
    return _is_any(kind, ("binary", "large_binary", "binary_view"))


def is_number(kind: pa.DataType) -> bool:
    """Whether values of this type are numbers, not truth values."""
    checks = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal)
    return any(check(kind) for check in checks)


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are texts, in any of Arrow's layouts."""
    return _is_any(kind, ("string", "large_string", "string_view"))


def is_list(kind: pa.DataType) -> bool:
    """Whether values of this type are lists, in any of Arrow's layouts but the views."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _is_any(kind: pa.DataType, names: Iterable[str]) -> bool:
    values = kind.value_type if pa.types.is_dictionary(kind) else kind
    return str(values) in names
