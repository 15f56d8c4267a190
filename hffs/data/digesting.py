"""Digests of whole files, several at once: what shows that a copy is what it was copied from.

Owns reading files from end to end, with progress in bytes. Each digest is BLAKE2b of 16 bytes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import blake2b
from pathlib import Path

from hffs.data.shards import os_error, read_ends

DIGEST_BYTES = 16

_PIECE_BYTES = 4 << 20
_AT_ONCE = 256
"""Files that are waited for, so that a million of them do not lie in a queue."""

_TOLD_BYTES = 16 << 20
"""Told less often than for each file, of which there may be a million."""

Progress = Callable[[int, int], None]
"""Told how many of how many bytes are read."""


def digest_files(paths: Sequence[Path], workers: int, progress: Progress) -> Iterator[bytes]:
    """The digest of each file, in order. Raises SourceError or AccessError."""
    total = sum(_size_of(path) for path in paths)
    done = told = 0
    with ThreadPoolExecutor(workers, thread_name_prefix="hffs-digest") as pool:
        under_way: list[Future[tuple[bytes, int]]] = []
        queue = iter(paths)
        while True:
            for path in queue:
                under_way.append(pool.submit(_digest, path))
                if len(under_way) >= _AT_ONCE:
                    break
            if not under_way:
                return
            digest, size_bytes = under_way.pop(0).result()
            done += size_bytes
            if done - told >= _TOLD_BYTES or not under_way:
                progress(min(done, total), total)
                told = done
            yield digest


def digest_ends(path: Path, size_bytes: int) -> str:
    """The digest of both ends of a file. Raises SourceError or AccessError."""
    return blake2b(read_ends(path, size_bytes), digest_size=DIGEST_BYTES).hexdigest()


def shorten(digest: bytes) -> int:
    """A digest as a number of 64 bits, which is enough for what nobody is out to forge."""
    return int.from_bytes(digest[:8], "little", signed=True)


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise os_error(str(path), error) from error


def _digest(path: Path) -> tuple[bytes, int]:
    digest, size_bytes = blake2b(digest_size=DIGEST_BYTES), 0
    try:
        # O_NONBLOCK: opening a pipe must not wait for its writer; files ignore it
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
                size_bytes += len(piece)
    except OSError as error:
        raise os_error(str(path), error) from error
    return digest.digest(), size_bytes
