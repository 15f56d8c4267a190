"""Every call that reads, maps, copies, locks or watches a file, on files of every kind.

Those of a view are read-only and never change, so each call either gives the bytes that
`tests.mixed_photos` expects, or an errno that docs/semantics.md tells.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import select
import socket
import struct
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.mixed_photos import Mixed

pytestmark = pytest.mark.fuse

_libc = ctypes.CDLL(None, use_errno=True)
PAGE = mmap.PAGESIZE
BEYOND = 1 << 40
ADVICE = tuple(name for name in dir(mmap) if name.startswith("MADV_") and "HWPOISON" not in name)
MORE_ADVICE = {"MADV_COLD": 20, "MADV_PAGEOUT": 21, "MADV_POPULATE_READ": 22}
FADVICE = ("NORMAL", "SEQUENTIAL", "RANDOM", "WILLNEED", "DONTNEED", "NOREUSE")


def errno_of(call: Callable[[], object]) -> str:
    """Name of the errno that a call fails with."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is what is asked for
        call()
    return errno.errorcode[caught.value.errno or 0]


@contextmanager
def opened(path: Path | str, flags: int = os.O_RDONLY) -> Iterator[int]:
    file = os.open(path, flags)
    try:
        yield file
    finally:
        os.close(file)


def some_names(mixed: Mixed) -> list[str]:
    """A file of each kind: all that pass through, captions, a rendered one, an unread one."""
    unread = mixed.take_unread()
    return [unread, *mixed.passing, mixed.rendered[0], "0.txt", "30.txt"]


def places(size: int) -> list[tuple[int, int]]:
    """Offsets and lengths in and around a file: aligned and not, to its end, across it, behind."""
    return [
        (0, size), (0, PAGE), (0, size + PAGE), (1, 777), (PAGE, PAGE), (PAGE - 1, 2),
        (max(0, size - 5), 100), (max(0, size - size % PAGE), PAGE), (size // 2 + 1, size),
        (size, 1), (size + PAGE, PAGE), (BEYOND, 10),
    ]  # fmt: skip


@pytest.mark.parametrize("flags", [0, os.O_DIRECT], ids=["cached", "direct"])
def test_reads_at_any_place_into_any_buffers(mixed: Mixed, flags: int) -> None:
    for name in some_names(mixed):
        data = mixed.files[name]
        with opened(mixed.folder / name, flags) as file:
            if name not in mixed.passing:  # the first read reaches past a size that nobody knows
                assert os.preadv(file, [bytearray(1)], len(data)) == 0
            for offset, size in places(len(data)):
                expected = data[offset : offset + size]
                whole = mmap.mmap(-1, size + PAGE)  # a page to shift the buffer in: not aligned
                for shift in (0, 1):
                    assert os.preadv(file, [memoryview(whole)[shift:][:size]], offset) == len(
                        expected
                    )
                    assert whole[shift:][: len(expected)] == expected
                halves = [bytearray(size // 3), bytearray(size - size // 3)]
                count = os.preadv(file, halves, offset)
                assert b"".join(halves)[:count] == expected
            os.lseek(file, len(data) // 2, os.SEEK_SET)
            buffer = bytearray(len(data))
            assert os.readv(file, [buffer]) == len(data) - len(data) // 2
            assert os.read(file, 1) == b""


def test_reads_that_must_not_wait(mixed: Mixed) -> None:
    name = mixed.take_unread()
    data = mixed.files[name]
    with opened(mixed.folder / name) as file:
        for _ in range(2):  # cold, then from the page cache
            buffer = bytearray(len(data))
            try:
                count = os.preadv(file, [buffer], 0, os.RWF_NOWAIT)
            except OSError as error:
                assert error.errno in (errno.EAGAIN, errno.EOPNOTSUPP)  # noqa: PT017 - either
            else:
                assert buffer[:count] == data[:count]
            assert os.preadv(file, [buffer], 0, os.RWF_HIPRI) == len(data)
            assert buffer == data


def test_maps_of_any_part(mixed: Mixed) -> None:
    for name in some_names(mixed):
        data = mixed.files[name]
        with opened(mixed.folder / name) as file:
            for start in range(0, len(data), max(PAGE, len(data) // 3 // PAGE * PAGE)):
                for flags in (mmap.MAP_SHARED, mmap.MAP_PRIVATE):
                    length = min(len(data) - start, 3 * PAGE + 1)
                    with mmap.mmap(
                        file, length, flags=flags, prot=mmap.PROT_READ, offset=start
                    ) as part:
                        assert part[:] == data[start : start + length]


def test_an_unread_file_is_mapped_before_anybody_asks_for_its_size(mixed: Mixed) -> None:
    name = mixed.take_unread()
    os.listdir(mixed.folder)
    _libc.mmap.restype = ctypes.c_void_p
    _libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    size = len(mixed.files[name])
    with opened(mixed.folder / name) as file:
        address = _libc.mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    assert ctypes.string_at(address, size) == mixed.files[name]
    _libc.munmap(ctypes.c_void_p(address), ctypes.c_size_t(size))


def test_a_private_map_is_written_and_nobody_else_sees_it(mixed: Mixed) -> None:
    for name in (mixed.passing[-5], mixed.take_unread()):
        data = mixed.files[name]
        with opened(mixed.folder / name) as file:
            private = mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE)
            shared = mmap.mmap(file, 0, prot=mmap.PROT_READ)
            private[:] = bytes(len(data))
            private[0:3] = b"own"
            assert shared[:] == data
            assert os.pread(file, len(data), 0) == data
        assert private[:4] == b"own\0"


def test_a_map_outlives_what_happens_to_its_file(mixed: Mixed) -> None:
    names = [mixed.take_unread(), mixed.passing[-1], mixed.passing[-5]]
    maps = {}
    for name in names:
        with opened(mixed.folder / name) as file:
            maps[name] = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    for name, data in mixed.files.items():
        if name not in mixed.rendered:
            assert (mixed.folder / name).read_bytes() == data
    for _ in range(3):
        for name, mapped in maps.items():
            assert mapped[:] == mixed.files[name]
            with opened(mixed.folder / name) as file:  # the pages go, the map stays
                os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
            with opened(mixed.folder) as folder:
                os.posix_fadvise(folder, 0, 0, os.POSIX_FADV_DONTNEED)
            os.listdir(mixed.folder)


def test_no_advice_on_a_map_changes_it(mixed: Mixed) -> None:
    advice = {name: getattr(mmap, name) for name in ADVICE} | MORE_ADVICE
    assert len(advice) > 10
    for name in (mixed.passing[-5], mixed.take_unread(), "0.txt"):
        data = mixed.files[name]
        with opened(mixed.folder / name) as file:
            mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
        for kind in advice.values():
            try:
                mapped.madvise(kind)
            except OSError as error:  # not on a file, not in this kernel
                assert error.errno in (errno.EINVAL, errno.EACCES, errno.ENOSYS)  # noqa: PT017
            assert mapped[:] == data


def test_no_advice_on_a_file_changes_it(mixed: Mixed) -> None:
    for name in some_names(mixed):
        data = mixed.files[name]
        for kind in FADVICE:
            for offset, size in ((0, 0), (0, len(data)), (PAGE + 1, 100_000), (BEYOND, 10)):
                with opened(mixed.folder / name) as file:
                    os.posix_fadvise(file, offset, size, getattr(os, f"POSIX_FADV_{kind}"))
                    assert os.pread(file, len(data) + 1, 0) == data, kind
        with opened(mixed.folder / name) as file:
            ahead = _libc.readahead(file, ctypes.c_long(0), ctypes.c_size_t(len(data) + PAGE))
            assert ahead == 0
            assert os.read(file, len(data) + 1) == data


def test_files_are_sent_and_spliced(mixed: Mixed, tmp_path: Path) -> None:
    for name in some_names(mixed):
        data = mixed.files[name]
        with opened(mixed.folder / name) as file:
            assert _through_socket(file, len(data)) == data
            assert _through_pipe(file, len(data)) == data
            with opened(tmp_path / name, os.O_RDWR | os.O_CREAT) as copy:
                sent = 0
                while count := os.sendfile(copy, file, sent, len(data)):
                    sent += count
                assert os.pread(copy, len(data) + 1, 0) == data


def _through_socket(file: int, size: int) -> bytes:
    """What `sendfile` of two bytes more than there are sends, from an offset and to the end."""
    ours, theirs = socket.socketpair()

    def send() -> None:
        sent = 0
        while count := os.sendfile(ours.fileno(), file, sent, size + 2 - sent):
            sent += count
        ours.close()

    sender = threading.Thread(target=send)
    sender.start()
    with theirs.makefile("rb") as received:
        data = received.read()
    sender.join()
    theirs.close()
    return data


def _through_pipe(file: int, size: int) -> bytes:
    """What `splice` moves through a pipe."""
    reader, writer = os.pipe()
    data, offset = b"", ctypes.c_longlong(0)
    while True:
        count = _libc.splice(file, ctypes.byref(offset), writer, None, ctypes.c_size_t(size + 1), 0)
        assert count >= 0
        if not count:
            break
        data += os.read(reader, count)
    os.close(reader)
    os.close(writer)
    return data


def test_a_range_is_copied_out_or_refused_by_the_kernel(mixed: Mixed, tmp_path: Path) -> None:
    name = mixed.take_unread()
    data = mixed.files[name]
    with (
        opened(mixed.folder / name) as file,
        opened(tmp_path / name, os.O_RDWR | os.O_CREAT) as copy,
    ):
        try:
            count = os.copy_file_range(file, copy, len(data) + 1, 0, 0)
        except OSError as error:
            assert error.errno == errno.EXDEV  # noqa: PT017 - where it can, it has to be right
        else:
            assert os.pread(copy, len(data), 0) == data[:count]


def test_seeking_for_data_finds_one_piece(mixed: Mixed) -> None:
    for name in some_names(mixed):
        size = len(mixed.files[name])
        with opened(mixed.folder / name) as file:
            assert os.lseek(file, 0, os.SEEK_END) == size
            assert os.lseek(file, -1, os.SEEK_END) == size - 1
            assert os.lseek(file, 0, os.SEEK_DATA) == 0
            assert os.lseek(file, size // 2, os.SEEK_DATA) == size // 2
            assert os.lseek(file, 0, os.SEEK_HOLE) == size
            for whence in (os.SEEK_DATA, os.SEEK_HOLE):
                assert errno_of(lambda: os.lseek(file, size, whence)) == "ENXIO"  # noqa: B023
            assert errno_of(lambda: os.lseek(file, -1, os.SEEK_SET)) == "EINVAL"


class Statx(ctypes.Structure):
    """The beginning of the kernel's `struct statx`."""

    _fields_ = (
        ("start", ctypes.c_uint32 * 10),
        ("size", ctypes.c_uint64),
        ("rest", ctypes.c_uint8 * 208),
    )


def statx_size(path: Path, flags: int) -> int:
    """Size of a file as `statx` tells it."""
    at_fdcwd, stx_size = -100, 0x200
    told = Statx()
    failed = _libc.statx(at_fdcwd, os.fsencode(path), flags, stx_size, ctypes.byref(told))
    assert not failed
    return int(told.size)


def test_statx_tells_the_exact_size_unless_asked_not_to_ask(mixed: Mixed) -> None:
    force_sync, dont_sync = 0x2000, 0x4000
    name = mixed.take_unread()
    os.listdir(mixed.folder)
    size = len(mixed.files[name])
    assert statx_size(mixed.folder / name, dont_sync) in (0, size)
    assert statx_size(mixed.folder / name, 0) == size
    assert statx_size(mixed.folder / name, force_sync) == size
    assert statx_size(mixed.folder / name, dont_sync) == size


def test_controls_that_a_file_has_none_of(mixed: Mixed, tmp_path: Path) -> None:
    name = mixed.take_unread()
    size = len(mixed.files[name])
    get_flags, clone, fiemap = 0x80086601, 0x40049409, 0xC020660B
    with (
        opened(mixed.folder / name) as file,
        opened(tmp_path / "copy", os.O_RDWR | os.O_CREAT) as copy,
    ):
        left = fcntl.ioctl(file, termios.FIONREAD, bytes(4))
        assert struct.unpack("i", left) == (size,)
        for control in (termios.TCGETS, get_flags, 0x12345678):
            assert errno_of(lambda: fcntl.ioctl(file, control, bytes(64))) == "ENOTTY"  # noqa: B023
        assert errno_of(lambda: fcntl.ioctl(file, fiemap, bytes(64))) == "ENOTSUP"
        assert errno_of(lambda: fcntl.ioctl(copy, clone, file)) in ("EXDEV", "ENOTSUP")
        assert os.pread(file, size, 0) == mixed.files[name]


def test_locks_are_shared_or_alone_as_on_any_file(mixed: Mixed) -> None:
    path = mixed.folder / "0.jpg"
    alone, shared, now = fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_NB
    with opened(path) as file, opened(path) as other:
        fcntl.flock(file, shared | now)
        fcntl.flock(other, shared | now)
        assert errno_of(lambda: fcntl.flock(other, alone | now)) == "EAGAIN"
        fcntl.flock(file, fcntl.LOCK_UN)
        fcntl.flock(other, alone | now)
        assert errno_of(lambda: fcntl.flock(file, shared | now)) == "EAGAIN"
        fcntl.flock(other, fcntl.LOCK_UN)
        fcntl.lockf(file, shared | now)  # a POSIX lock to write needs a file opened to write
        assert errno_of(lambda: fcntl.lockf(file, alone | now)) == "EBADF"
        fcntl.lockf(file, fcntl.LOCK_UN)


def test_a_watch_sees_that_a_file_is_read(mixed: Mixed) -> None:
    in_access, in_open, in_close = 0x1, 0x20, 0x10
    watch = _libc.inotify_init1(os.O_NONBLOCK)
    assert _libc.inotify_add_watch(watch, os.fsencode(mixed.folder / "1.jpg"), 0xFFF) > 0
    assert _libc.inotify_add_watch(watch, os.fsencode(mixed.folder), 0xFFF) > 0
    (mixed.folder / "1.jpg").read_bytes()
    assert select.select([watch], [], [], 10)[0]
    seen = os.read(watch, 65536)
    kinds, at = 0, 0
    while at < len(seen):
        _, mask, _, length = struct.unpack_from("iIII", seen, at)
        kinds |= mask
        at += 16 + length
    assert kinds & (in_access | in_open | in_close) == in_access | in_open | in_close
    os.close(watch)


def test_files_are_reached_by_descriptors_of_folders_and_paths(
    mixed: Mixed, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = mixed.take_unread()
    data = mixed.files[name]
    with opened(mixed.folder, os.O_RDONLY | os.O_DIRECTORY) as folder:
        with opened(mixed.folder / name, os.O_PATH) as path:
            assert os.fstat(path).st_size == len(data)
            assert errno_of(lambda: os.read(path, 1)) == "EBADF"
            assert Path(f"/proc/self/fd/{path}").read_bytes() == data
        relative = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        assert os.read(relative, len(data)) == data
        os.close(relative)
        assert errno_of(lambda: os.read(folder, 1)) == "EISDIR"
        assert os.listdir(folder) == list(mixed.files)
    monkeypatch.chdir(mixed.folder)
    assert Path(name).read_bytes() == data
    assert Path(f"../{mixed.folder.name}/./{name}").read_bytes() == data
    assert errno_of(lambda: os.open(name, os.O_RDONLY | os.O_DIRECTORY)) == "ENOTDIR"
    assert errno_of(lambda: os.readlink(name)) == "EINVAL"


READING = ("O_NOATIME", "O_SYNC", "O_NONBLOCK", "O_APPEND", "O_CREAT", "O_NOCTTY")


def test_flags_that_change_nothing_open_a_file(mixed: Mixed) -> None:
    name = mixed.take_unread()
    for flag in READING:
        if flag == "O_NOATIME" and os.geteuid():  # its owner's, who may be another
            continue
        with opened(mixed.folder / name, os.O_RDONLY | getattr(os, flag)) as file:
            assert os.read(file, 10**6) == mixed.files[name], flag


def test_opening_to_change_something_is_refused(mixed: Mixed) -> None:
    refused = [
        os.O_WRONLY, os.O_RDWR, os.O_RDONLY | os.O_TRUNC, os.O_WRONLY | os.O_CREAT,
        os.O_WRONLY | os.O_APPEND, os.O_RDWR | os.O_CREAT | os.O_TRUNC,
    ]  # fmt: skip
    for name in ("0.jpg", "0.txt", mixed.take_unread()):
        for flags in refused:
            assert errno_of(lambda: os.open(mixed.folder / name, flags)) == "EROFS"  # noqa: B023
    create = os.O_CREAT | os.O_EXCL
    for flags in (os.O_RDONLY | os.O_CREAT, os.O_WRONLY | os.O_CREAT, os.O_RDWR | create):
        for name in ("new", "0.npz", "99999.jpg"):
            assert errno_of(lambda: os.open(mixed.folder / name, flags)) == "EROFS"  # noqa: B023
    assert errno_of(lambda: os.open(mixed.folder / "0.jpg", os.O_RDWR | create)) == "EEXIST"
    assert errno_of(lambda: os.open(mixed.folder / "new", os.O_WRONLY)) == "ENOENT"
    assert errno_of(lambda: os.open(mixed.folder, os.O_TMPFILE | os.O_RDWR)) == "EROFS"
    assert errno_of(lambda: os.open(mixed.folder, os.O_RDONLY | os.O_CREAT)) == "EISDIR"


def test_an_open_file_is_not_changed_either(mixed: Mixed) -> None:
    name = mixed.take_unread()
    with opened(mixed.folder / name) as file:
        assert errno_of(lambda: os.write(file, b"x")) == "EBADF"
        assert errno_of(lambda: os.posix_fallocate(file, 0, 1)) == "EBADF"
        assert errno_of(lambda: os.ftruncate(file, 0)) == "EINVAL"
        assert errno_of(lambda: os.fchmod(file, 0o777)) == "EROFS"
        assert errno_of(lambda: os.utime(file)) == "EROFS"
        assert errno_of(lambda: os.setxattr(file, "user.x", b"y")) == "EROFS"
        with pytest.raises(PermissionError):
            mmap.mmap(file, 0)  # shared, to write
        with pytest.raises(PermissionError):
            mmap.mmap(file, 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)
        os.fsync(file)
        os.fdatasync(file)
        assert _libc.syncfs(file) == 0
        assert os.read(file, 10**6) == mixed.files[name]


def test_attributes_of_open_files_and_of_the_file_system(mixed: Mixed) -> None:
    name = mixed.take_unread()
    with opened(mixed.folder / name) as file, opened(mixed.folder) as folder:
        assert os.getxattr(file, "user.hffs.row") == name.removesuffix(".jpg").encode()
        assert "user.hffs.row" in os.listxattr(file)
        assert os.listxattr(folder) == ["user.hffs.view"]
        for other in ("user.hffs.other", "user.x"):
            assert errno_of(lambda: os.getxattr(file, other)) == "ENODATA"  # noqa: B023
        assert errno_of(lambda: os.getxattr(file, "user.hffs.row" + "x" * 300)) == "ERANGE"
        told = os.fstatvfs(file)
        assert told == os.statvfs(mixed.folder)
        assert told.f_flag & os.ST_RDONLY
        assert (told.f_bavail, told.f_ffree, told.f_namemax) == (0, 0, 255)
        assert told.f_files == len(mixed.files) + 1


def test_regression_attributes_of_other_kinds_are_not_asked_for_file_by_file(mixed: Mixed) -> None:
    others = ("security.selinux", "security.capability", "system.posix_acl_access", "trusted.x")
    for name in others:  # what makes `ls -l` ask once, and not twice a file
        assert errno_of(lambda: os.getxattr(mixed.folder / "0.jpg", name)) == "ENOTSUP"  # noqa: B023
