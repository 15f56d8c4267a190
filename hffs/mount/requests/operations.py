"""FUSE requests, translated to calls on a `Tree` and back: nothing is decided here.

The view never changes, so the kernel is told to keep names, attributes, pages and absent names
for as long as it likes. Facts about the kernel and pyfuse3 that shaped this adapter:

- `opendir` answering ENOSYS lets the kernel keep its own cache of the listing; `readdir` then
  gets no handle, which suits a root without folders. A view with folders has to answer.
- pyfuse3 always lists with attributes. A file whose size is not known yet is listed with size 0
  and an attribute timeout of 0: the kernel asks `getattr`, which is exact, before anybody sees
  it. A wrong size that was cached would cut the file off silently.
- An overlay asks for the size of a file when it first meets its name, and never again: copying
  one that was listed with size 0 would then make an empty file, silently. Below an overlay a name
  whose size is not known is not kept, and `lookup` is as exact as `getattr`.
- `read` gets the handle alone, so the handle is the inode.
- `flush` answering ENOSYS saves a request for each open file.
"""

from __future__ import annotations

import errno
import os
from concurrent.futures import Future
from typing import TypeVar

import pyfuse3

from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.errors import MissingError
from hffs.mount.observing.counting import Counters
from hffs.mount.requests.files import BLOCK_BYTES, KEEP_S, NAME_BYTES, Owner, count_blocks
from hffs.mount.requests.guard import guarded
from hffs.mount.requests.waiting import wait_for
from hffs.view.tree import Tree

T = TypeVar("T")

_USER_PREFIX, _XATTR_PREFIX = b"user.", b"user.hffs."

REQUESTS = (
    "lookup", "getattr", "opendir", "readdir", "open", "read", "flush", "statfs", "getxattr",
    "listxattr", "readlink", "ioctl",
)  # fmt: skip
"""What is counted: every handler that is guarded."""


_NO_ROOM = memoryview(b"")
"""Tells whether a file can be read into a buffer."""


class Operations(pyfuse3.Operations):
    """The handlers of one mount."""

    supports_dot_lookup = False  # only NFS asks for "." and ".." by name

    def __init__(self, tree: Tree, owner: Owner, *, is_below_overlay: bool = False) -> None:
        super().__init__()
        self.counters = Counters(REQUESTS)
        self._tree = tree
        self._owner = owner
        self._is_below_overlay = is_below_overlay
        # pyfuse3 copies what it is given before it does anything else, and nothing is awaited while
        # one of these is filled: to make it anew would take as long as to list five files.
        self._file, self._folder = self._blank_file(), self._blank_file()
        self._folder.st_mode = owner.folder_mode

    def _attributes(self, inode: int, size_bytes: int | None) -> pyfuse3.EntryAttributes:
        """Those of a file or a folder, until this is called again."""
        if not self._tree.is_folder(Inode(inode)):
            return self._fill(self._file, inode, size_bytes)
        self._folder.st_nlink = 2 + (self._tree.folders if inode == ROOT else 0)
        return self._fill(self._folder, inode, size_bytes)

    def _fill(
        self, entry: pyfuse3.EntryAttributes, inode: int, size_bytes: int | None
    ) -> pyfuse3.EntryAttributes:
        """What one file has of its own; the kernel does not keep a size that is not known."""
        entry.st_ino = inode
        if size_bytes is None:
            entry.attr_timeout, entry.st_size, entry.st_blocks = 0, 0, 0
        else:
            entry.attr_timeout, entry.st_size = KEEP_S, size_bytes
            entry.st_blocks = count_blocks(size_bytes)
        if self._is_below_overlay:
            entry.entry_timeout = entry.attr_timeout
        return entry

    def _blank_file(self) -> pyfuse3.EntryAttributes:
        """What all files have in common."""
        entry = pyfuse3.EntryAttributes()
        entry.generation = 0
        entry.entry_timeout = KEEP_S
        entry.st_mode, entry.st_nlink = self._owner.file_mode, 1
        entry.st_uid, entry.st_gid = self._owner.uid, self._owner.gid
        entry.st_blksize = BLOCK_BYTES
        stamp = self._tree.mtime_ns
        entry.st_atime_ns = entry.st_mtime_ns = entry.st_ctime_ns = stamp
        return entry

    @guarded
    async def lookup(
        self, parent_inode: int, name: bytes, ctx: pyfuse3.RequestContext
    ) -> pyfuse3.EntryAttributes:
        """Attributes of a name; an absent one is answered so that the kernel remembers that."""
        if len(name) > NAME_BYTES:  # the kernel itself lets FUSE have 1024
            raise pyfuse3.FUSEError(errno.ENAMETOOLONG)
        inode = self._tree.lookup(Inode(parent_inode), name)
        if inode is None:
            absent = pyfuse3.EntryAttributes()
            absent.st_ino = 0
            absent.entry_timeout = KEEP_S
            return absent
        if self._is_below_overlay:
            return await self._exact_attributes(inode, ctx.pid)
        return self._attributes(inode, self._tree.size_bytes(inode))

    @guarded
    async def getattr(self, inode: int, ctx: pyfuse3.RequestContext) -> pyfuse3.EntryAttributes:
        """Exact attributes: a size that only rendering can tell is rendered for."""
        return await self._exact_attributes(Inode(inode), ctx.pid)

    async def _exact_attributes(self, inode: Inode, reader: int) -> pyfuse3.EntryAttributes:
        size = self._tree.size_bytes(inode)
        if size is None:
            size = await self._wait(self._tree.request_size(inode), inode, reader)
        return self._attributes(inode, size)

    @guarded
    async def opendir(self, inode: int, ctx: pyfuse3.RequestContext) -> int:
        """A flat view: the kernel opens the folder by itself and caches its listing."""
        if not self._tree.folders:
            raise pyfuse3.FUSEError(errno.ENOSYS)
        return inode

    async def releasedir(self, fh: int) -> None:
        """A handle is an inode: nothing to give back."""

    @guarded
    async def readdir(self, fh: int, start_id: int, token: pyfuse3.ReaddirToken) -> None:
        """As many entries from `start_id` on as the kernel's buffer takes."""
        folder = Inode(fh or ROOT)
        has_folders = self._tree.folders and folder == ROOT
        file = self._file
        for next_id, name, inode, size_bytes in self._tree.entries(folder, start_id):
            if has_folders:
                entry = self._attributes(inode, size_bytes)
            else:
                entry = self._fill(file, inode, size_bytes)
            if not pyfuse3.readdir_reply(token, name, entry, next_id):
                break

    @guarded
    async def open(self, inode: int, flags: int, ctx: pyfuse3.RequestContext) -> pyfuse3.FileInfo:
        """Make the bytes ready, so that a row that cannot be rendered fails here already; what was
        rendered before can be, and may be in the kernel's memory still.
        """
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise pyfuse3.FUSEError(errno.EROFS)
        self._tree.prepare(Inode(inode))
        if not self._tree.is_made(Inode(inode)) and self._tree.ready(Inode(inode)) is None:
            await self._wait(self._tree.request_part(Inode(inode), 0, 1), Inode(inode), ctx.pid)
        return pyfuse3.FileInfo(fh=inode, keep_cache=True)

    @guarded
    async def read(self, fh: int, off: int, size: int) -> memoryview:  # type: ignore[override] # pyfuse3 takes any contiguous buffer; its annotation says bytes
        """A part of the file's bytes, which are not copied but from a file of the source."""
        inode = Inode(fh)
        if self._tree.read_into(_NO_ROOM, inode, off) is not None:
            buffer = memoryview(bytearray(size))
            part = buffer[: self._tree.read_into(buffer, inode, off)]
        elif (data := self._tree.ready(inode)) is not None:
            part = data[off : off + size]
        else:
            part = await self._wait(self._tree.request_part(inode, off, off + size), inode)
        self.counters.add_read(len(part))
        return part

    async def _wait(self, work: Future[T], inode: Inode, reader: int = 0) -> T:
        self.counters.waiting += 1
        try:
            return await wait_for(work, self._tree.name(inode), reader)
        finally:
            self.counters.waiting -= 1

    @guarded
    async def flush(self, fh: int) -> None:
        """Nothing is ever written: the kernel need not ask again."""
        raise pyfuse3.FUSEError(errno.ENOSYS)

    async def release(self, fh: int) -> None:
        """A handle is an inode: nothing to give back."""

    def forget(self, inode_list: object) -> None:  # type: ignore[override] # synchronous in pyfuse3, which calls it without awaiting
        """Inodes are arithmetic: nothing to forget."""

    @guarded
    async def statfs(self, ctx: pyfuse3.RequestContext) -> pyfuse3.StatvfsData:
        """Size of the view as far as it is known, and no space left on it."""
        answer = pyfuse3.StatvfsData()
        answer.f_bsize = answer.f_frsize = BLOCK_BYTES
        answer.f_blocks = -(-self._tree.known_bytes() // BLOCK_BYTES)
        answer.f_bfree = answer.f_bavail = 0
        answer.f_files = self._tree.files + self._tree.folders + 1
        answer.f_ffree = answer.f_favail = 0
        answer.f_namemax = NAME_BYTES
        return answer

    @guarded
    async def getxattr(self, inode: int, name: bytes, ctx: pyfuse3.RequestContext) -> bytes:
        """One of the `user.hffs.*` attributes."""
        # `ls -l` asks for an ACL and a SELinux label of each file, until it is told that there are
        # none of that kind here at all
        if not name.startswith(_USER_PREFIX):
            raise pyfuse3.FUSEError(errno.EOPNOTSUPP)
        own = name.startswith(_XATTR_PREFIX)
        value = self._tree.xattrs(Inode(inode)).get(os.fsdecode(name)) if own else None
        if value is None:
            raise pyfuse3.FUSEError(errno.ENODATA)
        return value

    @guarded
    async def listxattr(self, inode: int, ctx: pyfuse3.RequestContext) -> list[bytes]:
        """Names of the attributes that `getxattr` answers."""
        return [os.fsencode(name) for name in self._tree.xattrs(Inode(inode))]

    @guarded
    async def readlink(self, inode: int, ctx: pyfuse3.RequestContext) -> bytes:
        """A view has no links."""
        raise MissingError("not a link", self._tree.name(Inode(inode)))
