"""Folders that are this user's alone, and folders and files that are complete or absent.

The latter are made under another name and renamed: of two processes that make the same folder one
wins and both use the winner's; what a killed maker left behind goes when anything is
made beside it. Mode 0700. Must not know what is in them.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import math
import os
import re
import shutil
import stat
import tempfile
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from hffs.errors import ConfigError, MountError

_ABANDONED_S = 24 * 3600  # a folder under a temporary name for this long has lost its maker
_UNLOCKED_S = 60  # so has one that nobody has locked by now, where the file system has locks
_CHECKSUM = "checksum"
_SMALL_BYTES = 1 << 24
_UNNAMED = ".hffs-"  # begins the names of files that are being written
_TEMPORARY = re.compile(r"\..+\.[a-z0-9_]{8}")  # `_prefix`, then what tempfile adds


@contextmanager
def open_own(path: str | Path, flags: int, folder: int | None = None) -> Iterator[int]:
    """Descriptor of a file or folder of this user; OSError for a symbolic link or another's."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600, dir_fd=folder)
    try:
        if os.fstat(descriptor).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
        yield descriptor
    finally:
        os.close(descriptor)


def read_own(path: Path, *owners: int) -> bytes:
    """Content of a small regular file of this user, or of one of those that are named instead.

    OSError for anything else: a symbolic link, another's file, a pipe, which would never end.
    """
    opened = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with open(opened, "rb") as file:
        status = os.fstat(opened)
        if status.st_uid not in (owners or (os.geteuid(),)):
            raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
        if not stat.S_ISREG(status.st_mode) or status.st_size > _SMALL_BYTES:
            raise OSError(errno.EINVAL, "it is no small file", str(path))
        return file.read(_SMALL_BYTES)


def make_private_folder(folder: Path) -> None:
    """Make a folder that is this user's alone; OSError for a symbolic link or another's."""
    if folder.is_symlink():
        raise OSError(errno.ELOOP, "it is a symbolic link", str(folder))
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open_own(folder, os.O_DIRECTORY) as opened:
        if stat.S_IMODE(os.fstat(opened).st_mode) != 0o700:
            os.fchmod(opened, 0o700)


def prepare_private_folder(root: Path) -> None:
    """`make_private_folder` for a cache; ConfigError for a symbolic link or another's."""
    try:
        if root.is_symlink():
            raise ConfigError(
                "cannot use the cache folder",
                str(root),
                why="it is a symbolic link",
                fix=f"set cache_dir to {root.resolve()} itself",
            )
        make_private_folder(root)
    except OSError as error:
        why = error.strerror or str(error)
        fix = "set cache_dir to a folder of your own"
        raise ConfigError("cannot use the cache folder", str(root), why=why, fix=fix) from error


@contextmanager
def make_whole(folder: Path) -> Iterator[Path]:
    """A new empty folder that becomes `folder` at the end, unless another process was first.

    Raises MountError where it cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(folder.parent)
        making = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        try:
            with open_own(making, os.O_DIRECTORY) as opened:
                _lock(opened)
                yield making
                with contextlib.suppress(FileExistsError):
                    _rename_once(making, folder)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        fix = "free or choose another cache_dir"
        why = error.strerror or str(error)
        raise MountError("cannot write", str(folder), why=why, fix=fix) from error


def seal(fields: Mapping[str, object]) -> dict[str, Any]:
    """Fields as JSON has them, with a checksum, by which a damaged disk is told from what was kept.

    >>> is_sealed(seal({"rows": 17})), is_sealed(seal({"rows": 17}) | {"rows": 19})
    (True, False)
    """
    told = json.loads(json.dumps(fields, default=str))
    return {**told, _CHECKSUM: _sum_json(told)}


def is_sealed(fields: Mapping[str, object]) -> bool:
    """Whether fields, read again, are what was sealed."""
    told = {name: value for name, value in fields.items() if name != _CHECKSUM}
    return fields.get(_CHECKSUM) == _sum_json(told)


def _sum_json(told: Mapping[str, object]) -> int:
    return zlib.crc32(json.dumps(told).encode())


def write_json(path: Path, fields: Mapping[str, object], indent: int | None = None) -> None:
    """Write a file in the place of the one before, which stays until then; its folder is made.

    What JSON does not have is written as its text. Raises OSError.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with replace_file(path) as file:
        file.write(json.dumps(fields, indent=indent, default=str).encode())


@contextmanager
def replace_file(path: Path) -> Iterator[BinaryIO]:
    """A file that takes the place of another at the end, for this user alone. Raises OSError."""
    handle, name = tempfile.mkstemp(prefix=_UNNAMED, dir=path.parent)
    try:
        with open(handle, "wb") as file:
            yield file
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


@contextmanager
def replace_whole(path: Path) -> Iterator[BinaryIO]:
    """As `replace_file`, where a user said: with the mode of the other, and on the disk at the end.

    Where none was there, it has the mode of a new file. Raises OSError.
    """
    with replace_lasting(path) as file:
        yield file
        os.fchmod(file.fileno(), _find_mode(path))


@contextmanager
def replace_lasting(path: Path) -> Iterator[BinaryIO]:
    """As `replace_file`, and on the disk at the end; any thread may ask. Raises OSError."""
    _sweep_files(path.parent)
    with replace_file(path) as file:
        _lock(file.fileno())
        yield file
        file.flush()
        os.fsync(file.fileno())
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # after a power cut the new name must not be without its file
    finally:
        os.close(folder)


def remove_whole(folder: Path) -> None:
    """Remove a folder at once; what is mapped of it by anyone stays valid."""
    try:
        grave = Path(tempfile.mkdtemp(prefix=_prefix(folder), dir=folder.parent))
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, grave / "removed")
        shutil.rmtree(grave, ignore_errors=True)
    except OSError as error:
        raise MountError("cannot remove", str(folder), why=str(error.strerror)) from error


def _rename_once(source: Path, target: Path) -> None:
    """Rename a folder; FileExistsError if the target is there (rename(2) may say ENOTEMPTY)."""
    try:
        os.rename(source, target)
    except OSError as error:
        if target.is_dir():
            raise FileExistsError(str(target)) from error
        raise


def _find_mode(path: Path) -> int:
    try:
        return stat.S_IMODE(path.stat().st_mode)
    except FileNotFoundError:
        mask = os.umask(0o077)
        os.umask(mask)
        return 0o666 & ~mask


def _prefix(folder: Path) -> str:
    return f".{folder.name}."


def _lock(opened: int) -> float:
    """Lock an open folder until its holder ends, however that ends.

    Seconds after which it is abandoned if nobody was writing into it until now.
    """
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return math.inf
    except OSError:  # NFS locks no folders
        return _ABANDONED_S
    return _UNLOCKED_S


def _sweep(parent: Path) -> None:
    """Remove what killed makers left behind.

    Also of folders that are not made again: those of a data set that has changed since.
    """
    now = time.time()
    for path in parent.iterdir():
        if not _TEMPORARY.fullmatch(path.name):
            continue
        with contextlib.suppress(OSError), open_own(path, os.O_DIRECTORY) as opened:
            if now - os.fstat(opened).st_mtime > _lock(opened):
                shutil.rmtree(path, ignore_errors=True)


def _sweep_files(folder: Path) -> None:
    """Remove what killed writers of files left behind."""
    now = time.time()
    for path in folder.glob(f"{_UNNAMED}????????"):
        with contextlib.suppress(OSError), open_own(path, os.O_RDWR | os.O_NONBLOCK) as opened:
            if now - os.fstat(opened).st_mtime > _lock(opened):
                path.unlink()
