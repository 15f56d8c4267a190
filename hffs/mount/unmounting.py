"""Taking a mount down from outside its daemon, and waiting until both are gone."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

from hffs.errors import MountError
from hffs.mount.mountinfo import FS_TYPE, Health, check_health, find_mount
from hffs.mount.preflight import detach
from hffs.mount.registry import Record, Registry, read_start_time

_END_S = 10.0
_KILL_AFTER_S = 5.0
_POLL_S = 0.02


def unmount(path: Path, registry: Registry, *, force: bool) -> None:
    """Unmount and wait for the daemon's end.

    MountError where nothing of hffs is mounted, or where it is in use and `force` is off. With
    `force` its users are cut off, and a daemon that does not end by itself is killed.
    """
    place = _find_place(path)
    record = registry.find(str(place))
    dead = check_health(str(place)) is Health.DEAD
    try:
        detach(place, lazy=force or dead)
    except MountError as error:
        if "busy" in error.why:
            fix = f"close what uses it (fuser -vm {place}), or `hffs umount --force {place}`"
            raise MountError("cannot unmount", str(place), why="it is in use", fix=fix) from error
        raise
    if record is not None:
        _wait_for_end(record, force=force)
        registry.remove(str(place), record.pid)


def _find_place(path: Path) -> Path:
    """The mount point as the kernel calls it: resolved, but never by asking the mount itself."""
    plain = Path(os.path.abspath(path))
    place = Path(os.path.realpath(plain.parent)) / plain.name
    for candidate in (plain, place, Path(os.path.realpath(plain))):
        mounted = find_mount(str(candidate))
        if mounted is not None and mounted.fs_type == FS_TYPE:
            return candidate
        if mounted is not None:
            why = f"what is mounted there is {mounted.fs_type}, not hffs"
            raise MountError("cannot unmount", str(candidate), why=why)
    raise MountError(
        "cannot unmount", str(plain), why="nothing is mounted there", fix="see `hffs ls`"
    )


def _wait_for_end(record: Record, *, force: bool) -> None:
    begun = time.monotonic()
    if force:
        _send(record, signal.SIGTERM)
    while read_start_time(record.pid) == record.started:
        passed = time.monotonic() - begun
        if force and passed > _KILL_AFTER_S:
            _send(record, signal.SIGKILL)
        if passed > _END_S:
            why = (
                f"it is unmounted, but its daemon (pid {record.pid}) did not end in {_END_S:.0f} s"
            )
            raise MountError("cannot stop", record.mountpoint, why=why, fix="try --force")
        time.sleep(_POLL_S)


def _send(record: Record, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(record.pid, number)
