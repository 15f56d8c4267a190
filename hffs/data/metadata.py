"""The columns of a source that are not images: found by name, read batch by batch.

Owns the rules of a column's path, and projection: no read here touches a media column. It must not
know what a column is read for (`hffs.data.filters.selection`, `hffs.data.captions`).
Invariant: a column has one type in every batch, that of the source without its encodings
(`plain_type`), whatever each shard says; but `read_tables` leaves a text's dictionary as it is.
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

from hffs.core.captions import lookup
from hffs.data.arrow import format_errors, open_table, read_schema
from hffs.data.mapped import MappedFile
from hffs.data.remote.files import Range
from hffs.data.remote.parquet import FETCH_BYTES, find_chunks
from hffs.data.shards import Shard
from hffs.data.source import ShardFile, Source, is_text, media_columns, open_shards
from hffs.errors import ConfigError, StaleError

BATCH_ROWS = 1 << 16
"""Rows held at once: large enough for vectorised steps, small enough for long texts."""

_FEW_BYTES_ROWS = 1 << 18
"""The same of values of a few bytes each, where a batch costs more than what is in it."""

TABLE_BYTES = 128 << 20
"""Bytes that a table of `read_tables` may exceed by one batch."""

_STREAM_BYTES = 1 << 20
"""Read buffer of a Parquet column; without one, pyarrow holds a row group's whole column."""

_LENGTH_BYTES = 4
"""What Parquet's PLAIN encoding takes for a text, beside the text."""

_NUMBERS = frozenset({"BOOLEAN", "INT32", "INT64", "FLOAT", "DOUBLE"})


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
        """Values that the fields lead to; null where a struct on the way is, or is not there."""
        if self.column not in rows.schema.names:
            return pa.nulls(rows.num_rows, self.type)
        values = rows.column(self.column)
        for name in self.fields:
            if not pa.types.is_struct(values.type) or values.type.get_field_index(name) < 0:
                return pa.nulls(rows.num_rows, self.type)
            values = pc.struct_field(values, [name])
        return values


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
    fields: tuple[str, ...] = ()
    while parts and pa.types.is_struct(kind):
        cut = find_field(kind, parts)
        if not cut:
            known = [".".join((name, *fields, field.name)) for field in kind]
            raise unknown_name(key, ".".join((name, *fields, *parts)), known, "field")
        fields, parts = (*fields, ".".join(parts[:cut])), parts[cut:]
        kind = kind.field(fields[-1]).type
    return ColumnPath(name, kind, fields, parts)


def find_field(kind: pa.StructType, parts: Sequence[str]) -> int:
    """How many of these parts name one field of a struct, the most that do; 0 if none does."""
    cuts = range(len(parts), 0, -1)
    return next((cut for cut in cuts if kind.get_field_index(".".join(parts[:cut])) >= 0), 0)


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


def label_names(schema: pa.Schema, column: ColumnPath) -> tuple[str, ...] | None:
    """Names of a ClassLabel, or of a list of them, by the features that `datasets` wrote.

    None where the column has no whole numbers: what a data set says of itself need not be true.
    """
    kind = column.type
    while pa.types.is_large_list(kind):
        kind = kind.value_type
    if not pa.types.is_integer(kind):
        return None
    text = (schema.metadata or {}).get(b"huggingface", b"{}")
    feature = lookup(text, ("info", "features", column.column, *column.fields))
    while isinstance(feature, dict) and "feature" in feature:
        feature = feature["feature"]
    names = lookup(feature, ("names",)) if lookup(feature, ("_type",)) == "ClassLabel" else None
    return tuple(map(_read_name, names)) if isinstance(names, list) else None


def _read_name(name: object) -> str:
    """A name as text that can be written: JSON may hold half of a surrogate pair."""
    return str(name).encode("utf-16", "surrogatepass").decode("utf-16", "replace")


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
    paths = [ColumnPath(field.name, field.type) for field in schema]
    for shard, window in _open_windows(source, paths):
        for part in window.read(paths, batch_rows):
            with format_errors("cannot read", str(shard.path)):
                columns = [path.take_from(part).cast(path.type) for path in paths]
                # datasets writes Arrow batches of 1000 rows: one query each would take 50 times as
                # long. After the cast, which widens offsets, any texts fit into one array.
                joined = pa.Table.from_arrays(columns, schema=schema).combine_chunks()
            yield from joined.to_batches()


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


def read_tables(source: Source, paths: Sequence[ColumnPath]) -> Iterator[pa.Table]:
    """What paths lead to, a column each in their order, in tables of about `TABLE_BYTES` at most.

    Of a Parquet file only the fields that they lead to are read. A column of texts may be one of
    dictionaries: as fast again to read, and to compare. Raises as `read_batches` does.
    """
    held: list[pa.RecordBatch] = []
    for batch in _read_paths(source, paths):
        if held and (sum(b.nbytes for b in held) >= TABLE_BYTES or held[0].schema != batch.schema):
            yield pa.Table.from_batches(held)
            held = []
        held.append(batch)
    if held:
        yield pa.Table.from_batches(held)


def _read_paths(source: Source, paths: Sequence[ColumnPath]) -> Iterator[pa.RecordBatch]:
    for path in paths:
        require_metadata(source, path.column, "columns")
    for shard, window in _open_windows(source, paths):
        for part in window.read(paths, None):
            with format_errors("cannot read", str(shard.path)):
                columns = [_take_plain(path, part) for path in paths]
                names = [path.column for path in paths]
                yield from pa.Table.from_arrays(columns, names).combine_chunks().to_batches()


def _take_plain(path: ColumnPath, part: pa.Table) -> pa.Array | pa.ChunkedArray:
    """Values of a path in its plain type, but for the dictionary of a text."""
    values = path.take_from(part)
    is_coded = pa.types.is_dictionary(values.type) and is_text(values.type)
    return values if is_coded else values.cast(path.type)


@dataclass(frozen=True, slots=True)
class _Window:
    """The rows of an open shard from `start` up to `stop`, of the `rows` that it should have."""

    shard: Shard
    file: ShardFile
    start: int
    stop: int
    rows: int

    def read(self, paths: Sequence[ColumnPath], part_rows: int | None) -> Iterator[pa.Table]:
        """Parts of at most `part_rows` rows (None: as many as suit what they are), which may have
        more columns than these.

        They lack what the shard has not, and a struct in them fields that none of `paths` leads to.
        """
        if self.shard.layout == "arrow" and isinstance(self.file, MappedFile):
            parts = self._read_arrow(self.file, paths, part_rows or BATCH_ROWS)
        else:
            parts = self._read_parquet(paths, part_rows)
        for at, part in parts:
            low, high = max(self.start - at, 0), min(self.stop - at, part.num_rows)
            if low < high:
                yield part.slice(low, high - low)
            if at + part.num_rows >= self.stop:
                return

    def _read_arrow(
        self, file: MappedFile, paths: Sequence[ColumnPath], part_rows: int
    ) -> Iterator[tuple[int, pa.Table]]:
        """Parts, each with the row of the shard that it begins at."""
        known = read_schema(file).names
        names = [name for name in dict.fromkeys(path.column for path in paths) if name in known]
        table = open_table(self.shard.path, names or None)
        self._require_rows(table.num_rows)
        for at in range(0, table.num_rows, part_rows):
            yield at, table.slice(at, part_rows)

    def _read_parquet(
        self, paths: Sequence[ColumnPath], part_rows: int | None
    ) -> Iterator[tuple[int, pa.Table]]:
        """As `_read_arrow`; row groups without rows of the window are left out."""
        leaves = [leaf for path in paths for leaf in _parquet_leaves(path)]
        with format_errors("cannot read", str(self.shard.path)):
            is_remote = not isinstance(self.file, MappedFile)
            # A map is advised for random access: a cold column would come in page by page.
            native = self.file.open_native() if is_remote else pa.OSFile(str(self.shard.path))
            footer = pq.read_metadata(native)
            self._require_rows(footer.num_rows)
            groups, at = find_groups(footer, self.start, self.stop)
            coded, are_small = _find_coded(footer, groups, leaves)
            rows = part_rows or (_FEW_BYTES_ROWS if are_small else BATCH_ROWS)
            with pq.ParquetFile(
                native,
                metadata=footer,
                buffer_size=FETCH_BYTES if is_remote else _STREAM_BYTES,
                pre_buffer=False,  # it would also fetch what lies between two wanted columns
                read_dictionary=coded,
                page_checksum_verification=is_remote,
            ) as file:
                for batch in file.iter_batches(rows, groups, leaves):
                    yield at, pa.Table.from_batches([batch])
                    at += batch.num_rows

    def _require_rows(self, found: int) -> None:
        if found != self.rows:
            why = f"it has {found} rows, and had {self.rows}"
            raise StaleError("cannot read", str(self.shard.path), why=why, fix="try again")


def _open_windows(source: Source, paths: Sequence[ColumnPath]) -> Iterator[tuple[Shard, _Window]]:
    """The shards that have rows of a source, one after the other, open for some columns."""
    leaves = [leaf for path in paths for leaf in _parquet_leaves(path)]
    windows = {
        number: window
        for number, window in enumerate(source.windows)
        if window[0] < window[1] or not source.shard_rows[number]
    }
    chosen = iter(windows.values())

    def find_leaves(footer: pq.FileMetaData) -> list[Range]:
        return find_chunks(footer, leaves, find_groups(footer, *next(chosen))[0])

    for number, file in open_shards(source, source.reader, windows, find_leaves):
        shard = source.shards[number]
        yield shard, _Window(shard, file, *windows[number], source.shard_rows[number])


def find_groups(footer: pq.FileMetaData, start: int, stop: int) -> tuple[list[int], int]:
    """The row groups that have rows from `start` up to `stop`, and the row that the first has."""
    counts = [footer.row_group(group).num_rows for group in range(footer.num_row_groups)]
    ends = np.cumsum(np.array(counts, np.int64))
    first = int(np.searchsorted(ends, start, "right"))
    last = int(np.searchsorted(ends, stop, "left"))
    begin = int(ends[first - 1]) if first else 0
    return list(range(first, min(last + 1, len(counts)))), begin


def _parquet_leaves(path: ColumnPath) -> Iterator[str]:
    """Names of what a path needs of a Parquet file, by which pyarrow reads no more than that."""
    name = ".".join((path.column, *path.fields))
    if pa.types.is_struct(path.type):
        yield from (f"{name}.{field.name}" for field in path.type)
    else:
        yield name


def _find_coded(
    footer: pq.FileMetaData, groups: Sequence[int], names: Sequence[str]
) -> tuple[list[str], bool]:
    """Columns whose texts are indexes of a dictionary, most of them, in all of these row groups;
    and whether there is nothing else among `names` but numbers.

    Indexes take less room than the lengths of plain texts alone would.
    """
    places = {footer.schema.column(i).path: i for i in range(footer.num_columns)}
    kinds = {n: footer.schema.column(places[n]).physical_type for n in names if n in places}
    coded = [
        name
        for name, kind in kinds.items()
        if kind == "BYTE_ARRAY"
        and all(_is_coded(footer.row_group(group).column(places[name])) for group in groups)
    ]
    return coded, all(name in coded or kinds.get(name) in _NUMBERS for name in names)


def _is_coded(chunk: pq.ColumnChunkMetaData) -> bool:
    plain_bytes = _LENGTH_BYTES * chunk.num_values
    return bool(chunk.has_dictionary_page and chunk.total_uncompressed_size < plain_bytes)


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
