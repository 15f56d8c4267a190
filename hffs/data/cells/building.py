"""The index of a source's images: where the bytes of each lie, found once and kept on disk.

A *cell* is one image that has bytes: a column's value, one item of a list in it, or what such a
value names. Cells are in row order; whatever is not an image that could be served is dropped and
counted by its reason.

Owns when an index is built, how it is kept and when a kept one still holds. Must not know what a
view selects from it, nor read image bytes (`hffs.data.rows` does).

Invariants: an index never changes once made (`hffs.data.cells.index` has its form); arrays are
mapped, so a source of ten million images opens in milliseconds; files named by cells are looked at
again whenever the index is opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from hffs.data.arrays import Stored, save_arrays
from hffs.data.cells.batches import CellBatch, cut_rows
from hffs.data.cells.collecting import EMPTY_BYTES, NO_ITEMS, NULL, Collector
from hffs.data.cells.extents import read_extents
from hffs.data.cells.index import (
    CellIndex,
    Coding,
    SegmentKind,
)
from hffs.data.cells.keeping import load_index, pin_each, restore
from hffs.data.cells.paged import leaves_of
from hffs.data.folders import remove_whole
from hffs.data.mediacolumn import MediaColumn
from hffs.data.source import Progress, Source, open_shards
from hffs.errors import StaleError

__all__ = [
    "EMPTY_BYTES",
    "NO_ITEMS",
    "NULL",
    "CellIndex",
    "Coding",
    "Progress",
    "SegmentKind",
    "build_index",
    "load_index",
    "load_or_build",
]

ReadShards = Callable[[Source, MediaColumn, Sequence[int]], Iterator[tuple[int, CellBatch]]]
"""Who reads the cells of shards, in the order of their numbers."""


def read_shards(
    source: Source, column: MediaColumn, numbers: Sequence[int]
) -> Iterator[tuple[int, CellBatch]]:
    """The cells of some shards, in batches that are good until the next is asked for, each with the
    number of its shard.

    Raises StaleError if a shard is not what it was.
    """
    for number, file in open_shards(source, source.reader, numbers, leaves_of(column)):
        shard, (start, stop) = source.shards[number], source.windows[number]
        seen = 0
        for batch in read_extents(file, shard.layout, column):
            cut = cut_rows(batch, start - seen, stop - seen)
            seen += batch.row_count
            yield number, cut
        file.check()
        if seen != source.shard_rows[number]:
            why = f"it has {seen} rows, and had {source.shard_rows[number]}"
            raise StaleError("cannot read", str(shard.path), why=why, fix="try again")


def load_or_build(
    folder: Path,
    source: Source,
    column: MediaColumn,
    progress: Progress,
    read: ReadShards = read_shards,
) -> CellIndex:
    """The index kept in a folder, which is made if need be.

    The folder's name must pin the shards (`pin_shards`) and the column. Whoever `read`s shards
    does so as `read_shards`, which raises AccessError, DataError, StaleError (a shard changed since
    it was located). MountError where the index cannot be kept.
    """
    index = load_index(folder, source)
    if index is not None and index.column == column:
        return index
    if index is not None:
        remove_whole(folder)
    stored = save_arrays(folder, build_index(source, column, progress, read))
    return restore(folder, stored, source)


def build_index(
    source: Source, column: MediaColumn, progress: Progress, read: ReadShards = read_shards
) -> Stored:
    """Locate every cell of a source."""
    done = 0
    windows = dict(enumerate(source.windows))
    chosen = [n for n, (start, stop) in windows.items() if start < stop or not source.shard_rows[n]]
    with Collector(source, column) as collector:
        for number, batch in read(source, column, chosen):
            collector.add(number, done, batch)
            done += batch.row_count
            progress(done, source.rows)
    found = collector.finish()
    return Stored(found.arrays, {**found.meta, "shards": pin_each(source.shards)})
