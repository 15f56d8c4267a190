"""Who has what mounted on this host: one small JSON file a mount, in the user's state folder.

The kernel's table says what is mounted; this adds what only the daemon knows (source, counts,
log). A file whose daemon is gone is left over from a kill and is dropped when met.

Mounts that were started together have one more file, of their group. It outlives their daemons: it
says what is to be tidied up after a kill. It is read, changed and written under `Registry.locked`.

Root also sees the records of the service user. They are data of another user: only what that
user's own living processes say is taken, no link is followed, nothing is written or dropped there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from hffs.data.folders import read_own, write_json
from hffs.data.proc import read_stat, read_status
from hffs.errors import MountError
from hffs.mount.observing.sockets import find_socket, remove_dead_socket

SERVICE_STATE = Path("/var/lib/hffs")
"""State folder of the user that systemd/hffs@.service runs as."""


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
    # A daemon of a version without these goes on over an upgrade, and so does its record.
    group: str | None = None
    socket: str | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """The mounts of one file: each member on the folder of its name in `folder`.

    `made` are the members whose folder hffs made, and removes. `pid` and `started` tell the process
    that starts them, which is `starting` until all of them answer.
    """

    folder: str
    members: tuple[str, ...]
    made: tuple[str, ...]
    pid: int
    started: int
    starting: bool

    def is_starting(self) -> bool:
        """Whether somebody is at work who will mount more of it."""
        return self.starting and read_start_time(self.pid) == self.started


def find_state_folder(environ: Mapping[str, str]) -> Path:
    """Folder of records and logs (XDG base directories), not created yet."""
    base = environ.get("XDG_STATE_HOME") or ""
    # The standard tells to ignore a relative path.
    home = Path(base) if base.startswith("/") else Path.home() / ".local/state"
    return home / "hffs"


def find_registry(environ: Mapping[str, str]) -> Registry:
    """The records that this user may act on."""
    state = find_state_folder(environ)
    return Registry(state, SERVICE_STATE if os.geteuid() == 0 else None)


def read_start_time(pid: int) -> int | None:
    """When a process began, in clock ticks after boot: tells a reused pid apart.

    None if it has ended, also while nobody has reaped it (a container's pid 1 may never do so).
    """
    fields = read_stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def read_state(pid: int) -> str:
    """The letter of what a process does, `T` if it is stopped; empty where there is none."""
    fields = read_stat(pid)
    return "" if fields is None else fields[0]


class Registry:
    """The records of one user, and for reading alone those in the state folder of another."""

    def __init__(self, state: Path, other: Path | None = None) -> None:
        self._other = other if other != state else None
        self._folder = state / "mounts"
        self._groups = state / "groups"

    def add(self, record: Record) -> None:
        """Write a record, whole or not at all. MountError where that fails."""
        path = _path(self._folder, record.mountpoint)
        try:
            write_json(path, asdict(record))
        except OSError as error:
            why = error.strerror or str(error)
            fix = "make room, or set XDG_STATE_HOME to another folder"
            raise MountError("cannot write the record", str(path), why=why, fix=fix) from error

    def remove(self, mountpoint: str, pid: int) -> None:
        """Drop the record of a mount if it is still that daemon's."""
        path = _path(self._folder, mountpoint)
        record = _read_record(path)
        if record is not None and record.pid == pid:
            path.unlink(missing_ok=True)

    def find(self, mountpoint: str) -> Record | None:
        """The record of a mount whose daemon lives; one that is left over is dropped."""
        own = _read_living(_path(self._folder, mountpoint))
        if own is not None or self._other is None:
            return own
        return next(
            (each for each in _read_others(self._other) if each.mountpoint == mountpoint), None
        )

    def all(self) -> list[Record]:
        """Every record whose daemon lives; the others are dropped."""
        records = map(_read_living, _list(self._folder))
        own = {record.mountpoint: record for record in records if record is not None}
        others = () if self._other is None else _read_others(self._other)
        return [*own.values(), *(each for each in others if each.mountpoint not in own)]

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from changing groups. Nothing may fork in here."""
        self._groups.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(self._groups / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def put_group(self, group: Group) -> None:
        """Write a group in the place of what was there; without members nothing is kept of it."""
        path = _path(self._groups, group.folder)
        if group.members:
            write_json(path, asdict(group))
        else:
            path.unlink(missing_ok=True)

    def find_group(self, folder: str) -> Group | None:
        """The group in a folder, also if its daemons are dead."""
        try:
            told = _read_fields(_path(self._groups, folder), Group)
            group = Group(**told | {key: tuple(told[key]) for key in ("members", "made")})
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None
        return group if _is_group(group) else None


def _path(folder: Path, key: str) -> Path:
    digest = hashlib.blake2b(os.fsencode(key), digest_size=12).hexdigest()
    return folder / f"{digest}.json"


def _read_living(path: Path) -> Record | None:
    try:
        told = _read_fields(path, Record)
    except OSError:  # who cannot read it cannot tell that it is left over
        return None
    except (ValueError, TypeError, RecursionError):  # a record is written whole: that is none
        told = {}
    record = _make_record(told)
    pid, started = told.get("pid"), told.get("started")
    if type(pid) is int and started is not None and read_start_time(pid) == started:
        return record  # none where its daemon is of another version, which may need it
    with suppress(OSError):
        path.unlink()
    if record is not None and record.socket is not None:
        remove_dead_socket(Path(record.socket))
    return None


def _read_record(path: Path, *owners: int) -> Record | None:
    """What a file says, which may be anything, if it is all of a record."""
    try:
        return _make_record(_read_fields(path, Record, *owners))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _read_fields(path: Path, kind: type[Record | Group], *owners: int) -> dict[str, Any]:
    """What a file says of what this version knows: a daemon of a later one may say more.

    Raises OSError, and ValueError, TypeError or RecursionError for what is no JSON object.
    """
    told = json.loads(read_own(path, *owners))
    if not isinstance(told, dict):
        raise TypeError("it is no object")
    return {each.name: told[each.name] for each in fields(kind) if each.name in told}


def _make_record(told: Mapping[str, Any]) -> Record | None:
    try:
        record = Record(**told)
    except TypeError:
        return None
    values = [(getattr(record, name), hint) for name, hint in get_type_hints(Record).items()]
    # To Python a bool is an int, too.
    is_whole = all(
        isinstance(value, hint) and not isinstance(value, bool) for value, hint in values
    )
    return record if is_whole else None


def _is_group(group: Group) -> bool:
    """Whether the file holds a group; members are names in its folder, as nothing outside is
    removed.
    """
    names = (*group.members, *group.made)
    return (
        isinstance(group.folder, str)
        and all(isinstance(name, str) and name and name == Path(name).name for name in names)
        and ".." not in names
        and type(group.pid) is type(group.started) is int
        and isinstance(group.starting, bool)
    )


def _read_others(state: Path) -> Iterator[Record]:
    """What another user's living daemons say; never more than that user could do by itself."""
    try:
        owner = state.lstat().st_uid
    except OSError:
        return
    for path in _list(state / "mounts"):
        record = _read_record(path, owner)
        if record is None or read_start_time(record.pid) != record.started:
            continue
        # It may be told to end. Its log is a path that root would open for whoever asks, and so
        # would be its socket, but for one where its daemon has it.
        socket = str(find_socket(state, record.mountpoint))
        if _read_user(record.pid) == owner:
            yield replace(record, log=None, socket=socket if record.socket == socket else None)


def _list(folder: Path) -> list[Path]:
    """The files of records; none where there is no such folder yet, or it is another user's."""
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if name.endswith(".json")]


def _read_user(pid: int) -> int | None:
    """The real user of a process."""
    users = read_status(Path(f"/proc/{pid}/status")).get("Uid")
    return int(users[0]) if users else None
