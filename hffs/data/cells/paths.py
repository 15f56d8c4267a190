"""Image cells that name a file: which file that is, and whether it may be served.

Owns resolving cell paths below the source's root, and reading those files. What a data set says
is not trusted: a path that leads out of the root, by `..` or by a link, is never opened.
Invariant: a file is served only as it was when it was found (size and mtime).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hffs.core.formats import Media, MediaFormat, count_sniffed, sniff
from hffs.errors import AccessError, DataError, HffsError, SourceError, StaleError

OUTSIDE = "path outside the data set"
MISSING = "file missing"
DENIED = "file that may not be read"
OTHER_SCHEME = "URL that is neither http nor https"
EMPTY_FILE = "empty file"

_URL = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://")
# O_NONBLOCK: opening a pipe must not wait for its writer; files ignore it
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that a cell names: its real path below the root, and what pins it."""

    name: bytes
    size_bytes: int
    mtime_ns: int
    kind: MediaFormat


@dataclass(frozen=True, slots=True)
class FilePin:
    """Where a file is, by its real path below the root, and what pins it."""

    name: bytes
    size_bytes: int
    mtime_ns: int


_Found = TypeVar("_Found", FoundFile, FilePin)


class PathResolver:
    """Finds the files that cells name below one root; folders are resolved once each.

    Relative paths begin at `base`, which is the root where nothing else is said.
    """

    def __init__(self, root: Path, base: Path | None = None, media: Media = "image") -> None:
        self.root = os.path.realpath(os.fsencode(root))
        """Its real path."""
        self._media: Media = media
        self._base = os.path.realpath(os.fsencode(base or root))
        self._folders: dict[bytes, bytes] = {}

    def find(self, path: bytes) -> FoundFile | str:
        """The file a cell's path names, or the reason why the cell is dropped."""
        if _URL.match(path):
            return OTHER_SCHEME
        if b"\0" in path:
            return MISSING
        return self._inside(path, self._look)

    def pin(self, path: bytes) -> FilePin | str:
        """As `find`, of a file that need not be opened: what it is was seen before."""
        return self._inside(path, self._pin)

    def _inside(self, path: bytes, look: Callable[[bytes], _Found | str]) -> _Found | str:
        """What is seen at the real path of a file below the root."""
        try:
            real = self._resolve(path)
            if not real.startswith(os.path.join(self.root, b"")):
                return OUTSIDE
            return look(real)
        except PermissionError:
            return DENIED
        except OSError:
            return MISSING

    def _resolve(self, path: bytes) -> bytes:
        """Real path; a link is followed only where there is one, which most files are not."""
        parent, name = os.path.split(os.path.join(self._base, path))
        if parent not in self._folders:
            self._folders[parent] = os.path.realpath(parent, strict=True)
        real = os.path.join(self._folders[parent], name)
        if name in (b"", b".", b"..") or stat.S_ISLNK(os.lstat(real).st_mode):
            return os.path.realpath(real, strict=True)
        return real

    def _pin(self, real: bytes) -> FilePin | str:
        status = os.stat(real)
        if not stat.S_ISREG(status.st_mode):
            return MISSING
        return FilePin(os.path.relpath(real, self.root), status.st_size, status.st_mtime_ns)

    def _look(self, real: bytes) -> FoundFile | str:
        descriptor = os.open(real, _FLAGS)
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return MISSING
            head = os.read(descriptor, count_sniffed(self._media))
        finally:
            os.close(descriptor)
        if not status.st_size:
            return EMPTY_FILE
        name = os.path.relpath(real, self.root)
        return FoundFile(name, status.st_size, status.st_mtime_ns, sniff(head, self._media))


def read_file(path: bytes, size_bytes: int, mtime_ns: int) -> memoryview:
    """Bytes of a found file; StaleError if it is not what was found.

    Copied rather than mapped: these files are small, and one that is cut short while it is mapped
    would end the process.
    """
    try:
        with open(os.open(path, _FLAGS), "rb", buffering=0) as file:
            _require_same(path, os.fstat(file.fileno()), size_bytes, mtime_ns)
            data = file.read(size_bytes)
            _require_same(path, os.fstat(file.fileno()), len(data), mtime_ns)
    except OSError as error:
        raise _unreadable(path, error) from error
    return memoryview(data)


def read_file_part(
    path: bytes, size_bytes: int, mtime_ns: int, start: int, stop: int
) -> memoryview:
    """The bytes of a found file from `start` up to `stop`, as far as it has them; raises as
    `read_file` does.
    """
    try:
        descriptor = os.open(path, _FLAGS)
        try:
            data = os.pread(descriptor, max(min(stop, size_bytes) - start, 0), start)
            _require_same(path, os.fstat(descriptor), size_bytes, mtime_ns)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _unreadable(path, error) from error
    return memoryview(data)


def check_file(path: bytes, size_bytes: int, mtime_ns: int) -> None:
    """Raise as `read_file` would, without reading."""
    try:
        _require_same(path, os.stat(path), size_bytes, mtime_ns)
    except OSError as error:
        raise _unreadable(path, error) from error


def _require_same(path: bytes, now: os.stat_result, size_bytes: int, mtime_ns: int) -> None:
    if not stat.S_ISREG(now.st_mode) or (now.st_size, now.st_mtime_ns) != (size_bytes, mtime_ns):
        raise stale(path, "it was changed while mounted")


def _unreadable(path: bytes, error: OSError) -> HffsError:
    if isinstance(error, FileNotFoundError):
        return stale(path, "it was removed while mounted")
    kind: type[HffsError] = AccessError if isinstance(error, PermissionError) else SourceError
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO):
        kind = DataError  # the file is there
    return kind("cannot read", os.fsdecode(path), why=str(error.strerror).lower())


def stale(path: bytes, why: str) -> StaleError:
    """What to say of a file that is not what was found."""
    return StaleError("cannot read", os.fsdecode(path), why=why, fix="mount again")
