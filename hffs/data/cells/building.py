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

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hffs.data.arrays import Stored, load_arrays, save_arrays
from hffs.data.cells.batches import CellBatch, cut_rows
from hffs.data.cells.collecting import EMPTY_BYTES, NO_ITEMS, NULL, Collector
from hffs.data.cells.extents import read_extents
from hffs.data.cells.index import (
    CELL_ARRAYS,
    CHUNK_ARRAYS,
    CODED_ARRAYS,
    FAR_FILE_ARRAYS,
    FAR_RANGE_ARRAYS,
    FILE_ARRAYS,
    PAGE_ARRAYS,
    SEGMENT_ARRAYS,
    TEXT_ARRAYS,
    CellIndex,
    ChunkTable,
    Coding,
    FarFileTable,
    FarRangeTable,
    FileTable,
    PageTable,
    SegmentKind,
    Segments,
    TextTable,
)
from hffs.data.cells.paged import leaves_of
from hffs.data.cells.paths import DENIED, EMPTY_FILE, MISSING, check_file
from hffs.data.folders import remove_whole
from hffs.data.shards import Located, Shard
from hffs.data.source import MediaColumn, Progress, Source, open_shards
from hffs.errors import FormatError, HffsError, StaleError

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

log = logging.getLogger(__name__)

FOREIGN = "foreign"
"""Set in the facts of an index that was not built here."""

ReadShards = Callable[[Source, MediaColumn, Sequence[int]], Iterator[tuple[int, CellBatch]]]
"""Who reads the cells of shards, in the order of their numbers."""

_MAY_COME_BACK = (MISSING, DENIED, EMPTY_FILE)


def load_index(folder: Path, located: Located) -> CellIndex | None:
    """The index kept in a folder; None if there is none, or none that still holds.

    One that is damaged is removed with a WARNING; one that names files which have changed since,
    with an INFO line.
    """
    try:
        stored = load_arrays(folder)
        if stored is None:
            return None
        index = _restore(folder, stored, located)
    except FormatError as error:
        log.warning("%s; the index is made again", error)
        remove_whole(folder)
        return None
    if not _files_hold(index, located):
        log.info("files of %s have changed; its index is made again", located.name)
        remove_whole(folder)
        return None
    return index


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
    return _restore(folder, stored, source)


def keep_foreign(
    folder: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], located: Located
) -> None:
    """Keep the arrays of an index that was not built here; `facts` are its column and identity."""
    meta = {**facts, "dropped": {}, FOREIGN: True, "shards": pin_each(located.shards)}
    save_arrays(folder, Stored(arrays, meta))


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


def _restore(folder: Path, stored: Stored, located: Located) -> CellIndex:
    """The index that a folder holds; FormatError if it is none, or another source's."""
    try:
        if stored.meta["shards"] != pin_each(located.shards):
            raise FormatError("cannot use", str(folder), why="it is of other files")
        return CellIndex(
            MediaColumn(**stored.meta["column"]),
            str(stored.meta["identity"]),
            dict(stored.meta["dropped"]),
            **_take(stored, "", CELL_ARRAYS),
            **_take(stored, "", CODED_ARRAYS),
            segments=Segments(**_take(stored, "segments.", SEGMENT_ARRAYS)),
            files=FileTable(**_take(stored, "files.", FILE_ARRAYS)),
            containers=FileTable(**_take(stored, "containers.", FILE_ARRAYS)),
            urls=TextTable(**_take(stored, "urls.", TEXT_ARRAYS)),
            chunks=ChunkTable(**_take(stored, "chunks.", CHUNK_ARRAYS)),
            pages=PageTable(**_take(stored, "pages.", PAGE_ARRAYS)),
            far_files=FarFileTable(
                **_take(stored, "far_files.", FAR_FILE_ARRAYS),
                etags=TextTable(**_take(stored, "etags.", TEXT_ARRAYS)),
            ),
            far_ranges=FarRangeTable(**_take(stored, "far_ranges.", FAR_RANGE_ARRAYS)),
            is_foreign=bool(stored.meta.get(FOREIGN)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError("cannot use", str(folder), why=f"{error} is wrong") from error


def _take(stored: Stored, prefix: str, kinds: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    arrays = {name: stored.arrays[prefix + name] for name in kinds}
    lengths = {len(array) for name, array in arrays.items() if name != "names"}
    if len(lengths) > 1 or any(arrays[name].dtype != kind for name, kind in kinds.items()):
        raise ValueError(f"the form of {prefix or 'cell'} arrays")
    return arrays


def pin_each(shards: tuple[Shard, ...]) -> list[list[object]]:
    """What pins each of some shards."""
    return [shard.pin for shard in shards]


def _files_hold(index: CellIndex, located: Located) -> bool:
    """Whether the files that cells name are what they were, and no missing one may have come.

    None comes to a listing, which is of a commit.
    """
    may_come = located.listing is None
    if may_come and any(reason in index.dropped for reason in _MAY_COME_BACK):
        return False
    root = os.path.realpath(os.fsencode(located.root))
    try:
        for table in (index.files, index.containers):
            for name, size_bytes, mtime_ns in _list_files(table):
                check_file(os.path.join(root, name), size_bytes, mtime_ns)
    except HffsError:
        return False
    return True


def _list_files(table: FileTable) -> Iterator[tuple[bytes, int, int]]:
    for number in range(len(table)):
        yield table.name(number), int(table.size_bytes[number]), int(table.mtime_ns[number])
