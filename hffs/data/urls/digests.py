"""What images at URLs were when they were first read, so that they never are anything else.

Owns a folder of 256 files of records, each the hash of a URL and the digest of its bytes. Shared by
every process of one user. Invariants: a record is appended whole, under a lock, and the first of a
URL counts; a file beyond its bound forgets its older half.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path

log = logging.getLogger(__name__)

_HASH_BYTES = 16
_RECORD_BYTES = 2 * _HASH_BYTES

FILE_RECORDS = 1 << 15
"""Records of one file: 1 MB, and 8 million URLs in all."""


def hash_url(url: str) -> bytes:
    """What stands for a URL in keys and records."""
    return blake2b(url.encode("utf-8", "surrogatepass"), digest_size=_HASH_BYTES).digest()


class Digests:
    """Digests of what URLs first gave. Thread-safe."""

    def __init__(self, folder: Path, file_records: int = FILE_RECORDS) -> None:
        self._folder = str(folder)
        self._most_bytes = file_records * _RECORD_BYTES
        self._lock = threading.Lock()
        self._has_warned = False

    def agree(self, url: bytes, data: memoryview | bytearray) -> bool:
        """Whether a URL (its hash) gave these bytes before; True as well where it gave none yet.

        That is recorded. Where it cannot be, a WARNING says so once.
        """
        record = url + blake2b(data, digest_size=_HASH_BYTES).digest()
        try:
            with self._lock, self._locked():
                path = f"{self._folder}/{url[0]:02x}"
                known = _read(path)
                known = known[: len(known) // _RECORD_BYTES * _RECORD_BYTES]
                first = _find(known, url)
                if first is None:
                    self._add(path, known, record)
                return first is None or first == record
        except OSError as error:
            if not self._has_warned:
                self._has_warned = True
                log.warning("cannot record what URLs give in %s: %s", self._folder, error.strerror)
            return True

    def _add(self, path: str, known: bytes, record: bytes) -> None:
        if len(known) >= self._most_bytes:
            half = len(known) // (2 * _RECORD_BYTES) * _RECORD_BYTES
            fresh = f"{self._folder}/.fresh"
            with open(fresh, "wb") as file:
                file.write(known[half:] + record)
            os.replace(fresh, path)
            return
        with open(path, "ab") as file:
            file.truncate(len(known))  # what a writer that was killed left of its record
            file.write(record)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with contextlib.suppress(FileExistsError):
            os.mkdir(self._folder, 0o700)
        with open(f"{self._folder}/.lock", "ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""


def _find(records: bytes, url: bytes) -> bytes | None:
    at = records.find(url)
    while at >= 0:
        if at % _RECORD_BYTES == 0:
            return records[at : at + _RECORD_BYTES]
        at = records.find(url, at + 1)
    return None
