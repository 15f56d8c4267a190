"""The least that a file system in Python can be: photos from memory by plain pyfuse3 and trio.

    .venv/bin/python -m tests.bench.bare_loop PARQUET MOUNTPOINT

Owns nothing of hffs: what it does a second is what pyfuse3 leaves to anybody. One folder of
`0.jpg`, `0.txt`, ...; a request takes a lookup in a dict or a list, and the kernel may keep all.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Sequence

import pyarrow.parquet as pq
import pyfuse3
import trio

KEPT_S = 86400.0


class Loop(pyfuse3.Operations):
    """Files in memory; the inode of the first is the one after the folder's."""

    def __init__(self, files: Sequence[tuple[bytes, bytes]]) -> None:
        super().__init__()
        self._files = files
        first = pyfuse3.ROOT_INODE + 1
        self._inodes = {name: first + number for number, (name, _) in enumerate(files)}

    def _data(self, inode: int) -> bytes:
        return self._files[inode - pyfuse3.ROOT_INODE - 1][1]

    def _attributes(self, inode: int) -> pyfuse3.EntryAttributes:
        entry = pyfuse3.EntryAttributes()
        is_root = inode == pyfuse3.ROOT_INODE
        entry.st_ino = pyfuse3.InodeT(inode)
        entry.st_mode = stat.S_IFDIR | 0o755 if is_root else stat.S_IFREG | 0o644
        entry.st_size = 0 if is_root else len(self._data(inode))
        entry.st_uid, entry.st_gid = os.getuid(), os.getgid()
        entry.entry_timeout = entry.attr_timeout = KEPT_S
        return entry

    async def getattr(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        return self._attributes(inode)

    async def lookup(
        self, parent_inode: pyfuse3.InodeT, name: pyfuse3.FileNameT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        inode = self._inodes.get(name)
        if inode is None:
            raise pyfuse3.FUSEError(errno.ENOENT)
        return self._attributes(inode)

    async def opendir(
        self, inode: pyfuse3.InodeT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileHandleT:
        return pyfuse3.FileHandleT(inode)

    async def readdir(
        self, fh: pyfuse3.FileHandleT, start_id: int, token: pyfuse3.ReaddirToken
    ) -> None:
        for number in range(start_id, len(self._files)):
            name = pyfuse3.FileNameT(self._files[number][0])
            entry = self._attributes(self._inodes[name])
            if not pyfuse3.readdir_reply(token, name, entry, number + 1):
                return

    async def open(
        self, inode: pyfuse3.InodeT, flags: pyfuse3.FlagT, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.FileInfo:
        return pyfuse3.FileInfo(fh=pyfuse3.FileHandleT(inode), keep_cache=True)

    async def read(self, fh: pyfuse3.FileHandleT, off: int, size: int) -> bytes:
        return self._data(fh)[off : off + size]


def main() -> None:
    """Serve the photos of a Parquet file until they are unmounted."""
    parquet, mountpoint = sys.argv[1:]
    table = pq.read_table(parquet)
    files = []
    for number, row in enumerate(table.to_pylist()):
        files.append((b"%d.jpg" % number, row["image"]["bytes"]))
        files.append((b"%d.txt" % number, row["caption"].encode()))
    options = {*pyfuse3.default_options, "fsname=bare", "ro"}
    pyfuse3.init(Loop(files), mountpoint, options)
    try:
        trio.run(pyfuse3.main)
    finally:
        pyfuse3.close(unmount=False)


if __name__ == "__main__":
    main()
