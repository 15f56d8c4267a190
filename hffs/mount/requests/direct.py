"""Requests that need no waiting, answered on the device itself: what an epoch consists of.

pyfuse3 takes some 25 us of a core for a request, of which hffs needs five. So the kernel's message
is read and answered here, where that can be done at once, and goes to pyfuse3 in every other case:
where something has to be waited for, where it is an error, and whatever is rare. `Operations`
answers everything; here is nothing that it would answer otherwise.

Where every file of a view can be read at once, OPEN is answered ENOSYS: the kernel then opens files
by itself, and reads by the inode. A file that it has in memory is read without a request.

Invariants: nothing here waits or raises; an answer holds no state, so any process that has the tree
may give it.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.mount.observing.counting import Counters
from hffs.mount.requests.answers import give_data, give_message, refuse
from hffs.mount.requests.files import NAME_BYTES, Entries, Owner
from hffs.mount.requests.guard import at_once, at_once_alone
from hffs.mount.requests.listings import Listings
from hffs.mount.requests.wire import (
    HEADER,
    HEADER_BYTES,
    KEEP_CACHE,
    OPEN_IN,
    OPENED,
    READ_BYTES,
    READ_IN,
    REPLY,
    Opcode,
)
from hffs.view.tree import Tree

_Handler: TypeAlias = Callable[[int, int, int, memoryview], bool]


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is answered: for a mount below an overlay, by a process that may wait for a disk."""

    is_below_overlay: bool = False
    may_wait: bool = False


class Direct:
    """Answers requests of one mount."""

    def __init__(self, tree: Tree, owner: Owner, counters: Counters, place: Place) -> None:
        self.counters = counters
        self._tree = tree
        self._is_below_overlay = place.is_below_overlay
        self._may_wait = place.may_wait
        self._entries = Entries(owner, tree.mtime_ns, is_below_overlay=place.is_below_overlay)
        self._listings = Listings(tree, self._entries)
        self._opens_itself = tree.is_at_hand
        self._message = memoryview(bytearray(REPLY.size + READ_BYTES))
        self._data = self._message[REPLY.size :]
        self._handlers: dict[int, _Handler] = {
            Opcode.LOOKUP: self.lookup,
            Opcode.GETATTR: self.getattr,
            Opcode.OPEN: self.open,
            Opcode.READ: self.read,
            Opcode.READDIR: self.readdir,
            Opcode.READDIRPLUS: self.readdirplus,
            Opcode.IOCTL: self.ioctl,
            Opcode.RELEASE: _agree,
            Opcode.RELEASEDIR: _agree,
            Opcode.FORGET: _ignore,
            Opcode.BATCH_FORGET: _ignore,
        }

    def answer(self, device: int, request: memoryview) -> bool:
        """Answer a request; False if that is not for here, and nothing was said."""
        _, opcode, unique, inode = HEADER.unpack_from(request)
        handler = self._handlers.get(opcode)
        return handler is not None and handler(device, unique, inode, request)

    @at_once
    def lookup(self, device: int, unique: int, folder: int, request: memoryview) -> bool:
        """Attributes of a file by its name, or that there is none."""
        size = HEADER.unpack_from(request)[0]
        name = bytes(request[HEADER_BYTES : size - 1])  # it ends with a zero
        if len(name) > NAME_BYTES:
            return False
        tree = self._tree
        inode = tree.lookup(Inode(folder), name)
        if inode is None:
            give_data(device, unique, self._entries.absent)
            return True
        if tree.is_folder(inode):
            return False
        known = tree.size_bytes(inode)
        if known is None and self._is_below_overlay:
            return False
        give_data(device, unique, self._entries.pack(inode, known))
        return True

    @at_once
    def getattr(self, device: int, unique: int, inode: int, request: memoryview) -> bool:
        """Attributes of a file whose size is known."""
        tree = self._tree
        if tree.is_folder(Inode(inode)):
            return False
        size = tree.size_bytes(Inode(inode))
        if size is None:
            return False
        give_data(device, unique, self._entries.pack_attributes(inode, size))
        return True

    @at_once
    def open(self, device: int, unique: int, inode: int, request: memoryview) -> bool:
        """A file whose bytes are there."""
        flags = OPEN_IN.unpack_from(request, HEADER_BYTES)[0]
        if flags & (os.O_WRONLY | os.O_RDWR):
            return False
        self._tree.prepare(Inode(inode))
        if self._opens_itself:
            refuse(device, unique, errno.ENOSYS)
            return True
        if not (self._tree.is_made(Inode(inode)) or self._tree.ready(Inode(inode)) is not None):
            return False
        give_data(device, unique, OPENED.pack(inode, KEEP_CACHE, 0))
        return True

    @at_once
    def read(self, device: int, unique: int, inode: int, request: memoryview) -> bool:
        """A part of a file that is there: read from the source into the one buffer of all answers,
        or given as a slice of a map; nothing is allocated for it.
        """
        _, start, size = READ_IN.unpack_from(request, HEADER_BYTES)
        tree = self._tree
        count = tree.read_into(self._data[:size], Inode(inode), start)
        if count is not None:
            self.counters.add_read(count)
            give_message(device, unique, self._message[: REPLY.size + count])
            return True
        data = tree.ready(Inode(inode))
        if data is None and self._may_wait:
            data = tree.find_made(Inode(inode))
        if data is None:
            return False
        part = data[start : start + size]
        self.counters.add_read(len(part))
        give_data(device, unique, part)
        return True

    @at_once_alone  # pyfuse3 always lists with attributes
    def readdir(self, device: int, unique: int, inode: int, request: memoryview) -> bool:
        """As many names as the answer takes."""
        _, start, size = READ_IN.unpack_from(request, HEADER_BYTES)
        give_data(device, unique, self._listings.pack(Inode(inode), start, size))
        return True

    @at_once
    def readdirplus(self, device: int, unique: int, inode: int, request: memoryview) -> bool:
        """As many files as the answer takes, with their attributes."""
        if self._tree.folders and inode == ROOT:
            return False
        _, start, size = READ_IN.unpack_from(request, HEADER_BYTES)
        give_data(device, unique, self._listings.pack_plus(Inode(inode), start, size))
        return True

    @at_once
    def ioctl(self, device: int, unique: int, inode: int, request: memoryview) -> bool:
        """No file is a terminal, which Python before 3.14 asks of each that it opens."""
        refuse(device, unique, errno.ENOTTY)
        return True


def _agree(device: int, unique: int, inode: int, request: memoryview) -> bool:
    """Nothing to do, which the kernel waits to be told."""
    give_data(device, unique)
    return True


def _ignore(device: int, unique: int, inode: int, request: memoryview) -> bool:
    """Nothing to do, nor to answer."""
    return True
