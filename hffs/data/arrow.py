"""Arrow shards, mapped, and where the image cells of an Arrow array lie in memory.

Owns IPC streams and files (what `datasets` caches and `save_to_disk` write, Feather v2) and the
arithmetic of Arrow's layouts. Knows nothing of views, captions, or what an image is.
`pa.memory_map` is not used: it reads a cold file whole, ours only what is touched.

Invariants: offsets are int64 before anything is added; no address is returned that does not lie
in its array's own buffer, whatever a hostile file says; image bytes are never read here.

A *slot* is one image of a cell, or the one entry that stands for a null or empty list.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.abc import MetaPathFinder
from pathlib import Path
from types import ModuleType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.mapped import MappedFile, open_mapped
from hffs.errors import FormatError

NO_SLOT = -1
"""Index of a slot that stands for a null or empty list; offset of one that has no bytes."""

_FILE_MAGIC = b"ARROW1"

_SAMPLED_BATCHES = 64
"""Batches that are looked at to tell whether a column is in memory already."""


def do_without_pandas() -> None:
    """Have pyarrow never look for pandas, which it does at the first array of Python's values.

    That takes 0.3 s and 40 MB where pandas is installed, as it is with `datasets`. Import it after
    this, and it works; tables of this process just do not become data frames.
    """
    if "pandas" in sys.modules:
        return
    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([""])  # it looks once
    finally:
        sys.meta_path.remove(finder)


class _WithoutPandas(MetaPathFinder):
    """What Python asks first where modules are."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> None:
        """Leave all but pandas to the others."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


@contextmanager
def format_errors(what: str, which: str) -> Iterator[None]:
    """Turn what pyarrow raises about bytes in memory into one `FormatError`."""
    try:
        yield
    except (pa.ArrowException, OSError, ValueError) as error:
        # OSError and ValueError too: pyarrow's own words for a message that is cut short
        why = next(iter(str(error).splitlines()), type(error).__name__)
        raise FormatError(what, which, why=why) from error


def is_ipc_file(file: MappedFile) -> bool:
    """Whether batches can be read in any order (an IPC file), or only in turn (a stream)."""
    return bool(file.open_native().read(len(_FILE_MAGIC)) == _FILE_MAGIC)


def read_schema(file: MappedFile) -> pa.Schema:
    """Schema of a mapped IPC file or stream."""
    with format_errors("cannot read", str(file.path)):
        return _open_reader(file, None).schema


def read_batches(file: MappedFile, fields: Sequence[int] | None = None) -> Iterator[pa.RecordBatch]:
    """Record batches with these fields of the schema (None: all).

    No data is copied but from an IPC file of which only some fields are wanted. A batch that was
    written compressed is decompressed in full, but only in these fields.
    """
    with format_errors("cannot read", str(file.path)):
        reader = _open_reader(file, fields)
        if is_ipc_file(file):
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number)
        else:
            yield from reader


def read_batch(file: MappedFile, number: int) -> pa.RecordBatch:
    """One record batch of an IPC file, without a copy unless it was written compressed."""
    with format_errors("cannot read", str(file.path)):
        return _open_reader(file, None).get_batch(number)


def count_batches(file: MappedFile) -> int:
    """Record batches of an IPC file."""
    with format_errors("cannot read", str(file.path)):
        return int(_open_reader(file, None).num_record_batches)


def open_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Map an Arrow shard as a table of these columns (None: all), in this order.

    The buffers are the file's own pages where `read_batches` can. With `columns` the kernel begins
    to read them at once, and their offsets are checked: pyarrow's own functions follow them
    blindly, out of memory if a hostile file says so. Without, nothing is read or checked.
    Raises SourceError, AccessError, FormatError, and KeyError for a column that is not there.
    """
    with open_mapped(path) as file:
        schema = read_schema(file)
        if columns is None:
            return pa.Table.from_batches(list(read_batches(file)), schema)
        fields = [_field_index(schema, name) for name in columns]
        if not fields:
            raise ValueError("open_table needs at least one column")
        batches = list(read_batches(file, fields))
        _advise_columns(file, batches)
        chosen = pa.schema([schema.field(i) for i in sorted(set(fields))], schema.metadata)
        table = pa.Table.from_batches(batches, chosen)
        with format_errors("cannot read", str(path)):
            for column in table.columns:
                _require_sound(column)
        return table.select(list(columns))


def _field_index(schema: pa.Schema, name: str) -> int:
    index = int(schema.get_field_index(name))
    if index < 0:
        raise KeyError(name)
    return index


def _open_reader(
    file: MappedFile, fields: Sequence[int] | None
) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    options = pa.ipc.IpcReadOptions(included_fields=None if fields is None else list(fields))
    opener = pa.ipc.open_file if is_ipc_file(file) else pa.ipc.open_stream
    return opener(file.open_native(), options=options)


def _advise_columns(file: MappedFile, batches: Sequence[pa.RecordBatch]) -> None:
    """Ask for the pages of all buffers together: datasets writes 100 images a batch."""
    sample = batches[:: max(1, len(batches) // _SAMPLED_BATCHES)]
    if not file.is_cached(_buffer_ranges(file, sample)[0]):
        file.advise_ranges(*_buffer_ranges(file, batches))


def _buffer_ranges(
    file: MappedFile, batches: Sequence[pa.RecordBatch]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Offsets and lengths of all buffers that lie in a file; 10 us for each batch of a column."""
    base = int(pa.py_buffer(file.view).address)
    columns = (column for batch in batches for column in batch.columns)
    buffers = [(b.address, b.size) for c in columns for b in c.buffers() if b is not None]
    places = np.array(buffers, np.int64).reshape(-1, 2)
    starts, sizes = places[:, 0] - base, places[:, 1]
    inside = (starts >= 0) & (sizes > 0) & (starts <= file.size_bytes - sizes)
    return starts[inside], sizes[inside]


def _take_field(column: pa.ChunkedArray, number: int) -> pa.ChunkedArray:
    # Late: a daemon that serves a decided view never gets here, and does without 40 ms and 4 MB.
    import pyarrow.compute as pc

    return pc.struct_field(column, [number])


def _require_sound(column: pa.ChunkedArray) -> None:
    """Check all offsets and indexes of a column, but not that its texts are UTF-8."""
    kind = column.type
    column.validate()  # sizes of buffers: what comes next may follow them
    if pa.types.is_struct(kind):
        for number in range(kind.num_fields):
            _require_sound(_take_field(column, number))
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        for chunk in column.chunks:
            _list_ranges(str(kind), chunk)
            _require_sound(pa.chunked_array([chunk.values]))
    elif pa.types.is_string(kind):
        column.cast(pa.binary()).validate(full=True)
    elif pa.types.is_large_string(kind):
        column.cast(pa.large_binary()).validate(full=True)
    else:
        column.validate(full=True)


@dataclass(frozen=True, slots=True, eq=False)
class Slots:
    """The slots of an array of cells, in order.

    `leaf` holds the elements (the array itself, or a list's values); `index` (int64) is each
    slot's place in it, or `NO_SLOT`; `rows` (int64) count from the array's first row, `items`
    (int32) within a row. `which` names the cells in errors.
    """

    which: str
    leaf: pa.Array
    rows: NDArray[np.int64]
    items: NDArray[np.int32]
    index: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Places:
    """Where the bytes of each slot lie in `data`: int64 offset (`NO_SLOT` for null) and length."""

    data: pa.Buffer
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]


def find_slots(which: str, cells: pa.Array, is_list: bool) -> Slots:
    """Take the lists off an array of cells; raises FormatError where offsets do not fit."""
    with format_errors("cannot read", which):
        cells.validate()
    if not is_list:
        every = np.arange(len(cells), dtype=np.int64)
        return Slots(which, cells, every, np.zeros(len(cells), np.int32), every)
    starts, lengths = _list_ranges(which, cells)
    slots = np.maximum(lengths, 1)
    rows = np.repeat(np.arange(len(cells), dtype=np.int64), slots)
    items = np.arange(len(rows), dtype=np.int64) - (np.cumsum(slots) - slots)[rows]
    index = np.where(lengths[rows] > 0, starts[rows] + items, NO_SLOT)
    return Slots(which, cells.values, rows, items.astype(np.int32), index)


def _list_ranges(which: str, cells: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """First value and number of values of each list; null lists have none."""
    if pa.types.is_fixed_size_list(cells.type):
        size = cells.type.list_size
        bounds = (np.arange(len(cells) + 1, dtype=np.int64) + cells.offset) * size
    else:
        bounds = cells.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
    starts, lengths = bounds[:-1], np.diff(bounds)
    if (lengths < 0).any() or (len(starts) and (bounds[0] < 0 or bounds[-1] > len(cells.values))):
        raise FormatError("cannot read", which, why="list offsets are out of range")
    return starts, np.where(_valid(cells), lengths, 0)


def find_bytes(slots: Slots) -> Places:
    """Where the bytes of each slot lie; the leaf is binary, text, or a struct with `bytes`."""
    if pa.types.is_struct(slots.leaf.type):
        values, valid = slots.leaf.field("bytes"), _valid(slots.leaf)
        valid = valid & _valid(values)
    else:
        values, valid = slots.leaf, _valid(slots.leaf)
    _, offset_buffer, data = values.buffers()
    data = data if data is not None else pa.py_buffer(b"")
    bounds = _value_bounds(values, offset_buffer)
    present = slots.index != NO_SLOT
    index = np.where(present, slots.index, 0)
    present &= valid[index] if len(valid) else False
    starts = np.where(present, bounds[index], NO_SLOT)
    lengths = np.where(present, bounds[np.minimum(index + 1, len(bounds) - 1)] - starts, 0)
    if (lengths < 0).any() or (starts[present] < 0).any() or (starts + lengths > data.size).any():
        raise FormatError("cannot read", slots.which, why="value offsets are out of range")
    return Places(data, starts, lengths)


def _value_bounds(values: pa.Array, offsets: pa.Buffer | None) -> NDArray[np.int64]:
    if offsets is None or not len(values):
        return np.zeros(1, np.int64)
    wide = pa.types.is_large_binary(values.type) or pa.types.is_large_string(values.type)
    kind = np.dtype(np.int64 if wide else np.int32)
    first = values.offset * kind.itemsize
    return np.frombuffer(offsets, kind, len(values) + 1, first).astype(np.int64)


def read_paths(slots: Slots, chosen: NDArray[np.int64]) -> pa.Array:
    """Paths of these slots as `large_binary` (a file name need not be UTF-8); null for none."""
    texts, valid = slots.leaf, _valid(slots.leaf)
    nothing = pa.nulls(len(chosen), pa.large_binary())
    if pa.types.is_struct(texts.type):
        if texts.type.get_field_index("path") < 0:
            return nothing
        texts = texts.field("path")
    if pa.types.is_null(texts.type):
        return nothing
    index = slots.index[chosen]
    usable = index != NO_SLOT
    usable &= valid[np.where(usable, index, 0)] if len(valid) else False
    with format_errors("cannot read", slots.which):
        if not (pa.types.is_string(texts.type) or pa.types.is_large_string(texts.type)):
            texts.validate(full=True)  # other layouts are followed when they are cast
        raw = texts.cast(pa.large_binary())
        raw.validate(full=True)
        return raw.take(pa.array(index, mask=~usable))


def _valid(array: pa.Array) -> NDArray[np.bool_]:
    if not array.null_count:
        return np.ones(len(array), np.bool_)
    valid: NDArray[np.bool_] = array.is_valid().to_numpy(zero_copy_only=False)
    return valid
