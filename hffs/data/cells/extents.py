"""Where the image cells of one shard lie, batch by batch: in its map, or in parts to be decoded.

Owns the choice between the two. Must not know what becomes of a cell (`hffs.data.cells.building`),
nor read image bytes beyond the heads that tell formats.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.core.base64text import Refusal, find_texts
from hffs.data.arrow import NO_SLOT, find_slots, read_paths
from hffs.data.cells.decode import Decoder, ParquetCells, Part, decode_parts, open_decoder
from hffs.data.mapped import MappedFile, sniff_values
from hffs.data.parquet import LeafValues, read_leaf
from hffs.data.shards import Layout
from hffs.data.source import ImageColumn
from hffs.errors import FormatError

PathReader = Callable[[NDArray[np.int64]], pa.Array]
"""Paths of some slots of a batch (`hffs.data.arrow.read_paths`), read only when asked for."""


@dataclass(frozen=True, slots=True)
class PartKey:
    """Which part of a shard bytes are decoded from (`decode`), and the size of its blob."""

    group: int
    number: int
    size_bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class CellBatch:
    """The slots of some consecutive rows of a shard (`hffs.data.arrow.Slots`), one entry each.

    `rows` (int64) count from the batch's first row, which has `row_count` of them. The bytes of a
    slot lie at `offsets` (int64, `NO_SLOT` for none) of the shard's map, or of a decoded `part`.
    `vacant` marks the slots that stand for a null or empty list. `coded` is there where what lies
    there is base64; then offsets are those of the text, and lengths those of the image.
    """

    row_count: int
    rows: NDArray[np.int64]
    items: NDArray[np.int32]
    offsets: NDArray[np.int64]
    lengths: NDArray[np.int64]
    formats: NDArray[np.uint8]
    vacant: NDArray[np.bool_]
    read_paths: PathReader
    part: PartKey | None = None
    coded: Coded | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Of each slot of a batch `stored` (int64), characters of its base64 text, and why it is not
    taken (uint8, `Refusal`): `refused`. One that is refused, or has no text, has a length of 0.
    """

    stored: NDArray[np.int64]
    refused: NDArray[np.uint8]


def read_extents(file: MappedFile, layout: Layout, column: ImageColumn) -> Iterator[CellBatch]:
    """Locate the image cells of a shard, in row order; raises FormatError, DataError."""
    decoder = open_decoder(file, layout, column)
    if column.kind == "path":
        yield from _path_batches(decoder, column)
        return
    if isinstance(decoder, ParquetCells) and decoder.bytes_leaf is not None:
        values = read_leaf(file, decoder.metadata, decoder.bytes_leaf)
        if values is not None:
            yield _decode(file.view, _leaf_batch(decoder, values, column), column)
            return
    for group in range(decoder.groups):
        for number, part in enumerate(decode_parts(decoder, column, group)):
            batch = _part_batch(file, part, group, number)
            heads = file.view if batch.part is None else part.blob
            yield _decode(heads, batch, column)


def _decode(heads: memoryview, batch: CellBatch, column: ImageColumn) -> CellBatch:
    """The batch with what its texts stand for, if they are base64."""
    if column.kind != "base64":
        return batch
    present = np.flatnonzero(batch.offsets != NO_SLOT)
    texts = find_texts(heads, batch.offsets[present], batch.lengths[present])
    taken = texts.refused == Refusal.NONE
    offsets = batch.offsets.copy()
    offsets[present] = texts.offsets
    stored, lengths = (np.zeros(len(offsets), np.int64) for _ in range(2))
    formats, refused = (np.zeros(len(offsets), np.uint8) for _ in range(2))
    stored[present], refused[present] = texts.stored, texts.refused
    lengths[present] = np.where(taken, texts.lengths, 0)
    formats[present] = np.where(taken, texts.formats, 0)
    coded = Coded(stored, refused)
    return replace(batch, offsets=offsets, lengths=lengths, formats=formats, coded=coded)


def cut_rows(batch: CellBatch, start: int, stop: int) -> CellBatch:
    """The rows of a batch from `start` up to `stop`, as far as it has them."""
    start, stop = max(start, 0), min(stop, batch.row_count)
    if start == 0 and stop == batch.row_count:
        return batch
    low, high = (int(place) for place in np.searchsorted(batch.rows, (start, max(start, stop))))

    def read_paths_of(chosen: NDArray[np.int64]) -> pa.Array:
        return batch.read_paths(chosen + low)

    coded = batch.coded
    if coded is not None:
        coded = Coded(coded.stored[low:high], coded.refused[low:high])
    return replace(
        batch,
        row_count=max(stop - start, 0),
        rows=batch.rows[low:high] - start,
        items=batch.items[low:high],
        offsets=batch.offsets[low:high],
        lengths=batch.lengths[low:high],
        formats=batch.formats[low:high],
        vacant=batch.vacant[low:high],
        read_paths=read_paths_of,
        coded=coded,
    )


def _path_batches(decoder: Decoder, column: ImageColumn) -> Iterator[CellBatch]:
    for group in range(decoder.groups):
        for cells in decoder.read_parts(group):
            slots = find_slots(decoder.which, cells, column.is_list)
            none = np.zeros(len(slots.index), np.int64)
            yield CellBatch(
                row_count=len(cells),
                rows=slots.rows,
                items=slots.items,
                offsets=none + NO_SLOT,
                lengths=none,
                formats=none.astype(np.uint8),
                vacant=slots.index == NO_SLOT,
                read_paths=partial(read_paths, slots),
            )


def _leaf_batch(decoder: ParquetCells, values: LeafValues, column: ImageColumn) -> CellBatch:
    vacant = np.zeros(len(values.rows), np.bool_)
    if column.is_list:
        vacant = values.definitions < decoder.element_level
    return CellBatch(
        row_count=decoder.metadata.num_rows,
        rows=values.rows,
        items=values.items,
        offsets=values.offsets,
        lengths=values.lengths,
        formats=values.formats,
        vacant=vacant,
        read_paths=partial(_read_leaf_paths, decoder, values, column),
    )


def _read_leaf_paths(
    decoder: ParquetCells, values: LeafValues, column: ImageColumn, chosen: NDArray[np.int64]
) -> pa.Array:
    cells = decoder.read_paths()
    if cells is None:
        return pa.nulls(len(chosen), pa.large_binary())
    slots = find_slots(decoder.which, cells, column.is_list)
    if not np.array_equal(slots.rows, values.rows):
        why = "its bytes and its paths do not have the same rows"
        raise FormatError("cannot read", decoder.which, why=why)
    return read_paths(slots, chosen)


def _part_batch(file: MappedFile, part: Part, group: int, number: int) -> CellBatch:
    start = _place_in_map(file, part.blob)
    advise = None if start is None else file.advise_pages
    heads = file.view if start is not None else part.blob
    present = part.offsets != NO_SLOT
    offsets = np.where(present, part.offsets + (start or 0), NO_SLOT)
    return CellBatch(
        row_count=part.rows,
        rows=part.slots.rows,
        items=part.slots.items,
        offsets=offsets,
        lengths=part.lengths,
        formats=sniff_values(heads, offsets, part.lengths, advise),
        vacant=part.slots.index == NO_SLOT,
        read_paths=partial(read_paths, part.slots),
        part=PartKey(group, number, len(part.blob)) if start is None else None,
    )


def _place_in_map(file: MappedFile, blob: memoryview) -> int | None:
    """Offset of a buffer in the file's map; None if it is a copy (it was compressed, say)."""
    if not len(blob):
        return 0
    place = int(pa.py_buffer(blob).address) - int(pa.py_buffer(file.view).address)
    return place if 0 <= place <= file.size_bytes - len(blob) else None
