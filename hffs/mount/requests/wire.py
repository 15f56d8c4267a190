"""The kernel's messages, as far as hffs reads and writes them by itself (linux/fuse.h).

Owns their layouts, and what is agreed on with the kernel beyond what pyfuse3 asks for. Must not
know what is answered. Messages are in the byte order of the machine.
"""

from __future__ import annotations

import os
import stat
from enum import IntEnum
from struct import Struct

DEVICE = "/dev/fuse"
CLONE = 0x8004E500
"""FUSE_DEV_IOC_CLONE: have a descriptor of the device be another one of a mount."""

_LONGEST_WRITE = 1 << 16
REQUEST_BYTES = _LONGEST_WRITE + 8192
"""What the buffer for a request has to have: the kernel asks for room for the longest write, which
is never made.
"""

READ_BYTES = 1 << 20
"""What a READ asks for at most."""

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


class Opcode(IntEnum):
    """The kinds of requests that are told apart."""

    LOOKUP = 1
    FORGET = 2
    GETATTR = 3
    OPEN = 14
    READ = 15
    STATFS = 17
    RELEASE = 18
    INIT = 26
    READDIR = 28
    RELEASEDIR = 29
    INTERRUPT = 36
    IOCTL = 39
    BATCH_FORGET = 42
    READDIRPLUS = 44


HEADER = Struct("=IIQQ")
"""How a request begins: its length, opcode, unique number, and inode."""

HEADER_BYTES = 40
PID = Struct("=I")
CALLER_AT = 32
"""Where in a request the thread is that made it."""

OPEN_IN = Struct("=I")
HANDLE = Struct("=Q")
READ_IN = Struct("=QQI")
"""Of READ, READDIR and READDIRPLUS: handle, offset and size."""

REPLY = Struct("=IiQ")
"""How an answer begins: its length, 0 or an errno below 0, and the number of the request."""

ENTRY_HEAD = Struct("=QQQQIIQQQ")
"""An entry up to what all files have in common: inode, generation, seconds that the name and the
attributes may be kept, their nanoseconds, inode, size and blocks; then `ATTR_TAIL`.
"""

ATTR_HEAD = Struct("=QIIQQQ")
"""As `ENTRY_HEAD`, for attributes alone: seconds, nanoseconds, nothing, inode, size and blocks."""

ATTR_TAIL = Struct("=QQQIIIIIIIIII")
"""Seconds of atime, mtime, ctime, then their nanoseconds, mode, links, uid, gid, device, block size
and flags.
"""

OPENED = Struct("=QII")
"""A file that was opened: handle, flags and padding."""

KEEP_CACHE = 1 << 1  # FOPEN_KEEP_CACHE

DIRENT = Struct("=QQII")
"""A name in a listing, after its entry if it has one: inode, where it goes on, length of the name,
and type; then the name, filled up to a multiple of eight bytes.
"""

REGULAR, DIRECTORY = stat.S_IFREG >> 12, stat.S_IFDIR >> 12
_INIT_FLAGS = Struct("=I")
_INIT_FLAGS_AT = HEADER_BYTES + 12  # major, minor and readahead come before
_AGREED_FLAGS_AT = REPLY.size + 12
_BACKGROUND = Struct("=HH")
_BACKGROUND_AT = REPLY.size + 16
_MAX_WRITE = Struct("=I")
_MAX_WRITE_AT = REPLY.size + 20
_MAX_PAGES = Struct("=H")
_MAX_PAGES_AT = REPLY.size + 28
_PARALLEL_DIROPS = 1 << 18
_READDIRPLUS_AUTO = 1 << 14

_ALSO = _PARALLEL_DIROPS | _READDIRPLUS_AUTO

BACKGROUND = 64
"""Reads ahead that the kernel has under way at a time, of all readers; by itself it has 12."""


def find_offered(request: memoryview) -> int:
    """What the kernel offers in INIT, as flags."""
    return int(_INIT_FLAGS.unpack_from(request, _INIT_FLAGS_AT)[0])


def agree(answer: bytearray, offered: int, most_pages: int) -> None:
    """Change an answer to INIT before the kernel has it.

    Names in one folder are then looked up at the same time: else one that waits (below a layer, for
    a size) holds up all others, and those cannot even be killed. Listings have attributes only
    where those are asked for: to keep a file in mind takes the kernel a kilobyte, and more time
    than all else. Reads and listings have `most_pages` pages at most.
    """
    error = REPLY.unpack_from(answer)[1]
    if error or len(answer) < _MAX_PAGES_AT + _MAX_PAGES.size:
        return
    flags = _INIT_FLAGS.unpack_from(answer, _AGREED_FLAGS_AT)[0]
    _INIT_FLAGS.pack_into(answer, _AGREED_FLAGS_AT, flags | offered & _ALSO)
    _BACKGROUND.pack_into(answer, _BACKGROUND_AT, BACKGROUND, BACKGROUND * 3 // 4)
    write = _MAX_WRITE.unpack_from(answer, _MAX_WRITE_AT)[0]
    _MAX_WRITE.pack_into(answer, _MAX_WRITE_AT, min(write, _LONGEST_WRITE))
    pages = _MAX_PAGES.unpack_from(answer, _MAX_PAGES_AT)[0]
    pages = min(pages, most_pages, READ_BYTES // PAGE_BYTES)
    _MAX_PAGES.pack_into(answer, _MAX_PAGES_AT, pages)
