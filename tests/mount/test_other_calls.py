"""Calls that are rare on a data set: what docs/semantics.md says of them, on a real mount."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import platform
import select
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mixed_photos import Mixed

pytestmark = pytest.mark.fuse

_libc = ctypes.CDLL(None, use_errno=True)
_AT_FDCWD, _OPENAT2, _BENEATH = -100, 437, 0x08
_NAME = "0.jpg"


def _call(function: Callable[..., int], *arguments: object) -> int | str:
    """What a function of the C library returns, or its errno."""
    ctypes.set_errno(0)
    returned = function(*arguments)
    return returned if returned >= 0 else errno.errorcode[ctypes.get_errno()]


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def test_access_is_what_permissions_say(mixed: Mixed) -> None:
    path = os.fsencode(mixed.folder / _NAME)
    asked = [os.R_OK, os.F_OK, os.W_OK, os.X_OK]
    answers = [_call(_libc.access, path, mode) for mode in asked]
    assert answers == [0, 0, "EROFS", "EACCES"]
    assert _call(_libc.access, os.fsencode(mixed.folder), os.X_OK) == 0


def test_files_are_always_ready(mixed: Mixed) -> None:
    with _opened(mixed.folder / _NAME) as file:
        poll = select.poll()
        poll.register(file)
        assert poll.poll(0) == [(file, select.POLLIN | select.POLLOUT)]
        assert select.select([file], [], [], 0)[0] == [file]
        with select.epoll() as queue:
            queue.register(file, select.EPOLLIN)
            assert queue.poll(0) == [(file, select.EPOLLIN)]


def test_files_have_no_blocks(mixed: Mixed) -> None:
    with _opened(mixed.folder / _NAME) as file:
        fibmap, block_size = 1, 2
        assert fcntl.ioctl(file, block_size, bytes(4)) == struct.pack("i", 4096)
        if not os.geteuid():
            assert fcntl.ioctl(file, fibmap, bytes(4)) == bytes(4)


def test_nothing_is_run_or_swapped_to(mixed: Mixed) -> None:
    with pytest.raises(PermissionError):
        os.posix_spawn(mixed.folder / _NAME, ["x"], {})
    if not os.geteuid():
        assert _call(_libc.swapon, os.fsencode(mixed.folder / _NAME), 0) == "EROFS"


def test_openat2_keeps_below_a_folder(mixed: Mixed) -> None:
    how = struct.pack("QQQ", os.O_RDONLY, 0, _BENEATH)
    with _opened(mixed.folder) as folder:
        opened = _call(_libc.syscall, _OPENAT2, folder, _NAME.encode(), how, len(how))
        assert isinstance(opened, int)
        assert os.read(opened, 10**6) == mixed.files[_NAME]
        os.close(opened)
        outside = b"../" + mixed.folder.name.encode()
        assert _call(_libc.syscall, _OPENAT2, folder, outside, how, len(how)) == "EXDEV"


class _Handle(ctypes.Structure):
    """The kernel's `struct file_handle`."""

    _fields_ = (
        ("size_bytes", ctypes.c_uint),
        ("kind", ctypes.c_int),
        ("handle", ctypes.c_ubyte * 128),
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root opens by handles")
def test_a_handle_opens_the_file_while_the_kernel_keeps_it(mixed: Mixed) -> None:
    handle, mount_id = _Handle(128, 0), ctypes.c_int()
    path = os.fsencode(mixed.folder / _NAME)
    pointers = ctypes.byref(handle), ctypes.byref(mount_id)
    with _opened(mixed.folder) as folder, _opened(mixed.folder / _NAME):
        assert _call(_libc.name_to_handle_at, _AT_FDCWD, path, *pointers, 0) == 0
        opened = _call(_libc.open_by_handle_at, folder, pointers[0], os.O_RDONLY)
        assert isinstance(opened, int)
        assert os.read(opened, 10**6) == mixed.files[_NAME]
        os.close(opened)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root watches by fanotify")
def test_fanotify_sees_that_files_are_read(mixed: Mixed) -> None:
    add, on_mount, access = 1, 0x10, ctypes.c_ulonglong(0x1)
    watch = _call(_libc.fanotify_init, 0, os.O_RDONLY)
    assert isinstance(watch, int)
    path = os.fsencode(mixed.folder)
    assert _call(_libc.fanotify_mark, watch, add | on_mount, access, _AT_FDCWD, path) == 0
    (mixed.folder / _NAME).read_bytes()
    assert select.select([watch], [], [], 60)[0] == [watch]
    seen = os.read(watch, 24)
    (_, _, _, _, mask, file, _) = struct.unpack("=IBBHQii", seen)
    assert mask & access.value
    os.close(file)
    os.close(watch)


def test_leases_and_notices_are_taken(mixed: Mixed) -> None:
    with _opened(mixed.folder / _NAME) as file, _opened(mixed.folder) as folder:
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        fcntl.fcntl(folder, fcntl.F_NOTIFY, fcntl.DN_ACCESS)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_something_is_mounted_over_it_and_taken_away(mixed: Mixed, tmp_path: Path) -> None:
    (tmp_path / "over").mkdir()
    (tmp_path / "copy").touch()
    steps = (
        'mount --bind "$1/over" "$2" && ls "$2" && umount "$2" &&'
        ' mount --bind "$2/0.jpg" "$1/copy" && cat "$1/copy"'
    )
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", steps, "sh", tmp_path, mixed.folder],
        stdout=subprocess.PIPE,
        check=True,
    )
    assert done.stdout == mixed.files[_NAME]


@pytest.mark.skipif(platform.machine() != "x86_64", reason="numbers of calls are a machine's own")
def test_an_open_file_takes_no_change_by_any_call(mixed: Mixed) -> None:
    with _opened(mixed.folder / _NAME) as file:
        size = ctypes.c_long(10)
        assert _call(_libc.fallocate, file, 0, ctypes.c_long(0), size) == "EBADF"
        assert _call(_libc.fchown, file, 0, 0) == "EROFS"
        assert _call(_libc.futimens, file, None) == "EROFS"
        assert _call(_libc.fremovexattr, file, b"user.hffs.row") == "EROFS"
        with pytest.raises(OSError, match="Read-only"):
            fcntl.ioctl(file, 0x40086602, bytes(8))
