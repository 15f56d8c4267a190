"""Every call that would change a file system, on targets of every kind: which errno it answers.

Calls go to the C library as they are, with pointers, so that what the kernel answers is seen and
not what Python makes of it.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD = -100
_NEW = b"/new"

Target = bytes | None

TARGETS: dict[str, Callable[[bytes], Target]] = {
    "a file": lambda folder: folder + b"/0.jpg",
    "the root": lambda folder: folder,
    "no such name": lambda folder: folder + b"/absent",
    "below a file": lambda folder: folder + b"/0.jpg/x",
    "name of 256": lambda folder: folder + b"/" + b"x" * 256,
    "path over 4096": lambda folder: folder + b"/." * 2100,
    "bad pointer": lambda _: None,
}
"""The columns of the table: each a path below the mount point."""


def _device(path: Target, folder: bytes, kind: int) -> int:
    return int(_libc.mknod(path, kind | 0o644, ctypes.c_ulong(0x103)))


CALLS: dict[str, Callable[[Target, bytes], int]] = {
    "access(W_OK)": lambda path, _: _libc.access(path, os.W_OK),
    "chmod": lambda path, _: _libc.chmod(path, 0o644),
    "chown": lambda path, _: _libc.chown(path, 65534, 65534),
    "lchown": lambda path, _: _libc.lchown(path, 65534, 65534),
    "link(file, ...)": lambda path, folder: _libc.link(folder + b"/0.jpg", path),
    "link(..., new)": lambda path, folder: _libc.link(path, folder + _NEW),
    "mkdir": lambda path, _: _libc.mkdir(path, 0o755),
    "mkfifo": lambda path, _: _libc.mkfifo(path, 0o644),
    "mknod, a file": lambda path, folder: _device(path, folder, 0o100000),
    "mknod, a socket": lambda path, folder: _device(path, folder, 0o140000),
    "mknod, a device": lambda path, folder: _device(path, folder, 0o020000),
    "open(O_WRONLY)": lambda path, _: _libc.open(path, os.O_WRONLY),
    "open(O_RDWR)": lambda path, _: _libc.open(path, os.O_RDWR),
    "open(O_TRUNC)": lambda path, _: _libc.open(path, os.O_TRUNC),
    "open(O_CREAT, O_WRONLY)": lambda path, _: _libc.open(path, os.O_CREAT | os.O_WRONLY, 0o644),
    "open(O_CREAT, O_EXCL)": lambda path, _: _libc.open(path, os.O_CREAT | os.O_EXCL, 0o644),
    "open(O_TMPFILE)": lambda path, _: _libc.open(path, os.O_TMPFILE | os.O_RDWR, 0o644),
    "rename(..., new)": lambda path, folder: _libc.rename(path, folder + _NEW),
    "rename(file, ...)": lambda path, folder: _libc.rename(folder + b"/1.jpg", path),
    "rmdir": lambda path, _: _libc.rmdir(path),
    "symlink": lambda path, _: _libc.symlink(b"0.jpg", path),
    "truncate": lambda path, _: _libc.truncate(path, ctypes.c_long(0)),
    "unlink": lambda path, _: _libc.unlink(path),
    "utimensat": lambda path, _: _libc.syscall(280, _AT_FDCWD, path, None, 0),
    "setxattr": lambda path, _: _libc.setxattr(path, b"user.x", b"y", ctypes.c_size_t(1), 0),
    "removexattr": lambda path, _: _libc.removexattr(path, b"user.hffs.row"),
}
"""The rows of the table; a call gets a target and the mount point."""


def answer(call: str, target: str, folder: Path) -> str:
    """The name of the errno that a call on a target fails with."""
    place = os.fsencode(folder)
    ctypes.set_errno(0)
    if CALLS[call](TARGETS[target](place), place) >= 0:
        return "succeeds"
    return errno.errorcode[ctypes.get_errno()]
