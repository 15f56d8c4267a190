"""Where the image cells of one shard lie, batch by batch: in its map, or in parts to be decoded.

Owns the choice between the two. Must not know what becomes of a cell (`hffs.data.cells.building`),
nor read image bytes beyond the heads that tell formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import numpy as np
import pyarrow as pa

from hffs.core.base64text import Refusal, find_texts
from hffs.core.formats import Media
from hffs.data.arrow import NO_SLOT, find_slots, read_paths
from hffs.data.cells.batches import CellBatch, Coded, PartKey
from hffs.data.cells.decode import (
    Decoder,
    ParquetCells,
    Part,
    decode_parts,
    open_decoder,
    read_leaf_paths,
)
from hffs.data.cells.paged import read_paged
from hffs.data.mapped import MappedFile, sniff_values
from hffs.data.mediacolumn import MediaColumn
from hffs.data.parquet import LeafValues, read_leaf
from hffs.data.remote.parquet import RangedFile
from hffs.data.shards import Layout
from hffs.data.source import ShardFile
from hffs.errors import DataError


def read_extents(file: ShardFile, layout: Layout, column: MediaColumn) -> Iterator[CellBatch]:
    """Locate the image cells of a shard, in row order; raises FormatError, DataError."""
    decoder = open_decoder(file, layout, column)
    if column.kind == "path":
        yield from _path_batches(decoder, column)
        return
    if isinstance(file, RangedFile) and column.kind == "samples":
        why = f"column {column.name} holds samples, which are not read where they lie"
        raise DataError("cannot stream", str(file.path), why=why, fix="leave --streaming out")
    if isinstance(file, RangedFile):
        if isinstance(decoder, ParquetCells):
            yield from read_paged(file, decoder)
        return
    if isinstance(decoder, ParquetCells) and decoder.bytes_leaf is not None:
        values = read_leaf(file, decoder.metadata, decoder.bytes_leaf, column.media)
        if values is not None:
            yield _decode(file.view, _leaf_batch(decoder, values, column), column)
            return
    for group in range(decoder.groups):
        for number, part in enumerate(decode_parts(decoder, column, group)):
            batch = _part_batch(file, part, PartKey(group, number, len(part.blob)), column.media)
            heads = file.view if batch.part is None else part.blob
            yield _decode(heads, batch, column)


def _decode(heads: memoryview, batch: CellBatch, column: MediaColumn) -> CellBatch:
    """The batch with what its texts stand for, if they are base64."""
    if column.kind != "base64":
        return batch
    present = np.flatnonzero(batch.offsets != NO_SLOT)
    lengths = batch.lengths[present]
    texts = find_texts(heads, batch.offsets[present], lengths, column.media)
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


def _path_batches(decoder: Decoder, column: MediaColumn) -> Iterator[CellBatch]:
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


def _leaf_batch(decoder: ParquetCells, values: LeafValues, column: MediaColumn) -> CellBatch:
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
        read_paths=partial(read_leaf_paths, decoder, values.rows, None),
    )


def _part_batch(file: MappedFile, part: Part, key: PartKey, media: Media) -> CellBatch:
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
        formats=sniff_values(heads, offsets, part.lengths, advise, media),
        vacant=part.slots.index == NO_SLOT,
        read_paths=partial(read_paths, part.slots),
        part=key if start is None else None,
    )


def _place_in_map(file: MappedFile, blob: memoryview) -> int | None:
    """Offset of a buffer in the file's map; None if it is a copy (it was compressed, say)."""
    if not len(blob):
        return 0
    place = int(pa.py_buffer(blob).address) - int(pa.py_buffer(file.view).address)
    return place if 0 <= place <= file.size_bytes - len(blob) else None
