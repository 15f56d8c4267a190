"""Image cells that do not lie in their shard as they are: compressed, dictionary-encoded, views.

Owns cutting such a shard into groups (what must be decoded together) and parts (what is held at
once, and kept as one blob). Must not know where blobs are kept nor what a cell means.

    Parquet       group = row group       parts of about `PART_BYTES`, at most `PART_ROWS` rows
    Arrow file    group = record batch    one part
    Arrow stream  group = the stream      part = record batch, since it can only be read in turn

Invariants: parts depend on the shard alone, so a part decoded again is the same bytes; one part
is in memory at a time, so a row group of any size can be decoded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hffs.data.arrow import (
    NO_SLOT,
    Slots,
    count_batches,
    find_bytes,
    find_slots,
    format_errors,
    is_ipc_file,
    read_batch,
    read_batches,
    read_paths,
    read_schema,
)
from hffs.data.mapped import MappedFile, UntouchedFile
from hffs.data.mediacolumn import MediaColumn
from hffs.data.remote.parquet import FETCH_BYTES
from hffs.data.shards import Layout
from hffs.data.source import ShardFile, is_binary, is_list, is_text
from hffs.errors import DataError, FormatError

PART_BYTES = 64 * 2**20
PART_ROWS = 1024  # a dictionary can unfold to any size: the rows bound it where the footer cannot


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """The cells of some consecutive rows of a group, with the bytes of all of them in one blob.

    `offsets` (int64, `NO_SLOT` for none) lie in the blob.
    """

    rows: int
    slots: Slots
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    blob: memoryview


class Decoder(Protocol):
    """Reads the cells of one shard, groups in any order; holds no state between calls."""

    @property
    def which(self) -> str:
        """The column and shard, for messages."""
        ...

    @property
    def groups(self) -> int:
        """How many groups the shard has."""
        ...

    def read_parts(self, group: int) -> Iterator[pa.Array]:
        """Arrays of cells that make up the group, in row order."""
        ...


def open_decoder(file: ShardFile, layout: Layout, column: MediaColumn) -> ParquetCells | ArrowCells:
    """Decoder for one shard's image column; the file's view must outlive it."""
    if layout == "arrow" and isinstance(file, MappedFile):
        return ArrowCells(file, column)
    return ParquetCells(file, column)


def decode_parts(decoder: Decoder, column: MediaColumn, group: int) -> Iterator[Part]:
    """Decode one group, part by part."""
    for cells in decoder.read_parts(group):
        yield make_part(decoder.which, cells, column)


def make_part(which: str, cells: pa.Array, column: MediaColumn) -> Part:
    """Decode an array of cells; `which` names them in errors."""
    if column.kind == "samples":
        return _make_sound_part(which, cells)
    with format_errors("cannot decode", which):
        plain = _make_plain(cells)
    slots = find_slots(which, plain, column.is_list)
    places = find_bytes(slots)
    used = places.offsets != NO_SLOT
    first = int(places.offsets[used].min(initial=places.data.size))
    end = int((places.offsets + places.lengths)[used].max(initial=first))
    offsets = np.where(used, places.offsets - first, NO_SLOT)
    blob = memoryview(places.data)[first:end]
    return Part(len(cells), slots, offsets, places.lengths, blob)


def _make_sound_part(which: str, cells: pa.Array) -> Part:
    # Late: a daemon that serves images does without what it brings along.
    from hffs.data.cells.samples import make_sounds

    sounds = make_sounds(which, cells)
    lengths = np.array([len(sound or b"") for sound in sounds], np.int64)
    starts = np.cumsum(lengths) - lengths
    present = np.array([sound is not None for sound in sounds], np.bool_)
    blob = b"".join(filter(None, sounds))
    return Part(
        len(cells),
        find_slots(which, cells, is_list=False),
        np.where(present, starts, NO_SLOT),
        lengths,
        memoryview(blob),
    )


def _make_plain(cells: pa.Array) -> pa.Array:
    """The same cells in a layout whose values lie one after the other."""
    wanted = _plain_layout(cells.type)
    if cells.type == wanted:
        return cells
    cells.validate(full=True)  # casts follow offsets and dictionary indexes unchecked
    return cells.cast(wanted)


def _plain_layout(kind: pa.DataType) -> pa.DataType:
    if is_binary(kind):
        return kind if kind in (pa.binary(), pa.large_binary()) else pa.large_binary()
    if is_text(kind):
        return kind if kind in (pa.string(), pa.large_string()) else pa.large_string()
    if is_list(kind):
        plain = _plain_layout(kind.value_type)
        return kind if plain == kind.value_type else pa.large_list(plain)
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_plain_layout(field.type)) for field in kind])
    return kind


class ParquetCells:
    """The image column of a Parquet shard, read by pyarrow from where the shard lies."""

    def __init__(self, file: ShardFile, column: MediaColumn) -> None:
        self._file = file
        # A whole chunk is sliced from a map; from elsewhere it would be fetched, or copied.
        is_sliced = isinstance(file, MappedFile) and not isinstance(file, UntouchedFile)
        self._buffer_bytes = 0 if is_sliced else FETCH_BYTES
        self.which = f"column {column.name} of {file.path}"
        with format_errors("cannot read", str(file.path)):
            self.metadata: pq.FileMetaData = pq.read_metadata(file.open_native())
            self._leaves = find_leaves(self.metadata, file, column)
        self.column = column

    @property
    def bytes_leaf(self) -> str | None:
        """Path of the leaf that holds the bytes, None where cells are paths."""
        return self._leaves.get("bytes")

    @property
    def groups(self) -> int:
        """Row groups of the file."""
        return int(self.metadata.num_row_groups)

    @property
    def element_level(self) -> int:
        """Least definition level at which a list column's slot is an element.

        Below it are the null list (if the column may be null) and the empty one.
        """
        field = self.metadata.schema.to_arrow_schema().field(self.column.name)
        return int(field.nullable) + 1

    def read_parts(self, group: int) -> Iterator[pa.Array]:
        """Cells of one row group."""
        leaves = list(self._leaves.values())
        with format_errors("cannot decode", self.which):
            about = self.metadata.row_group(group)
            chunks = [about.column(i) for i in range(about.num_columns)]
            wanted = [chunk for chunk in chunks if chunk.path_in_schema in leaves]
            size = sum(max(chunk.total_uncompressed_size, 0) for chunk in wanted)
            rows = PART_BYTES * max(about.num_rows, 1) // max(size, 1)
        for chunk in wanted:
            self._advise(chunk)
        yield from self._iterate([group], min(max(rows, 1), PART_ROWS), leaves)

    def read_first(self, rows: int) -> pa.Array | None:
        """Cells of the first rows, of the first row group at most."""
        groups = range(min(self.groups, 1))
        return next(self._iterate(list(groups), rows, list(self._leaves.values())), None)

    def read_paths(self, groups: Sequence[int] | None = None) -> pa.Array | None:
        """The `path` field of the cells of some row groups (None: all), in the shape of the column;
        None if there is none. FormatError where they have no rows, as in a file that is damaged.
        """
        leaf = self._leaves.get("path")
        if leaf is None:
            return None
        chosen = list(range(self.groups) if groups is None else groups)
        parts = list(self._iterate(chosen, 1 << 16, [leaf]))
        if not parts:
            raise FormatError("cannot decode", self.which, why="its paths have no rows")
        return pa.concat_arrays(parts)

    def _iterate(self, groups: list[int], rows: int, leaves: list[str]) -> Iterator[pa.Array]:
        with format_errors("cannot decode", self.which):
            reader = pq.ParquetFile(
                self._file.open_native(), metadata=self.metadata, buffer_size=self._buffer_bytes
            )
            for batch in reader.iter_batches(rows, groups, leaves, use_threads=False):
                yield batch.column(0)

    def _advise(self, chunk: pq.ColumnChunkMetaData) -> None:
        # the map is advised RANDOM: without this a cold chunk comes in page by page
        starts = (chunk.data_page_offset, chunk.dictionary_page_offset)
        start = min(offset for offset in starts if offset is not None)
        size = chunk.total_compressed_size
        if 0 <= start <= self._file.size_bytes - size:
            self._file.advise(start, size)


def read_leaf_paths(
    decoder: ParquetCells,
    rows: NDArray[np.int64],
    groups: Sequence[int] | None,
    chosen: NDArray[np.int64],
) -> pa.Array:
    """Paths of some slots of row groups (None: of all), whose slots are of these `rows`."""
    cells = decoder.read_paths(groups)
    if cells is None:
        return pa.nulls(len(chosen), pa.large_binary())
    slots = find_slots(decoder.which, cells, decoder.column.is_list)
    if not np.array_equal(slots.rows, rows):
        why = "its bytes and its paths do not have the same rows"
        raise FormatError("cannot read", decoder.which, why=why)
    return read_paths(slots, chosen)


def find_leaves(metadata: pq.FileMetaData, file: ShardFile, column: MediaColumn) -> dict[str, str]:
    """Paths in the Parquet schema of a column's `bytes` and `path` leaves, those that exist."""
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    inside = [path for path in paths if path.startswith(f"{column.name}.")]
    if column.kind == "samples":
        return _find_sample_leaves(inside, file, column)
    if column.kind == "struct":
        # a struct inside the struct may have a `path` too: the shortest is the cell's own
        inside.sort(key=lambda path: path.count("."), reverse=True)
        leaves = {path.rpartition(".")[2]: path for path in inside}
        found = {field: leaves[field] for field in ("bytes", "path") if field in leaves}
    else:
        own = inside if column.is_list else [path for path in paths if path == column.name]
        found = {"path" if column.kind == "path" else "bytes": path for path in own}
    if not found:
        raise DataError("cannot read", str(file.path), why=f"it has no column {column.name}")
    return found


def _find_sample_leaves(inside: list[str], file: ShardFile, column: MediaColumn) -> dict[str, str]:
    prefixes = {field: f"{column.name}.{field}" for field in ("array", "sampling_rate")}
    found = {
        field: path
        for field, prefix in prefixes.items()
        for path in inside
        if path == prefix or path.startswith(f"{prefix}.")
    }
    if len(found) < 2:
        why = f"column {column.name} has no array and sampling_rate"
        raise DataError("cannot read", str(file.path), why=why)
    return found


class ArrowCells:
    """The image column of an Arrow shard; a stream is read from its beginning each time."""

    def __init__(self, file: MappedFile, column: MediaColumn) -> None:
        self._file = file
        self.which = f"column {column.name} of {file.path}"
        schema = read_schema(file)
        index = schema.get_field_index(column.name)
        if index < 0 or is_list(schema.field(index).type) != column.is_list:
            raise DataError("cannot read", str(file.path), why=f"it has no column {column.name}")
        self._fields = [index]

    @cached_property
    def groups(self) -> int:
        """Record batches of a file; a stream is one group."""
        return count_batches(self._file) if is_ipc_file(self._file) else 1

    def read_parts(self, group: int) -> Iterator[pa.Array]:
        """Cells of one record batch, or of all batches of a stream."""
        if is_ipc_file(self._file):
            # with `fields`, pyarrow would copy the column out of the map
            yield read_batch(self._file, group).column(self._fields[0])
            return
        for batch in read_batches(self._file, self._fields):
            yield batch.column(0)

    def read_first(self, rows: int) -> pa.Array | None:
        """Cells of the first rows, of the first record batch at most."""
        if is_ipc_file(self._file) and not self.groups:
            return None
        first = next(self.read_parts(0), None)
        return None if first is None else first.slice(0, rows)
