"""Listings of folders as the kernel has them: names alone, or with the attributes of each file.

Owns how entries become bytes. The kernel asks for names alone (READDIR) unless files of a folder
are being looked at as they are listed; names that are alike are packed by columns, as arrays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from hffs.core.inodes import KINDS, ROOT, Kind, make_inode
from hffs.core.types import Inode, Position
from hffs.mount.requests.files import KEEP_S
from hffs.mount.requests.wire import (
    DIRECTORY,
    DIRENT,
    DIRENT_HEAD,
    DIRENTPLUS_BYTES,
    REGULAR,
)
from hffs.view.tree import Alike, Tree

_KEEP = int(KEEP_S)
_PADDING = tuple(bytes(-length % 8) for length in range(8))
_ZERO = ord("0")


class Listings:
    """Lists one tree; `tail` is what the attributes of all files end with."""

    def __init__(self, tree: Tree, tail: bytes, *, is_below_overlay: bool) -> None:
        self._tree, self._tail, self._is_below_overlay = tree, tail, is_below_overlay

    def pack(self, folder: Inode, start: int, size: int) -> bytes:
        """Entries from entry id `start` on, as many as `size` bytes take; none at the end."""
        alike = self._tree.find_alike(folder, start, size // DIRENT.size)
        if alike is not None:
            packed = _pack_alike(alike, start % KINDS, size)
            if packed:
                return packed
        return b"".join(self._pack_each(folder, start, size))

    def _pack_each(self, folder: Inode, start: int, size: int) -> Iterator[bytes]:
        tree = self._tree
        kind = DIRECTORY if tree.folders and folder == ROOT else REGULAR
        for next_id, name, file, _ in tree.entries(folder, start):
            length = len(name)
            padding = _PADDING[length & 7]
            size -= DIRENT.size + length + len(padding)
            if size < 0:
                return
            is_file = kind == DIRECTORY and not tree.is_folder(file)
            yield DIRENT.pack(file, next_id, length, REGULAR if is_file else kind)
            yield name
            yield padding

    def pack_plus(self, folder: Inode, start: int, size: int) -> bytes:
        """The same with the attributes of each, which has to be a file."""
        return b"".join(self._pack_each_plus(folder, start, size))

    def _pack_each_plus(self, folder: Inode, start: int, size: int) -> Iterator[bytes]:
        tail = self._tail
        for next_id, name, file, known in self._tree.entries(folder, start):
            length = len(name)
            padding = _PADDING[length & 7]
            size -= DIRENTPLUS_BYTES + length + len(padding)
            if size < 0:
                return
            keep = 0 if known is None else _KEEP
            keep_name = keep if self._is_below_overlay else _KEEP
            bytes_ = known or 0
            blocks = (bytes_ + 511) // 512
            yield DIRENT_HEAD.pack(file, 0, keep_name, keep, 0, 0, file, bytes_, blocks)
            yield tail
            yield DIRENT.pack(file, next_id, length, REGULAR)
            yield name
            yield padding


def _pack_alike(alike: Alike, skip: int, size: int) -> bytes:
    """Whole positions that `size` bytes take, but for the first `skip` files of the first one."""
    count = len(alike.numbers)
    lengths = [DIRENT.size + _fill(alike.digits + len(suffix)) for _, suffix in alike.suffixes]
    dropped = sum(
        length for length, (kind, _) in zip(lengths, alike.suffixes, strict=True) if kind < skip
    )
    count = min(count, (size + dropped) // sum(lengths))
    columns = [_pack_column(alike, kind, suffix, count) for kind, suffix in alike.suffixes]
    return np.concatenate(columns, axis=1).tobytes()[dropped:]


def _pack_column(alike: Alike, kind: Kind, suffix: bytes, count: int) -> NDArray[np.uint8]:
    """One file of each position: (count, bytes of an entry)."""
    length = alike.digits + len(suffix)
    packed = np.zeros((count, DIRENT.size + _fill(length)), np.uint8)
    places = np.arange(alike.start, alike.start + count, dtype=np.int64) * KINDS
    words = packed[:, :16].view(np.int64)
    words[:, 0] = places + make_inode(Position(0), kind)
    words[:, 1] = places + kind + 1
    packed[:, 16:24].view(np.uint32)[:] = length, REGULAR
    powers = 10 ** np.arange(alike.digits - 1, -1, -1, dtype=np.int64)
    name = packed[:, DIRENT.size :]
    name[:, : alike.digits] = alike.numbers[:count, None] // powers % 10 + _ZERO
    name[:, alike.digits : length] = np.frombuffer(suffix, np.uint8)
    return packed


def _fill(length: int) -> int:
    """Bytes of a name with what follows it."""
    return -(-length // 8) * 8
