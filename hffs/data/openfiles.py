"""What is open of a source on this host: one map a shard or archive.

Owns how many stay open and when they are closed. Must not know what lies in them. Thread-safe.
"""

from __future__ import annotations

import os
import threading

from hffs.data.cells.containers import open_container
from hffs.data.cells.index import CellIndex
from hffs.data.mapped import MappedFile, open_mapped
from hffs.data.shards import Located, Shard
from hffs.errors import StaleError

_OPEN_ARCHIVES = 4096
"""Archives that stay open, at two descriptors each; of more than that, those opened last."""


class OpenFiles:
    """Files by their numbers, opened when they are first asked for.

    Raises StaleError where one is not what was found, SourceError, AccessError.
    """

    def __init__(self, index: CellIndex, located: Located) -> None:
        self.keeps_archives = len(index.containers) <= _OPEN_ARCHIVES
        self._located = located
        self._containers = index.containers
        self._root = os.path.realpath(os.fsencode(located.root))
        self._files: dict[int, MappedFile] = {}
        self._archives: dict[int, MappedFile] = {}  # the first of them was opened first
        self._lock = threading.Lock()

    def shard(self, number: int) -> MappedFile:
        """A shard, open until `close`."""
        file = self._files.get(number)
        if file is not None:
            return file
        with self._lock:
            if number not in self._files:
                self._files[number] = open_shard(self._located.shards[number])
            return self._files[number]

    def archive(self, number: int) -> MappedFile:
        """An archive; of more than stay open, whoever has one keeps it open."""
        file = self._archives.get(number)
        if file is not None:
            return file
        with self._lock:
            return self._take_archive(number)

    def check_archive(self, number: int) -> None:
        """Raise StaleError if an archive was changed in place."""
        self.archive(number).check()

    def pin(self) -> None:
        """Open everything that stays open, but what lies elsewhere."""
        for number, found in enumerate(self._located.shards):
            if not found.is_remote:
                self.shard(number)
        if self.keeps_archives:
            for number in range(len(self._containers)):
                self.archive(number)

    def close(self) -> None:
        """Give back the descriptors that nobody reads from; views of the maps stay valid."""
        with self._lock:
            for file in (*self._files.values(), *self._archives.values()):
                file.close_unused()
            self._files.clear()
            self._archives.clear()

    def _take_archive(self, number: int) -> MappedFile:
        """An archive, opened if need be; the caller has the lock."""
        if number not in self._archives:
            if len(self._archives) >= _OPEN_ARCHIVES:
                self._archives.pop(next(iter(self._archives))).close_unused()
            path = os.path.join(self._root, self._containers.name(number))
            pins = int(self._containers.size_bytes[number]), int(self._containers.mtime_ns[number])
            self._archives[number] = open_container(path, *pins)
        return self._archives[number]


def open_shard(shard: Shard) -> MappedFile:
    """Map a shard; StaleError if it is not the file that was found."""
    file = open_mapped(shard.path)
    if (file.size_bytes, file.mtime_ns) != (shard.size_bytes, shard.mtime_ns):
        file.close()
        why = "it was changed since it was found"
        raise StaleError("cannot read", str(shard.path), why=why, fix="try again")
    return file
