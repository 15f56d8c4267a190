"""The form of a source's index: where the bytes of each of its images lie, as arrays.

Owns what the arrays mean and which facts name all that the cells' bytes depend on. Must not know
how an index is built (`hffs.data.cells.collecting`), kept (`hffs.data.cells.building`) or read
(`hffs.data.rows`).

Where the bytes are is a segment and a range in it:

    MAP         the map of a shard file
    PART        what a part of a shard decodes to (`hffs.data.cells.decode`)
    FILES       files that the cells name: `offset` is a number in the file table
    CONTAINER   the map of an archive that cells name: `shard` is a number in the container table
    URLS        nowhere yet: `offset` is a number in the table of URLs
    PAGES       pages of shards that are read where they lie: `offset` is a number in the page
                table, above `SLOT_BITS` bits that say which of the page's slots it is
    FAR_FILES   files that the cells name, or parts of such, that are read where they lie: `offset`
                is a number in the table of far ranges
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.mediacolumn import MediaColumn

MOST_CODED_BYTES = 256 * 2**20
"""Of an image that has to be decoded in memory; what lies as it is may be larger."""


class SegmentKind(IntEnum):
    """What holds the bytes of a segment's cells; the numbers are kept on disk."""

    MAP = 0
    PART = 1
    FILES = 2
    CONTAINER = 3
    URLS = 4
    PAGES = 5
    FAR_FILES = 6


FAR = (SegmentKind.URLS, SegmentKind.PAGES, SegmentKind.FAR_FILES)
"""What has to be fetched: what such cells hold is seen then."""

SLOT_BITS = 32


class Coding(IntEnum):
    """What has to be done to the bytes of a segment's cells; the numbers are kept on disk."""

    RAW = 0
    BASE64 = 1
    DEFLATE = 2


@dataclass(frozen=True, slots=True, eq=False)
class Segments:
    """One entry a segment: `kind` (uint8), for MAP and PART its `shard` (int32), for PART its
    `group` and `part` (int32) and the size of its blob in bytes (int64); -1 where it has none. The
    `shard` of a CONTAINER is its number. `coding` (uint8) is that of all its cells.
    """

    kind: NDArray[np.uint8]
    shard: NDArray[np.int32]
    group: NDArray[np.int32]
    part: NDArray[np.int32]
    size: NDArray[np.int64]
    coding: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class TextTable:
    """Many byte strings as one: the one of a number is `names[ends[number - 1]:ends[number]]`."""

    names: NDArray[np.uint8]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.ends)

    def name(self, number: int) -> bytes:
        """One of the strings."""
        start = int(self.ends[number - 1]) if number else 0
        return self.names[start : int(self.ends[number])].tobytes()


@dataclass(frozen=True, slots=True, eq=False)
class FileTable(TextTable):
    """Files by their paths below the source's real root, and what pins each (int64)."""

    size_bytes: NDArray[np.int64]
    mtime_ns: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class FarFileTable(TextTable):
    """Files by their paths below the root of a data set elsewhere, and what pins each: its size
    (int64, bytes) and its ETag.
    """

    size_bytes: NDArray[np.int64]
    etags: TextTable


@dataclass(frozen=True, slots=True, eq=False)
class FarRangeTable:
    """One entry a cell of a far file, in their order: the number of its `file` (int32), and which
    part of it the cell is: `start` and `size` (int64, bytes).
    """

    file: NDArray[np.int32]
    start: NDArray[np.int64]
    size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.file)


@dataclass(frozen=True, slots=True, eq=False)
class ChunkTable:
    """One entry a column chunk: its `shard` and row `group` (int32), `codec` (uint8, as Parquet
    numbers them), maximum `definition` and `repetition` levels (uint8), and where its `dictionary`
    page is (int64, bytes; of `dictionary_size` 0 where it has none).

    Of one that is `whole` (bool) nobody knows where its pages are: it is fetched as one page.
    """

    shard: NDArray[np.int32]
    group: NDArray[np.int32]
    codec: NDArray[np.uint8]
    definition: NDArray[np.uint8]
    repetition: NDArray[np.uint8]
    dictionary: NDArray[np.int64]
    dictionary_size: NDArray[np.int64]
    whole: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.shard)


@dataclass(frozen=True, slots=True, eq=False)
class PageTable:
    """One entry a page, in the order of the source: the `chunk` (int32) that it is of, and where in
    the shard it lies: `offset` and `size` (int64, bytes).
    """

    chunk: NDArray[np.int32]
    offset: NDArray[np.int64]
    size: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.chunk)


@dataclass(frozen=True, slots=True, eq=False)
class CellIndex:
    """One entry a cell, in row order: `row` (int64) in the source, `item` (int32) within the row,
    `segment` (uint32), `offset` and `length` (int64, bytes), `format` (uint8, `MediaFormat`).

    `stored` (int64) is how many bytes a cell takes where it lies, and `crc` (uint32) what those of
    DEFLATE must have; both are empty where all are RAW. `length` is exact, but -1 where it is not
    known before a cell is fetched. Of far files `format` is what their names say, of members of far
    tars what these begin with.
    `identity` names everything that the cells' bytes depend on. `dropped` counts what is no cell.
    One that `is_foreign` was not made on this host, and may call any bytes of the source a cell.
    """

    column: MediaColumn
    identity: str
    dropped: Mapping[str, int]
    row: NDArray[np.int64]
    item: NDArray[np.int32]
    segment: NDArray[np.uint32]
    offset: NDArray[np.int64]
    length: NDArray[np.int64]
    format: NDArray[np.uint8]
    stored: NDArray[np.int64]
    crc: NDArray[np.uint32]
    segments: Segments
    files: FileTable
    containers: FileTable
    urls: TextTable
    chunks: ChunkTable
    pages: PageTable
    far_files: FarFileTable
    far_ranges: FarRangeTable
    is_foreign: bool = False

    def __len__(self) -> int:
        return len(self.row)

    @property
    def far(self) -> NDArray[np.bool_]:
        """Which cells have to be fetched."""
        kinds: NDArray[np.bool_] = np.isin(self.segments.kind, FAR)
        return kinds[self.segment]

    @property
    def unseen(self) -> NDArray[np.bool_]:
        """Of which cells nothing is known, neither size nor format, before they are fetched."""
        return self.far & (np.asarray(self.length) < 0)


CELL_ARRAYS = {
    "row": np.int64,
    "item": np.int32,
    "segment": np.uint32,
    "offset": np.int64,
    "length": np.int64,
    "format": np.uint8,
}
CODED_ARRAYS = {"stored": np.int64, "crc": np.uint32}
SEGMENT_ARRAYS = {
    "kind": np.uint8,
    "shard": np.int32,
    "group": np.int32,
    "part": np.int32,
    "size": np.int64,
    "coding": np.uint8,
}
TEXT_ARRAYS = {"names": np.uint8, "ends": np.int64}
FILE_ARRAYS = {**TEXT_ARRAYS, "size_bytes": np.int64, "mtime_ns": np.int64}
CHUNK_ARRAYS = {
    "shard": np.int32,
    "group": np.int32,
    "codec": np.uint8,
    "definition": np.uint8,
    "repetition": np.uint8,
    "dictionary": np.int64,
    "dictionary_size": np.int64,
    "whole": np.bool_,
}
FAR_FILE_ARRAYS = {**TEXT_ARRAYS, "size_bytes": np.int64}
FAR_RANGE_ARRAYS = {"file": np.int32, "start": np.int64, "size": np.int64}
PAGE_ARRAYS = {"chunk": np.int32, "offset": np.int64, "size": np.int64}
"""The arrays of each part of an index, by name, with the types that they are kept as."""


def make_identity(
    shards: str, column: MediaColumn, arrays: Mapping[str, NDArray[Any]], *, of_commit: bool
) -> str:
    """Hash of everything that the bytes of an index's cells depend on.

    `shards` is the identity of these. A cell in a shard follows from them; of others it counts what
    they name, what pins that, and the range of it that they are. Files of a commit need no times,
    which are those of their download, and differ between hosts.
    """
    digest = blake2b(json.dumps([shards, column.name, column.kind]).encode(), digest_size=16)
    for table in ("files", "containers"):
        for name in sorted(FILE_ARRAYS.keys() - ({"mtime_ns"} if of_commit else set())):
            _feed(digest, arrays[f"{table}.{name}"])
    for name in TEXT_ARRAYS:
        _feed(digest, arrays[f"urls.{name}"])
    if len(arrays["pages.chunk"]) or len(
        arrays["far_files.ends"]
    ):  # of the same shards, cells may be others than where all is here
        _feed(digest, arrays["row"])
    kinds = arrays["segments.kind"][arrays["segment"]]
    contained = kinds == SegmentKind.CONTAINER
    for name in ("segment", "offset", "length", *CODED_ARRAYS):
        if len(arrays[name]):
            _feed(digest, arrays[name][contained])
    return digest.hexdigest()


def _feed(digest: blake2b, array: NDArray[Any]) -> None:
    digest.update(b"%d " % len(array))
    digest.update(np.ascontiguousarray(array).data)
