"""What all files of a mount have in common: whom they belong to, what may be done with them, when.

Owns what the kernel is told of every file alike, for pyfuse3 and on the wire. Must not know names,
sizes or contents.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass

from hffs.mount.requests.wire import ATTR_TAIL

KEEP_S = 365 * 24 * 3600.0
"""How long the kernel may keep what it was told: the view is immutable."""

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


def make_tail(owner: Owner, mtime_ns: int) -> bytes:
    """The end of the attributes of every file, as the kernel has them."""
    seconds, nanoseconds = divmod(mtime_ns, 10**9)
    times = (seconds,) * 3 + (nanoseconds,) * 3
    return ATTR_TAIL.pack(*times, owner.file_mode, 1, owner.uid, owner.gid, 0, BLOCK_BYTES, 0)
