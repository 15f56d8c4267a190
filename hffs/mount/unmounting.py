"""Taking mounts down from outside their daemons, and waiting until both are gone.

A member of a group also loses the folder that hffs made for it; the last one takes the group's
record along.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hffs.errors import MountError
from hffs.mount.layers import Shown, find_shown, read_shown
from hffs.mount.lifecycle.aborting import Connection, holding
from hffs.mount.lifecycle.limits import ABORT_S, BUSY_S, END_S, KILL_AFTER_S
from hffs.mount.mountinfo import find_mount
from hffs.mount.registry import Group, Record, Registry, read_start_time, read_state

_POLL_S = 0.02


def unmount(path: Path, registry: Registry, *, force: bool) -> None:
    """Unmount what is on a folder, or the group in it, and wait for the end of every daemon.

    MountError where nothing of hffs is mounted, or where it is in use and `force` is off. With
    `force` its users are cut off, and a daemon that does not end by itself is killed.
    """
    plain = Path(os.path.abspath(path))
    place = _find_place(plain)
    if place is not None:
        _unmount_one(place, registry, force=force)
        return
    group = registry.find_group(os.path.realpath(plain))
    if group is None and registry.find(str(plain)) is not None:
        _unmount_one(plain, registry, force=force)  # the mount is gone, its daemon lives on
        return
    if group is None:
        raise _nothing_mounted(plain)
    if group.is_starting():
        why = f"process {group.pid} is still mounting in it"
        fix = f"wait for it, or stop it (kill {group.pid}), which unmounts all"
        raise MountError("cannot unmount", group.folder, why=why, fix=fix)
    unmount_group(group, registry, force=force)


@dataclass(frozen=True, slots=True)
class _Going:
    """A mount that is detached: its daemon, if that is known, and what there is to abort."""

    place: Path
    record: Record | None
    connection: Connection | None


def unmount_group(group: Group, registry: Registry, *, force: bool) -> None:
    """Unmount all members; those that are in use or do not end hold none of the others up.

    MountError names them.
    """
    failed: dict[str, str] = {}
    with ExitStack() as held:
        going: dict[str, _Going] = {}
        for name in group.members:
            place = Path(group.folder, name)
            record = registry.find(str(place))
            if record is not None and record.group != group.folder:
                # mounted by itself, where the member was before it was killed
                going[name] = _Going(place, None, None)
                continue
            try:
                going[name] = _detach(place, record, held if force else None)
            except MountError as error:
                failed[name] = error.why
        for late in _end_all(going.values(), force=force):
            name = Path(late.mountpoint).name
            failed[name] = _say_it_lives(late)
            del going[name]
    for name, gone in going.items():
        if gone.record is not None:
            registry.remove(gone.record.mountpoint, gone.record.pid)
        leave_group(registry, Path(group.folder, name))
    if failed:
        which = f"{len(failed)} of {len(group.members)} mounts in {group.folder}"
        why = "; ".join(f"{name}: {why}" for name, why in failed.items())
        fix = f"close what uses them, or `hffs umount --force {group.folder}`"
        raise MountError("cannot unmount", which, why=why, fix=fix)


def leave_group(registry: Registry, place: Path) -> None:
    """What is left to do when a mount is gone: its folder, its name in the group. May be repeated.

    Nothing happens to a mount point that is in no group.
    """
    folder, name = str(place.parent), place.name
    if registry.find_group(folder) is None:
        return
    with registry.locked():
        group = registry.find_group(folder)
        if group is None or name not in group.members:
            return
        if name in group.made:
            with suppress(OSError):  # something was put into it, or mounted on it, meanwhile
                place.rmdir()
        registry.put_group(
            replace(
                group,
                members=tuple(member for member in group.members if member != name),
                made=tuple(member for member in group.made if member != name),
            )
        )


def _unmount_one(place: Path, registry: Registry, *, force: bool) -> None:
    record = registry.find(str(place))
    with ExitStack() as held:
        gone = _detach(place, record, held if force else None)
        for late in _end_all([gone], force=force):
            fix = "" if force else f"`hffs umount --force {place}` kills it"
            raise MountError("cannot stop", str(place), why=_say_it_lives(late), fix=fix)
    if record is not None:
        registry.remove(str(place), record.pid)
    if record is None or record.group is not None:
        leave_group(registry, place)


def clear_dead(place: Path) -> None:
    """Take away what a start has left that was given up."""
    shown = find_shown(str(place))
    if shown is not None and shown.is_dead:
        with suppress(MountError):
            shown.detach(lazy=True)


def _find_place(plain: Path) -> Path | None:
    """The mount point as the kernel calls it: resolved, but never by asking the mount itself."""
    place = Path(os.path.realpath(plain.parent)) / plain.name
    for candidate in (plain, place, Path(os.path.realpath(plain))):
        if find_shown(str(candidate)) is not None:
            return candidate
    return None


def _nothing_mounted(plain: Path) -> MountError:
    real = Path(os.path.realpath(plain))
    mounted = find_mount(str(plain)) or find_mount(str(real))
    if mounted is not None:
        return _not_ours(plain, mounted.fs_type)
    below = [each.mountpoint for each in read_shown() if Path(each.mountpoint).parent == real]
    fix = f"below it are {', '.join(below)}" if below else "see `hffs ls`"
    return MountError("cannot unmount", str(plain), why="nothing is mounted there", fix=fix)


def _not_ours(place: Path, fs_type: str) -> MountError:
    return MountError(
        "cannot unmount", str(place), why=f"what is mounted there is {fs_type}, not hffs"
    )


def _detach(place: Path, record: Record | None, held: ExitStack | None) -> _Going:
    """Detach a mount, with `held` also one that is in use: it is held meanwhile, to be aborted.

    Nothing to do where nothing is mounted any more.
    """
    shown = find_shown(str(place))
    if shown is None:
        mounted = find_mount(str(place))
        if mounted is None:
            return _Going(place, record, None)
        raise _not_ours(place, mounted.fs_type)
    if held is None and record is not None and read_state(record.pid) in ("T", "t"):
        why = f"its daemon (pid {record.pid}) is stopped"  # umount would wait for its answer
        fix = f"`kill -CONT {record.pid}`, or `hffs umount --force {place}`"
        raise MountError("cannot unmount", str(place), why=why, fix=fix)
    connection = None if held is None else held.enter_context(holding(shown.mounted))
    try:
        if held is not None or shown.is_dead:
            shown.detach(lazy=True)
        else:
            _detach_unused(shown)
    except MountError as error:
        if find_shown(str(place)) is None:  # its daemon was faster
            return _Going(place, record, connection)
        if _is_busy(error):
            fix = f"close what uses it (fuser -vm {place}), or `hffs umount --force {place}`"
            raise MountError("cannot unmount", str(place), why="it is in use", fix=fix) from error
        raise
    return _Going(place, record, connection)


def _detach_unused(shown: Shown) -> None:
    """Detach a mount once nobody is in it any more. MountError where that does not come about."""
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            shown.detach(lazy=False)
        except MountError as error:
            if not _is_busy(error) or time.monotonic() > deadline:
                raise
            time.sleep(_POLL_S)
        else:
            return


def _is_busy(error: MountError) -> bool:
    return "busy" in error.why


def _end_all(going: Iterable[_Going], *, force: bool) -> list[Record]:
    """Wait for the daemons of detached mounts; those that live on.

    With `force` whatever still keeps users of such a mount waiting is aborted. MountError where
    that cannot be.
    """
    all_going = list(going)
    records = {each.place: each.record for each in all_going if each.record is not None}
    late = wait_for_ends(records.values(), force=force)
    aborted = False
    for each in all_going:
        if each.connection is not None and (each.record in late or each.connection.is_stuck()):
            each.connection.abort()
            aborted = True
    return _wait(late, ABORT_S) if aborted else late


def wait_for_ends(records: Iterable[Record], *, force: bool) -> list[Record]:
    """Wait for the daemons of unmounted mounts; those that live on. With `force` they may not."""
    left = list(records)
    if not force:
        return _wait(left, END_S)
    _send(left, signal.SIGTERM)
    left = _wait(left, KILL_AFTER_S)
    _send(left, signal.SIGKILL)
    return _wait(left, END_S - KILL_AFTER_S)


def _wait(records: Iterable[Record], within_s: float) -> list[Record]:
    left = list(records)
    deadline = time.monotonic() + within_s
    while left := [each for each in left if read_start_time(each.pid) == each.started]:
        if time.monotonic() > deadline:
            break
        time.sleep(_POLL_S)
    return left


def _say_it_lives(record: Record) -> str:
    return f"it is unmounted, but its daemon (pid {record.pid}) did not end in {END_S:.0f} s"


def _send(records: Iterable[Record], number: signal.Signals) -> None:
    for record in records:
        with suppress(ProcessLookupError):
            os.kill(record.pid, number)
