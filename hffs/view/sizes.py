"""Sizes of rendered images, once learned kept: shared by every mount that renders the same way.

A sparse file of one int64 a cell, 0 where not known yet, mapped by everyone who needs it. Each
number is written once and always to the same value (rendering is deterministic under the identity
that names the file), and an aligned 8-byte store is not torn, so nobody locks.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hffs.data.folders import replace_file


class LearnedSizes:
    """Exact sizes by cell index; 0 means not known."""

    def __init__(self, path: Path, cells: int) -> None:
        if not _is_whole(path, cells):
            _make_empty(path, cells)
        self._array: NDArray[np.int64] = np.memmap(path, np.int64, "r+", shape=(cells,))
        self._at = self._array.data

    def get(self, cell: int) -> int | None:
        """Exact size in bytes of a rendered cell, None where it was never rendered."""
        return self._at[cell] or None

    def learn(self, cell: int, size_bytes: int) -> None:
        """Remember the size of a rendered cell."""
        self._at[cell] = size_bytes

    def known(self) -> NDArray[np.int64]:
        """All sizes as they are now, 0 where one is not known."""
        return np.array(self._array)

    def total_bytes(self, cells: NDArray[np.int64]) -> int:
        """Sum of the known sizes of some cells."""
        return int(self._array[cells].sum())


def keep_sizes(path: Path, sizes: NDArray[np.int64]) -> None:
    """Begin with sizes that are known already; if there are some in the file, with those."""
    if _is_whole(path, len(sizes)):
        return
    with replace_file(path) as file:
        file.write(np.ascontiguousarray(sizes).data)


def _is_whole(path: Path, cells: int) -> bool:
    try:
        return path.stat().st_size == cells * 8
    except FileNotFoundError:
        return False


def _make_empty(path: Path, cells: int) -> None:
    with replace_file(path) as file:
        file.truncate(cells * 8)
