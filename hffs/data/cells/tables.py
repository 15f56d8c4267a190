"""The tables of an index while it is made: they grow by a cell at a time.

Owns numbering what cells refer to: pages, names, files elsewhere. Must not know what a cell is.
Invariant: nothing here is an object for each entry.
"""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.cells.batches import ChunkPages
from hffs.data.cells.index import CHUNK_ARRAYS, FAR_RANGE_ARRAYS, PAGE_ARRAYS
from hffs.data.cells.listing import Listed

Cells = dict[str, NDArray[Any]]


class Pages:
    """Column chunks and their pages, by number."""

    def __init__(self) -> None:
        self._chunks: list[tuple[int, ...]] = []
        self._tables: list[Cells] = []
        self._count = 0

    def add(self, shard: int, pages: ChunkPages) -> int:
        """Take over the pages of a chunk; returns the number of the first."""
        first, chunk = self._count, len(self._chunks)
        levels, dictionary = pages.levels, pages.dictionary
        facts = (shard, pages.group, pages.codec, levels.definition, levels.repetition)
        self._chunks.append((*facts, dictionary.start, dictionary.size_bytes, int(pages.whole)))
        count = len(pages.offsets)
        of = np.full(count, chunk, np.int32)
        self._tables.append({"chunk": of, "offset": pages.offsets, "size": pages.sizes})
        self._count += count
        return first

    def arrays(self) -> Cells:
        """The tables of chunks and pages, as they are kept."""
        table = np.array(self._chunks, np.int64).reshape(-1, len(CHUNK_ARRAYS))
        chunks: Cells = {
            f"chunks.{name}": table[:, number].astype(kind)
            for number, (name, kind) in enumerate(CHUNK_ARRAYS.items())
        }
        return chunks | {
            f"pages.{name}": np.concatenate(
                [np.empty(0, kind), *(table[name] for table in self._tables)]
            )
            for name, kind in PAGE_ARRAYS.items()
        }


class Names:
    """Byte strings as one, by number."""

    def __init__(self) -> None:
        self._blob = bytearray()
        self._ends = array("q")

    def add(self, name: bytes) -> int:
        """Take over a string; returns its number."""
        self._blob += name
        self._ends.append(len(self._blob))
        return len(self._ends) - 1

    def arrays(self, table: str) -> Cells:
        """The table under its name, as it is kept."""
        return {
            f"{table}.names": np.frombuffer(self._blob, np.uint8),
            f"{table}.ends": np.frombuffer(self._ends, np.int64),
        }


class FarFiles:
    """Ranges of files elsewhere, by number, and the files; one that is named again at once is one
    file, as that of a tar's members is.
    """

    def __init__(self) -> None:
        self._names, self._etags = Names(), Names()
        self._file_sizes, self._files = array("q"), array("i")
        self._starts, self.sizes = array("q"), array("q")
        self._last: Listed | None = None

    def add(self, file: Listed, start: int, size_bytes: int) -> int:
        """Take over a range; returns its number."""
        if file != self._last:
            self._last = file
            self._names.add(file.name)
            self._etags.add(file.etag)
            self._file_sizes.append(file.size_bytes)
        self._files.append(len(self._file_sizes) - 1)
        self._starts.append(start)
        self.sizes.append(size_bytes)
        return len(self.sizes) - 1

    def arrays(self) -> Cells:
        """The tables of files and ranges, as they are kept."""
        columns = (self._files, self._starts, self.sizes)
        ranges: Cells = {
            f"far_ranges.{name}": np.frombuffer(column, kind)
            for (name, kind), column in zip(FAR_RANGE_ARRAYS.items(), columns, strict=True)
        }
        files = self._names.arrays("far_files") | self._etags.arrays("etags")
        sizes: Cells = {"far_files.size_bytes": np.frombuffer(self._file_sizes, np.int64)}
        return ranges | files | sizes


def pin_arrays(table: str, pins: array[int]) -> Cells:
    """Sizes and times in turn as the arrays of a table that they pin."""
    sizes, mtimes = np.frombuffer(pins, np.int64).reshape(-1, 2).T
    return {f"{table}.size_bytes": sizes, f"{table}.mtime_ns": mtimes}
