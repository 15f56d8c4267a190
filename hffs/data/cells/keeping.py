"""The cell index as it is kept: in a folder, whole or not at all.

Owns what of it is on disk, and whether what is there still holds. Must not know how an index is
built (`hffs.data.cells.building`), nor import what that takes: it is known at every mount.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from hffs.data.arrays import Stored, load_arrays, save_arrays
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
    FarFileTable,
    FarRangeTable,
    FileTable,
    PageTable,
    Segments,
    TextTable,
)
from hffs.data.cells.paths import DENIED, EMPTY_FILE, MISSING, check_file
from hffs.data.folders import remove_whole
from hffs.data.mediacolumn import MediaColumn
from hffs.data.shards import Located, Shard
from hffs.errors import FormatError, HffsError

log = logging.getLogger(__name__)

FOREIGN = "foreign"
"""Set in the facts of an index that was not built here."""

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
        index = restore(folder, stored, located)
    except FormatError as error:
        log.warning("%s; the index is made again", error)
        remove_whole(folder)
        return None
    if not _files_hold(index, located):
        log.info("files of %s have changed; its index is made again", located.name)
        remove_whole(folder)
        return None
    return index


def keep_foreign(
    folder: Path, arrays: Mapping[str, NDArray[Any]], facts: Mapping[str, Any], located: Located
) -> None:
    """Keep the arrays of an index that was not built here; `facts` are its column and identity."""
    meta = {**facts, "dropped": {}, FOREIGN: True, "shards": pin_each(located.shards)}
    save_arrays(folder, Stored(arrays, meta))


def restore(folder: Path, stored: Stored, located: Located) -> CellIndex:
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
