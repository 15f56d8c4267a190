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
from hffs.mount.requests.files import Entries
from hffs.mount.requests.wire import (
    DIRECTORY,
    DIRENT,
    REGULAR,
)
from hffs.view.tree import Alike, Tree

_PADDING = tuple(bytes(-length % 8) for length in range(8))
_ZERO = ord("0")


class Listings:
    """Lists one tree."""

    def __init__(self, tree: Tree, entries: Entries) -> None:
        self._tree, self._entries = tree, entries

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
        has_folders = bool(tree.folders) and folder == ROOT
        for next_id, name, file, _ in tree.entries(folder, start):
            kind = DIRECTORY if has_folders and tree.is_folder(file) else REGULAR
            packed = _pack_name(file, next_id, name, kind)
            size -= len(packed)
            if size < 0:
                return
            yield packed

    def pack_plus(self, folder: Inode, start: int, size: int) -> bytes:
        """The same with the attributes of each, which has to be a file."""
        return b"".join(self._pack_each_plus(folder, start, size))

    def _pack_each_plus(self, folder: Inode, start: int, size: int) -> Iterator[bytes]:
        pack = self._entries.pack
        for next_id, name, file, known in self._tree.entries(folder, start):
            packed = pack(file, known) + _pack_name(file, next_id, name, REGULAR)
            size -= len(packed)
            if size < 0:
                return
            yield packed


def _pack_name(inode: int, next_id: int, name: bytes, kind: int) -> bytes:
    length = len(name)
    return DIRENT.pack(inode, next_id, length, kind) + name + _PADDING[length & 7]


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
