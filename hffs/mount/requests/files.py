"""What all files of a mount have in common: whom they belong to, what may be done with them, when.

Owns what the kernel is told of every file alike, for pyfuse3 and on the wire. Must not know names,
sizes or contents.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from hffs.mount.requests.wire import ATTR_HEAD, ATTR_TAIL, ENTRY_HEAD

KEEP_S = 365 * 24 * 3600.0
"""How long the kernel may keep what it was told: the view is immutable."""

_KEEP = int(KEEP_S)
BLOCK_BYTES, NAME_BYTES = 4096, 255


@dataclass(frozen=True, slots=True)
class Owner:
    """Whom the files belong to, and which permission bits are taken away."""

    uid: int
    gid: int
    umask: int

    @property
    def file_mode(self) -> int:
        """Type and permissions of a file."""
        return stat.S_IFREG | (0o444 & ~self.umask)

    @property
    def folder_mode(self) -> int:
        """Type and permissions of a folder."""
        return stat.S_IFDIR | (0o555 & ~self.umask)


class Entries:
    """Files as the kernel has them in answers to LOOKUP and in listings.

    Of one whose size is not known the attributes are not kept, nor, below an overlay, the name.
    """

    def __init__(self, owner: Owner, mtime_ns: int, *, is_below_overlay: bool) -> None:
        self._is_below_overlay = is_below_overlay
        seconds, nanoseconds = divmod(mtime_ns, 10**9)
        times = (seconds,) * 3 + (nanoseconds,) * 3
        self._tail = ATTR_TAIL.pack(
            *times, owner.file_mode, 1, owner.uid, owner.gid, 0, BLOCK_BYTES, 0
        )
        self.absent = ENTRY_HEAD.pack(0, 0, _KEEP, 0, 0, 0, 0, 0, 0) + self._tail
        """That there is no such name."""

    def pack(self, inode: int, size_bytes: int | None) -> bytes:
        """A file with its attributes."""
        keep = 0 if size_bytes is None else _KEEP
        keep_name = keep if self._is_below_overlay else _KEEP
        size = size_bytes or 0
        head = ENTRY_HEAD.pack(inode, 0, keep_name, keep, 0, 0, inode, size, count_blocks(size))
        return head + self._tail

    def pack_attributes(self, inode: int, size_bytes: int) -> bytes:
        """The attributes alone."""
        head = ATTR_HEAD.pack(_KEEP, 0, 0, inode, size_bytes, count_blocks(size_bytes))
        return head + self._tail


def count_blocks(size_bytes: int) -> int:
    """What stat(2) calls the blocks of a file."""
    return (size_bytes + 511) // 512
