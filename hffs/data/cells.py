"""The index of a source's images: where the bytes of each lie, found once and kept on disk.

A *cell* is one image that has bytes: a column's value, or one item of a list in it. Cells are in
row order; whatever is not an image that could be served is dropped and counted by its reason.

Owns the index's form, how it is built and when a kept one still holds. Must not know what a view
selects from it, nor read image bytes (`hffs.data.rows` does).

Where the bytes are is a segment and a range in it:

    MAP      the map of a shard file
    PART     what a part of a shard decodes to (`hffs.data.decode`)
    FILES    files that the cells name: `offset` is a number in the file table

Invariants: an index never changes once made; arrays are mapped, so a source of ten million images
opens in milliseconds; files named by cells are looked at again whenever the index is opened.
"""

from __future__ import annotations

import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.arrays import Stored, load_arrays, save_arrays
from hffs.data.arrow import NO_SLOT
from hffs.data.extents import CellBatch, cut_rows, read_extents
from hffs.data.folders import remove_whole
from hffs.data.pathcells import (
    DENIED,
    EMPTY_FILE,
    MISSING,
    FoundFile,
    PathResolver,
    check_file,
)
from hffs.data.shards import Located, Shard, identify
from hffs.data.source import ImageColumn, Source, open_shard
from hffs.errors import FormatError, HffsError, StaleError

log = logging.getLogger(__name__)

NULL = "null image"
NO_ITEMS = "null or empty list"
EMPTY_BYTES = "image of no bytes"

_MAY_COME_BACK = (MISSING, DENIED, EMPTY_FILE)

Progress = Callable[[int, int], None]
"""Told how many rows of how many are done."""


class SegmentKind(IntEnum):
    """What holds the bytes of a segment's cells; the numbers are kept on disk."""

    MAP = 0
    PART = 1
    FILES = 2


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """One entry a segment: `kind` (uint8), for MAP and PART its `shard` (int32), for PART its
    `group` and `part` (int32) and the size of its blob in bytes (int64); -1 where it has none.
    """

    kind: NDArray[np.uint8]
    shard: NDArray[np.int32]
    group: NDArray[np.int32]
    part: NDArray[np.int32]
    size: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class FileTable:
    """Files that cells name: the path below the root, `names[ends[i - 1]:ends[i]]`, and mtime."""

    names: NDArray[np.uint8]
    ends: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]

    def name(self, number: int) -> bytes:
        """Path of one file below the source's real root."""
        start = int(self.ends[number - 1]) if number else 0
        return self.names[start : int(self.ends[number])].tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class CellIndex:
    """One entry a cell, in row order: `row` (int64) in the source, `item` (int32) within the row,
    `segment` (uint32), `offset` and `length` (int64, bytes), `format` (uint8, `ImageFormat`).

    `identity` names everything that the cells' bytes depend on. `dropped` counts what is no cell.
    """

    column: ImageColumn
    identity: str
    dropped: Mapping[str, int]
    row: NDArray[np.int64]
    item: NDArray[np.int32]
    segment: NDArray[np.uint32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    format: NDArray[np.uint8]
    segments: Segments
    files: FileTable

    def __len__(self) -> int:
        return len(self.row)


_CELL_ARRAYS = {
    "row": np.int64,
    "item": np.int32,
    "segment": np.uint32,
    "offset": np.int64,
    "length": np.int64,
    "format": np.uint8,
}
_SEGMENT_ARRAYS = {
    "kind": np.uint8,
    "shard": np.int32,
    "group": np.int32,
    "part": np.int32,
    "size": np.int64,
}
_FILE_ARRAYS = {"names": np.uint8, "ends": np.int64, "mtime_ns": np.int64}


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


def load_or_build(
    folder: Path, source: Source, column: ImageColumn, progress: Progress
) -> CellIndex:
    """The index kept in a folder, which is made if need be.

    The folder's name must pin the shards (`pin_shards`) and the column. Raises AccessError,
    DataError, StaleError (a shard changed since it was located), MountError (cannot be kept).
    """
    index = load_index(folder, source)
    if index is not None and index.column == column:
        return index
    if index is not None:
        remove_whole(folder)
    stored = save_arrays(folder, build_index(source, column, progress))
    return _restore(folder, stored, source)


def build_index(source: Source, column: ImageColumn, progress: Progress) -> Stored:
    """Locate every cell of a source."""
    builder = _Builder(source)
    done = 0
    for number, (shard, (start, stop)) in enumerate(
        zip(source.shards, source.windows, strict=True)
    ):
        if start == stop and source.shard_rows[number]:
            continue
        seen = 0
        with open_shard(shard) as file:
            for batch in read_extents(file, shard.layout, column):
                cut = cut_rows(batch, start - seen, stop - seen)
                seen += batch.row_count
                builder.add(number, done, cut)
                done += cut.row_count
                progress(done, source.rows)
            file.check()
        if seen != source.shard_rows[number]:
            why = f"it has {seen} rows, and had {source.shard_rows[number]}"
            raise StaleError("cannot read", str(shard.path), why=why, fix="try again")
    return builder.finish(column)


class _Builder:
    """Collects batches of cells in row order."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._resolver = PathResolver(source.root)
        self._pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in _CELL_ARRAYS}
        self._segments: dict[tuple[int, int, int, int, int], int] = {}
        self._files: list[FoundFile] = []
        self._dropped: Counter[str] = Counter()

    def add(self, shard: int, first_row: int, batch: CellBatch) -> None:
        """Take over the batch's cells; its first row is `first_row` of the source."""
        present = batch.offsets != NO_SLOT
        keep = present & (batch.lengths > 0)
        cells: dict[str, NDArray[Any]] = {
            "row": batch.rows + first_row,
            "item": batch.items,
            "segment": np.full(len(keep), self._number(shard, batch), np.uint32),
            "offset": batch.offsets.copy(),
            "length": batch.lengths.copy(),
            "format": batch.formats.copy(),
        }
        self._dropped[NO_ITEMS] += int(batch.vacant.sum())
        self._dropped[EMPTY_BYTES] += int((present & ~keep).sum())
        unset = np.flatnonzero(~present & ~batch.vacant)
        if len(unset):
            for slot, path in zip(unset.tolist(), batch.read_paths(unset), strict=True):
                keep[slot] = self._add_file(cells, slot, path)
        for name, piece in cells.items():
            self._pieces[name].append(piece[keep])

    def finish(self, column: ImageColumn) -> Stored:
        """Everything as it is kept."""
        arrays = {
            name: np.concatenate([np.empty(0, kind), *self._pieces[name]])
            for name, kind in _CELL_ARRAYS.items()
        }
        table = np.array(list(self._segments), np.int64).reshape(-1, len(_SEGMENT_ARRAYS))
        for number, (name, kind) in enumerate(_SEGMENT_ARRAYS.items()):
            arrays[f"segments.{name}"] = table[:, number].astype(kind)
        names = [file.name for file in self._files]
        arrays["files.names"] = np.frombuffer(b"".join(names), np.uint8)
        arrays["files.ends"] = np.cumsum([len(name) for name in names], dtype=np.int64)
        arrays["files.mtime_ns"] = np.array([file.mtime_ns for file in self._files], np.int64)
        meta = {
            "column": asdict(column),
            "shards": _pin(self._source.shards),
            "identity": self._identity(column),
            "dropped": {reason: count for reason, count in self._dropped.items() if count},
        }
        return Stored(arrays, meta)

    def _add_file(self, cells: dict[str, NDArray[Any]], slot: int, path: bytes | None) -> bool:
        """Make a slot without bytes a cell that names a file; False if it is none."""
        found = self._resolver.find(path) if path else NULL
        if isinstance(found, str):
            self._dropped[found] += 1
            return False
        place = (SegmentKind.FILES, -1, -1, -1, -1)
        cells["segment"][slot] = self._segments.setdefault(place, len(self._segments))
        cells["offset"][slot] = len(self._files)
        cells["length"][slot] = found.size_bytes
        cells["format"][slot] = found.kind
        self._files.append(found)
        return True

    def _number(self, shard: int, batch: CellBatch) -> int:
        part = batch.part
        if part is None:
            place = (int(SegmentKind.MAP), shard, -1, -1, -1)
        else:
            place = (int(SegmentKind.PART), shard, part.group, part.number, part.size_bytes)
        return self._segments.setdefault(place, len(self._segments))

    def _identity(self, column: ImageColumn) -> str:
        facts = [identify(self._source), column.name, len(self._files)]
        digest = blake2b(json.dumps(facts).encode(), digest_size=16)
        for file in self._files:
            digest.update(b"%d %d %b\0" % (file.size_bytes, file.mtime_ns, file.name))
        return digest.hexdigest()


def _restore(folder: Path, stored: Stored, located: Located) -> CellIndex:
    """The index that a folder holds; FormatError if it is none, or another source's."""
    try:
        if stored.meta["shards"] != _pin(located.shards):
            raise FormatError("cannot use", str(folder), why="it is of other files")
        return CellIndex(
            ImageColumn(**stored.meta["column"]),
            str(stored.meta["identity"]),
            dict(stored.meta["dropped"]),
            **_take(stored, "", _CELL_ARRAYS),
            segments=Segments(**_take(stored, "segments.", _SEGMENT_ARRAYS)),
            files=FileTable(**_take(stored, "files.", _FILE_ARRAYS)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FormatError("cannot use", str(folder), why=f"{error} is wrong") from error


def _take(stored: Stored, prefix: str, kinds: Mapping[str, type]) -> dict[str, NDArray[Any]]:
    arrays = {name: stored.arrays[prefix + name] for name in kinds}
    lengths = {len(array) for name, array in arrays.items() if name != "names"}
    if len(lengths) > 1 or any(arrays[name].dtype != kind for name, kind in kinds.items()):
        raise ValueError(f"the form of {prefix or 'cell'} arrays")
    return arrays


def _pin(shards: tuple[Shard, ...]) -> list[list[object]]:
    return [[shard.name, shard.size_bytes, shard.mtime_ns] for shard in shards]


def _files_hold(index: CellIndex, located: Located) -> bool:
    """Whether the files that cells name are what they were, and no missing one may have come."""
    if any(reason in index.dropped for reason in _MAY_COME_BACK):
        return False
    root = os.path.realpath(os.fsencode(located.root))
    try:
        for name, size_bytes, mtime_ns in _list_files(index):
            check_file(os.path.join(root, name), size_bytes, mtime_ns)
    except HffsError:
        return False
    return True


def _list_files(index: CellIndex) -> Iterator[tuple[bytes, int, int]]:
    if not len(index.files.ends):
        return
    filed = index.segments.kind[index.segment] == SegmentKind.FILES
    # cells come in row order, and so do the files they name
    for number, size_bytes in enumerate(index.length[filed].tolist()):
        yield index.files.name(number), size_bytes, int(index.files.mtime_ns[number])
