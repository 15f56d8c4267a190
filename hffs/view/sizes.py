"""Sizes of rendered images, once learned kept: shared by every mount that renders the same way.

A file of one int64 a cell, 0 where not known yet, mapped by everyone who needs it. Each number is
written once and always to the same value (rendering is deterministic under the identity that names
the file), and an aligned 8-byte store is not torn, so nobody locks. Its upper bits are a check of
the lower ones: a size that a disk has damaged would cut a file short, so it is not known.

A page of a map that its file system has no room for ends the process with SIGBUS, on tmpfs even if
it is only read. So the file is not mapped before all of it has its room, and it is written by calls
that can fail; what cannot be kept is known to this process alone.
"""

from __future__ import annotations

import logging
import os
import weakref
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hffs.data.folders import replace_file

log = logging.getLogger(__name__)

_WORD_BYTES = 8
_SIZE_BITS = 40
"""1 TB: no rendered image is near it."""
_MASK = (1 << _SIZE_BITS) - 1
_CHECK_BITS = 63 - _SIZE_BITS
_FACTOR = 0x9E3779B97F4A7C15  # of Fibonacci hashing: the upper bits of a product depend on all bits
_WORD = (1 << 64) - 1


class LearnedSizes:
    """Exact sizes by cell index; 0 means not known."""

    def __init__(self, path: Path, cells: int) -> None:
        self._file: int | None = None
        self._unkept: dict[int, int] = {}
        try:
            self._array = self._map(path, cells)
        except OSError as error:
            log.warning("cannot keep sizes in %s: %s; going on without", path, error.strerror)
            self._array = _read_whole(path, cells)
        self._at = self._array.data

    def _map(self, path: Path, cells: int) -> NDArray[np.int64]:
        if not _is_whole(path, cells):
            _make_empty(path, cells)
        file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        weakref.finalize(self, os.close, file)
        os.posix_fallocate(file, 0, cells * _WORD_BYTES)
        self._file = file
        # Of the file that was opened: its name may be another's by now.
        return np.frombuffer(mmap(file, cells * _WORD_BYTES, access=ACCESS_READ), np.int64)

    def get(self, cell: int) -> int | None:
        """Exact size in bytes of a rendered cell, None where it was never rendered."""
        kept = self._at[cell]
        size_bytes = kept & _MASK
        if size_bytes and kept == _seal(cell, size_bytes):
            return size_bytes
        return self._unkept.get(cell)

    def learn(self, cell: int, size_bytes: int) -> None:
        """Remember the size of a rendered cell."""
        if self.get(cell) == size_bytes:
            return
        try:
            if self._file is not None and size_bytes <= _MASK:
                word = np.int64(_seal(cell, size_bytes)).tobytes()
                os.pwrite(self._file, word, cell * _WORD_BYTES)
                return
        except OSError as error:
            if not self._unkept:
                log.warning("cannot keep sizes any more: %s; going on without", error.strerror)
        self._unkept[cell] = size_bytes

    def known(self) -> NDArray[np.int64]:
        """All sizes as they are now, 0 where one is not known."""
        sizes = self._open(np.arange(len(self._array)))
        sizes[list(self._unkept)] = list(self._unkept.values())
        return sizes

    def total_bytes(self, cells: NDArray[np.int64]) -> int:
        """Sum of the known sizes of some cells."""
        sizes = self.known()[cells] if self._unkept else self._open(cells)
        return int(sizes.sum())

    def _open(self, cells: NDArray[np.int64]) -> NDArray[np.int64]:
        """Sizes of some cells in the file."""
        kept = self._array[cells]
        sizes = kept & _MASK
        sizes[kept != _seal_all(cells, sizes)] = 0
        return sizes


def _seal(cell: int, size_bytes: int) -> int:
    """A size with its check, which is that of no other cell."""
    word = (size_bytes << 24 ^ cell) * _FACTOR & _WORD
    return (word >> (64 - _CHECK_BITS)) << _SIZE_BITS | size_bytes


def _seal_all(cells: NDArray[np.int64], sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """`_seal` of many; 0 stays 0."""
    words = (sizes.astype(np.uint64) << np.uint64(24)) ^ cells.astype(np.uint64)
    checks = (words * np.uint64(_FACTOR)) >> np.uint64(64 - _CHECK_BITS)
    sealed = (checks << np.uint64(_SIZE_BITS)).astype(np.int64) | sizes
    return np.where(sizes == 0, 0, sealed)


def keep_sizes(path: Path, sizes: NDArray[np.int64]) -> None:
    """Begin with sizes that are known already; if there are some in the file, with those."""
    if _is_whole(path, len(sizes)):
        return
    with replace_file(path) as file:
        file.write(_seal_all(np.arange(len(sizes)), sizes).data)


def _read_whole(path: Path, cells: int) -> NDArray[np.int64]:
    """What is in a file that cannot be mapped."""
    try:
        found = np.fromfile(path, np.int64, cells)
    except OSError:
        found = np.zeros(0, np.int64)
    return found if len(found) == cells else np.zeros(cells, np.int64)


def _is_whole(path: Path, cells: int) -> bool:
    try:
        return path.stat().st_size == cells * _WORD_BYTES
    except FileNotFoundError:
        return False


def _make_empty(path: Path, cells: int) -> None:
    with replace_file(path) as file:
        file.truncate(cells * _WORD_BYTES)
