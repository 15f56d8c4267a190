"""Who has what mounted on this host: one small JSON file a mount, in the user's state folder.

The kernel's table says what is mounted; this adds what only the daemon knows (source, counts,
log). A file whose daemon is gone is left over from a kill and is dropped when met.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Record:
    """What a daemon says about its mount."""

    mountpoint: str
    pid: int
    started: int
    source: str
    commit: str
    fingerprint: str
    positions: int
    log: str | None


def find_state_folder(environ: Mapping[str, str]) -> Path:
    """Folder of records and logs (XDG base directories), not created yet."""
    base = environ.get("XDG_STATE_HOME") or ""
    # The standard tells to ignore a relative path.
    home = Path(base) if base.startswith("/") else Path.home() / ".local/state"
    return home / "hffs"


def read_start_time(pid: int) -> int | None:
    """When a process began, in clock ticks after boot: tells a reused pid apart.

    None if it has ended, also while nobody has reaped it (a container's pid 1 may never do so).
    """
    try:
        line = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The name in parentheses may hold anything; state and start follow it (proc_pid_stat(5)).
    fields = line.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])


class Registry:
    """The records of one user."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "mounts"

    def add(self, record: Record) -> None:
        """Write a record, whole or not at all."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self._folder)
        with os.fdopen(handle, "w") as file:
            json.dump(asdict(record), file)
        os.replace(name, self._path(record.mountpoint))

    def remove(self, mountpoint: str, pid: int) -> None:
        """Drop the record of a mount if it is still that daemon's."""
        record = self._read(self._path(mountpoint))
        if record is not None and record.pid == pid:
            self._path(mountpoint).unlink(missing_ok=True)

    def find(self, mountpoint: str) -> Record | None:
        """The record of a mount whose daemon lives."""
        record = self._read(self._path(mountpoint))
        if record is None or read_start_time(record.pid) != record.started:
            return None
        return record

    def all(self) -> list[Record]:
        """Every record whose daemon lives; the others are dropped."""
        living = []
        paths = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        for path in paths:
            record = self._read(path)
            if record is not None and read_start_time(record.pid) == record.started:
                living.append(record)
            else:
                path.unlink(missing_ok=True)
        return living

    def _path(self, mountpoint: str) -> Path:
        digest = hashlib.blake2b(os.fsencode(mountpoint), digest_size=12).hexdigest()
        return self._folder / f"{digest}.json"

    @staticmethod
    def _read(path: Path) -> Record | None:
        try:
            return Record(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None
