"""The disk cache: immutable blobs by key, shared by every process of one user.

Owns the folder, the format of its entries, their checksums and their eviction. Knows nothing of
what a blob means; nothing is unpickled or interpreted.

    root/.lock          held (flock) by the one process that evicts; how many bytes the last scan
                        left, and how long `.put` was before it
    root/.put           a byte for each block that any process has put
    root/ab/cdef...     an entry: header, key, padding, payload; named by the key's hash
    root/ab/.tmp-...    an entry being written; swept when it is an hour old

Invariants: an entry appears by rename, whole or not at all, and is never written again; what
`get` returns has the asked key and passed its checksum; an open blob outlives its eviction;
nothing is followed through a symbolic link or taken from another user; a cache that cannot
write costs time, never a read; no put takes the file system below its floor of free space, nor the
cache of all processes above its cap, but for what others write at the same moment.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import logging
import mmap
import os
import secrets
import stat
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hffs.data.folders import open_own, prepare_private_folder
from hffs.data.lookups import Lookups
from hffs.data.space import Space, find_floor, read_space
from hffs.errors import FormatError

log = logging.getLogger(__name__)

_HEADER = struct.Struct("<8sIIQ")  # magic, CRC-32 of key and payload, length of each
_MAGIC = b"hffsblob"
_ALIGN_BYTES = 64  # what Arrow wants of a buffer
_BLOCK_BYTES = 4096  # what a file takes of the disk is counted in these
_LOCK, _TALLY = ".lock", ".put"
_SCANNED = struct.Struct("<QQ")
_LONGEST_TALLY = 1 << 20
"""Bytes of `.put`: a scan that finds more begins it anew."""

_TEMPORARY = ".tmp-"
_TOUCH_S = 60
_STRAY_S = 3600
_KEPT_FRACTION = 0.9

_RESCAN_FRACTION = 0.1
"""Of the cap, put since the last scan: then the count is made right, if it was not. An entry that
is put again, or while another scans, may be counted twice.
"""

_MOST_SCANS = 3
"""For one put: what cannot be removed must not be tried for ever."""

_NOT_OURS = (errno.ENOTDIR, errno.ELOOP, errno.EPERM, errno.EACCES)
"""What is said of a file, a symbolic link or another user's folder where a folder of ours would be.
"""

_MAP_BYTES = 1 << 20
"""Entries from this size on are mapped, smaller ones read: each map holds a file descriptor."""

_HOPELESS_S = 60
_NOTICED_BYTES = 64 << 20
"""A change of the free space by this much is reason to look again whether evicting helps."""


class DiskCache:
    """Blobs under `root`; beyond `cap_bytes` the least recently used go. Thread-safe.

    They go too where a put would leave the file system less than `floor_bytes`: by default 2 GB,
    or 5 % of a smaller one than 40 GB. `clock` gives seconds since the epoch. `failures` counts
    what could not be stored or read, `evicted` the entries that this process removed. Raises
    `ConfigError` if `root` cannot be used by this user alone.
    """

    def __init__(
        self,
        root: Path,
        cap_bytes: int,
        clock: Callable[[], float] = time.time,
        floor_bytes: int | None = None,
        space: Callable[[Path], Space] = read_space,
    ) -> None:
        prepare_private_folder(root)
        self.failures = self.evicted = 0
        self.lookups = Lookups()
        self._root = root
        self._path = str(root)  # pathlib interns each part of a path, also of one asked for once
        self._cap_bytes, self._floor_bytes = cap_bytes, floor_bytes
        self._clock, self._space = clock, space
        self._hopeless: tuple[float, int] | None = None  # when, and what was free
        self._lock = threading.Lock()
        self._warned: set[str] = set()
        self._has_scanned = False

    def get(self, key: str) -> memoryview | None:
        """Blob stored under the key, read-only; None if there is none (any more)."""
        found = self.peek(key)
        self.lookups.note(key, is_hit=found is not None)
        return found

    def peek(self, key: str) -> memoryview | None:
        """As `get`, for who counts by himself what he looked for."""
        shard, name = _place(key)
        try:
            with open_own(f"{self._path}/{shard}", os.O_DIRECTORY) as folder:
                return self._read(folder, name, key)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._fail("cannot read", error.strerror)
            return None

    def has(self, key: str) -> bool:
        """Whether something is stored under the key, which need not be whole."""
        shard, name = _place(key)
        return os.path.exists(f"{self._path}/{shard}/{name}")

    def put(self, key: str, data: bytes | bytearray | memoryview) -> memoryview:
        """Store a blob, which nobody may change any more; return a view to serve it from.

        If it cannot be stored (full, nearly full or read-only disk, larger than the cap), that is
        a view of `data` all the same: such a failure is counted, and the first of its kind logged.
        """
        self.lookups.note_made(key)
        blob = memoryview(data).toreadonly().cast("B")
        header = _encode_header(key, blob)
        size = _disk_bytes(len(header) + len(blob))
        if size > self._cap_bytes:
            self._fail("cannot fit an entry into", f"{size} bytes, cache_size {self._cap_bytes}")
            return blob
        try:
            shard, name = _place(key)
            for folder in (self._path, f"{self._path}/{shard}"):  # somebody may have emptied it
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder, 0o700)
            if not self._make_room(size):
                return blob
            stored = self._write((shard, name), header, blob)
            self._account(size)
        except OSError as error:
            self._fail("cannot write to", error.strerror)
            return blob
        return stored

    def _read(self, folder: int, name: str, key: str) -> memoryview | None:
        try:
            with open_own(name, os.O_NONBLOCK, folder) as entry:
                blob = _decode_entry(_load(entry), key)
                if blob is not None:
                    self._touch(entry)
                return blob
        except FormatError as error:
            log.warning("dropped a broken entry of the disk cache %s: %s", self._root, error.why)
            os.unlink(name, dir_fd=folder)
            return None

    def _touch(self, entry: int) -> None:
        now = self._clock()
        if abs(now - os.fstat(entry).st_mtime) > _TOUCH_S:  # a clock may be set back
            with contextlib.suppress(OSError):  # a read-only disk still serves what it has
                os.utime(entry, (now, now))

    def _write(self, place: tuple[str, str], header: bytes, blob: memoryview) -> memoryview:
        shard, name = place
        temporary = f"{_TEMPORARY}{os.getpid()}-{secrets.token_hex(8)}"
        with open_own(f"{self._path}/{shard}", os.O_DIRECTORY) as folder:
            try:
                with open_own(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL, folder) as entry:
                    with open(entry, "wb", closefd=False) as file:
                        file.write(header)
                        file.write(blob)
                    os.replace(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
                    if len(blob) < _MAP_BYTES:
                        return blob
                    return _load(entry)[len(header) :]  # so that the caller's copy can go
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=folder)

    def _make_room(self, size: int) -> bool:
        """Evict where the file system would have too little left; whether it has enough now."""
        lacking, free = self._measure(size)
        if lacking <= 0:
            return True
        if self._may_help(free):
            if not self._evict(lacking):
                with self._lock:  # no reason to warn: whoever is at it makes room
                    self.failures += 1
                return False
            lacking, free = self._measure(size)
            if lacking <= 0:  # else entries were too few, or are still open
                return True
            with self._lock:
                self._hopeless = self._clock(), free
        self._fail("cannot make room in", f"its file system is nearly full, {free} bytes free")
        return False

    def _measure(self, size: int) -> tuple[int, int]:
        """Bytes that would be missing above the floor after a put, and those that are free."""
        free, total = self._space(self._root)
        floor = self._floor_bytes
        if floor is None:
            floor = find_floor(total)
        return size + floor - free, free

    def _may_help(self, free: int) -> bool:
        """Whether evicting is worth a scan, or was in vain a moment ago."""
        with self._lock:
            if self._hopeless is None:
                return True
            since, before = self._hopeless
        is_long_ago = abs(self._clock() - since) >= _HOPELESS_S  # also where the clock was set back
        return is_long_ago or abs(free - before) >= _NOTICED_BYTES

    def _account(self, added_bytes: int) -> None:
        """Count what was put, with what others put, and evict where all of it is too much.

        Each process counts in one file, as the others may fill the cache without this one knowing.
        Who evicts looks again behind it: others leave it to him meanwhile.
        """
        with open_own(f"{self._path}/{_TALLY}", os.O_WRONLY | os.O_APPEND | os.O_CREAT) as tally:
            os.write(tally, bytes(added_bytes // _BLOCK_BYTES))
        for _ in range(_MOST_SCANS):
            if not self._is_due() or not self._evict():
                return

    def _is_due(self) -> bool:
        with open_own(f"{self._path}/{_LOCK}", os.O_RDWR | os.O_CREAT) as lock:
            left, counted = _SCANNED.unpack(
                os.pread(lock, _SCANNED.size, 0).ljust(_SCANNED.size, b"\0")
            )
        blocks = os.stat(f"{self._path}/{_TALLY}").st_size
        fresh = (blocks - counted if blocks >= counted else blocks) * _BLOCK_BYTES
        overdue = fresh > self._cap_bytes * _RESCAN_FRACTION
        return not self._has_scanned or overdue or left + fresh > self._cap_bytes

    def _evict(self, lacking_bytes: int = 0) -> bool:
        """Cut the cache to its cap, and by what is lacking if it has that much.

        A tenth of it goes as well, so that the next puts need not scan. False if another is at it.
        """
        with open_own(f"{self._path}/{_LOCK}", os.O_RDWR | os.O_CREAT) as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            with open_own(f"{self._path}/{_TALLY}", os.O_WRONLY | os.O_CREAT) as tally:
                counted = os.fstat(tally).st_size
                left = self._cut(lacking_bytes)
                if counted > _LONGEST_TALLY:
                    left += (os.fstat(tally).st_size - counted) * _BLOCK_BYTES
                    os.ftruncate(tally, 0)
                    counted = 0
            os.pwrite(lock, _SCANNED.pack(left, counted), 0)
        self._has_scanned = True
        return True

    def _cut(self, lacking_bytes: int) -> int:
        """As `_evict`, by who has the lock: what is left, in bytes."""
        numbers = np.fromiter(
            (each for entry in self._scan() for each in (entry.mtime_ns, entry.disk_bytes)),
            np.int64,
        ).reshape(-1, 2)
        total = int(numbers[:, 1].sum())
        kept = total if total <= self._cap_bytes else int(self._cap_bytes * _KEPT_FRACTION)
        if 0 < lacking_bytes <= total:
            kept = max(min(kept, int(total * _KEPT_FRACTION) - lacking_bytes), 0)
        if total > kept:
            total -= self._remove_oldest(numbers, total - kept)
        return total

    def _remove_oldest(self, numbers: NDArray[np.int64], surplus_bytes: int) -> int:
        """Delete entries that were used least recently; how many bytes they had.

        `numbers` (entries, 2) are the time of use and the size of each. Which one is which is
        found by a second scan: the names of all would take ten times the memory of their numbers.
        """
        ascending = numbers[np.argsort(numbers[:, 0])]
        last = int(np.searchsorted(np.cumsum(ascending[:, 1]), surplus_bytes))
        newest, removed = int(ascending[last, 0]), 0
        for entry in self._scan():
            if entry.mtime_ns <= newest and removed < surplus_bytes:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.name, dir_fd=entry.folder)
                    self.evicted += 1
                removed += entry.disk_bytes
        return removed

    def _scan(self) -> Iterator[_Entry]:
        """Entries of the cache, as they are found; what is not the cache's own is passed over."""
        for shard in os.listdir(self._root):
            if len(shard) != 2:
                continue
            try:
                with open_own(f"{self._path}/{shard}", os.O_DIRECTORY) as folder:
                    yield from self._scan_shard(folder)
            except FileNotFoundError:  # others delete as well
                continue
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    raise
                self._warn("cannot use all of", f"{shard}: {error.strerror}")

    def _scan_shard(self, folder: int) -> Iterator[_Entry]:
        """As `_scan`, of one folder; sweeps temporary files that were left behind."""
        for name in os.listdir(folder):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):  # no entry, and cannot be removed as one
                    continue
                if not name.startswith(_TEMPORARY):
                    size = _disk_bytes(status.st_size)
                    yield _Entry(folder, name, status.st_mtime_ns, size)
                elif self._clock() - status.st_mtime > _STRAY_S:
                    os.unlink(name, dir_fd=folder)

    def _fail(self, what: str, why: str | None) -> None:
        with self._lock:
            self.failures += 1
        self._warn(what, why)

    def _warn(self, what: str, why: str | None) -> None:
        """Log the first of its kind."""
        with self._lock:
            first = what not in self._warned
            self._warned.add(what)
        if first:
            log.warning("%s the disk cache %s: %s; going on without", what, self._root, why)


@dataclass(frozen=True, slots=True)
class _Entry:
    """A file of the cache, while a scan holds its folder open."""

    folder: int
    name: str
    mtime_ns: int
    disk_bytes: int


def _place(key: str) -> tuple[str, str]:
    """Folder and file name of a key."""
    digest = hashlib.blake2b(_key_bytes(key), digest_size=20).hexdigest()
    return digest[:2], digest[2:]


def _key_bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")  # a file name in a key may hold lone surrogates


def _encode_header(key: str, blob: memoryview) -> bytes:
    name = _key_bytes(key)
    header = _HEADER.pack(_MAGIC, zlib.crc32(blob, zlib.crc32(name)), len(name), len(blob)) + name
    return header.ljust(_payload_offset(len(name)), b"\0")


def _decode_entry(entry: memoryview, key: str) -> memoryview | None:
    """Payload of an entry, or None if it is another key's; raises `FormatError` if broken."""
    if len(entry) < _HEADER.size:
        raise FormatError("cannot read a cache entry", why="cut short")
    magic, checksum, key_length, length = _HEADER.unpack_from(entry)
    start = _payload_offset(key_length)
    if magic != _MAGIC or len(entry) != start + length:
        raise FormatError("cannot read a cache entry", why="wrong header or length")
    name, blob = entry[_HEADER.size : _HEADER.size + key_length], entry[start:]
    if zlib.crc32(blob, zlib.crc32(name)) != checksum:
        raise FormatError("cannot read a cache entry", why="wrong checksum")
    return blob if name == _key_bytes(key) else None


def _payload_offset(key_length: int) -> int:
    return -(-(_HEADER.size + key_length) // _ALIGN_BYTES) * _ALIGN_BYTES


def _disk_bytes(size: int) -> int:
    return -(-size // _BLOCK_BYTES) * _BLOCK_BYTES


def _load(entry: int) -> memoryview:
    """All bytes of an open file."""
    size = os.fstat(entry).st_size
    if size < _MAP_BYTES:
        return memoryview(os.pread(entry, size, 0))
    return memoryview(mmap.mmap(entry, size, access=mmap.ACCESS_READ))
