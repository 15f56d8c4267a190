"""The mounts of one file: each on its own folder in a common one, started and stopped together.

Owns the common folder from its claim on: the folders in it, the record of the group, and that
either all members are mounted or none is left. One process a mount, since a session of pyfuse3 is
one a process: they are started one after the other, each with the whole host for deciding its view.
It must not know what is mounted: a member is a name and a call that starts it.
Invariants: in a folder that is refused nothing is touched but dead mounts; whatever a kill leaves
is put right by the next claim of the folder or by `hffs umount`.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from hffs.errors import HffsError, MountError
from hffs.mount.layers import Shown, find_shown, read_shown
from hffs.mount.lifecycle.daemon import describe_end, handling, raise_interrupt
from hffs.mount.lifecycle.limits import END_S
from hffs.mount.lifecycle.notifying import Notifier, start_watchdog
from hffs.mount.lifecycle.signals import STOPPING, stop_no_more, survive
from hffs.mount.mountinfo import FS_TYPE
from hffs.mount.preflight import check_folder
from hffs.mount.registry import Group, Registry, read_start_time
from hffs.mount.unmounting import unmount_group, wait_for_ends

log = logging.getLogger(__name__)

_LOOK_EACH_S = 0.5


@dataclass(frozen=True, slots=True)
class Foreground:
    """How a process stays with the mounts that it started.

    `hangup_ends` says that SIGHUP ends them, which else is passed on to them, after `reload`.
    """

    notifier: Notifier
    hangup_ends: bool
    reload: Callable[[], None]


Start = Callable[[Path, Path], int]
"""Mounts a member on a folder, given that and the common one; the pid, once the mount answers."""


def run_group(
    path: Path, starts: Mapping[str, Start], registry: Registry, stay: Foreground | None
) -> None:
    """Mount every member on the folder of its name in `path`, made if need be.

    Returns when all answer; with `stay`, when all have ended, which they do when one does or when
    this process is told to stop. What goes wrong with a member names it and takes down the
    others. MountError where the folder cannot be had, or a mount that was up broke down.
    """
    folder = os.path.realpath(path)
    if stay is not None:
        survive()
    try:
        with handling(raise_interrupt, signal.SIGTERM):
            group = _claim(Path(folder), tuple(starts), registry)
            children = _start(group, starts)
            if stay is None:
                _say_all_started(group, registry)
                return
            # Before it is said: who reads it may signal at once, which interrupts no start.
            with _blocking(signal.SIGCHLD, signal.SIGHUP, *STOPPING) as numbers:
                _say_all_started(group, registry)
                stay.notifier.ready(f"serving {len(children)} mounts in {folder}")
                start_watchdog(stay.notifier, [Path(folder, name) for name in starts])
                _supervise(children, numbers, stay)
                stop_no_more()  # those that have come meanwhile, too
    except BaseException:
        with handling(signal.SIG_IGN, signal.SIGTERM, signal.SIGINT):
            _take_down(folder, registry)
        raise


def _claim(place: Path, names: tuple[str, ...], registry: Registry) -> Group:
    """The group's folder with a folder for each member. Clears what a kill has left there."""
    _wait_for_ending_members(place, registry)
    with registry.locked():
        old = registry.find_group(str(place))
        _refuse_taken(place, old, registry)
        known = {*names, *(old.members if old else ())}
        for dead in _mounts_in(place):
            at = Path(dead.mountpoint)
            if at == place or at.name in known:
                dead.detach(lazy=True)
        check_folder(place, known)
        there = {name for name in known if os.path.lexists(place / name)}
        for name in there:
            _check_left_over(place / name)
        made_before = there.intersection(old.made if old else ())
        group = Group(
            folder=str(place),
            members=names,
            made=tuple(name for name in names if name not in there or name in made_before),
            pid=os.getpid(),
            started=read_start_time(os.getpid()) or 0,
            starting=True,
        )
        registry.put_group(group)
        _make_folders(place, names, made_before)
    return group


def _wait_for_ending_members(place: Path, registry: Registry) -> None:
    """A daemon ends a moment after its mount; it tidies up, for which it needs the lock."""
    members = [record for record in registry.all() if record.group == str(place)]
    wait_for_ends([each for each in members if find_shown(each.mountpoint) is None], force=False)


def _mounts_in(place: Path) -> list[Shown]:
    """What hffs has mounted directly in a folder, then what it has on it."""
    shown = read_shown()
    inside = [each for each in shown if Path(each.mountpoint).parent == place]
    inside.sort(key=lambda each: each.mountpoint)
    return [*inside, *(each for each in shown if each.mountpoint == str(place))]


def _refuse_taken(place: Path, old: Group | None, registry: Registry) -> None:
    if old is not None and old.is_starting():
        why = f"process {old.pid} is mounting in it"
        raise MountError("cannot mount on", str(place), why=why, fix="wait for it, or stop it")
    taken = {Path(each.mountpoint) for each in _mounts_in(place) if not each.is_dead}
    taken |= {Path(each.mountpoint) for each in registry.all() if each.group == str(place)}
    if place in taken:
        why, fix = f"{FS_TYPE} is mounted there already", f"`hffs umount {place}` first"
        raise MountError("cannot mount on", str(place), why=why, fix=fix)
    if taken:
        names = ", ".join(sorted(path.name for path in taken))
        why = f"{FS_TYPE} is mounted in it already: {names}"
        fix = f"`hffs umount {place if old else min(taken)}` first"
        raise MountError("cannot mount on", str(place), why=why, fix=fix)


def _check_left_over(place: Path) -> None:
    if place.is_symlink():
        why = f"the folder is not empty ({place.name} is in it)"
        raise MountError("cannot mount on", str(place.parent), why=why, fix="choose an empty one")
    check_folder(place)


def _make_folders(place: Path, names: Collection[str], made_before: Collection[str]) -> None:
    for name in made_before:
        if name not in names:  # of an entry that the file no longer has
            with suppress(OSError):
                (place / name).rmdir()
    for name in names:
        try:
            (place / name).mkdir(0o755, exist_ok=True)
        except OSError as error:
            why = error.strerror or str(error)
            fix = "choose a folder of your own"
            raise MountError(
                "cannot make the folder", str(place / name), why=why, fix=fix
            ) from error


def _start(group: Group, starts: Mapping[str, Start]) -> dict[int, str]:
    """Start every member, in the order of the file; their names by pid."""
    folder = Path(group.folder)
    children = {}
    for name, start in starts.items():
        try:
            children[start(folder / name, folder)] = name
        except HffsError as error:
            raise error.within(f"entry {name}") from error
    return children


def _say_all_started(group: Group, registry: Registry) -> None:
    with registry.locked():
        now = registry.find_group(group.folder)
        if now is not None:  # else all of it was unmounted again
            registry.put_group(replace(now, starting=False))


def _take_down(folder: str, registry: Registry) -> None:
    """Unmount what this process started and tidy up after it, also after what crashed."""
    group = registry.find_group(folder)
    me = (os.getpid(), read_start_time(os.getpid()))
    if group is not None and (group.pid, group.started) == me:
        try:
            unmount_group(group, registry, force=True)
        except MountError as error:
            log.warning("%s", error)  # what went wrong first is what is raised


def _supervise(children: Mapping[int, str], numbers: Collection[int], stay: Foreground) -> None:
    """Wait for the first end of a child, or a signal, and end the others. MountError if one broke.

    The signals `numbers` are blocked, and taken one by one: none is lost, none raises in between.
    """
    left, broken = dict(children), []
    stopped_at: float | None = None
    while True:
        for pid, status in _reap(left):
            name = left.pop(pid)
            if status != 0:
                broken.append(f"{name} ({describe_end(status)})")
            elif stopped_at is None:
                log.info("entry %s is unmounted: unmounting all", name)
        if not left:
            break
        if stopped_at is None and len(left) < len(children):
            stopped_at = _stop(left, stay)
        received = _next_signal(numbers, stopped_at)
        if stopped_at is None and received is not None:
            stopped_at = _obey(signal.Signals(received), left, stay)
        if stopped_at is not None and time.monotonic() - stopped_at > END_S:
            _send(left, signal.SIGKILL)
    if broken:
        raise MountError("lost the mount of entry", ", ".join(broken))


def _reap(pids: Iterable[int]) -> list[tuple[int, int]]:
    """Which of some children have ended, each with its wait status."""
    looked = [os.waitpid(pid, os.WNOHANG) for pid in pids]
    return [(pid, status) for pid, status in looked if pid]


def _next_signal(numbers: Collection[int], stopped_at: float | None) -> int | None:
    """The next of some signals; None if none came for a while, once there is a deadline."""
    if stopped_at is None:
        return signal.sigwait(numbers)
    received = signal.sigtimedwait(numbers, _LOOK_EACH_S)
    return received.si_signo if received else None


def _obey(number: signal.Signals, pids: Iterable[int], stay: Foreground) -> float | None:
    """Do what a signal says; when the members were asked to end, if they were."""
    if number in STOPPING or (number is signal.SIGHUP and stay.hangup_ends):
        stopped_at = _stop(pids, stay)
        log.info("%s: unmounting all", number.name)
        return stopped_at
    if number is signal.SIGHUP:
        stay.notifier.reloading()
        stay.reload()
        _send(pids, signal.SIGHUP)
        stay.notifier.reloaded()
    return None


def _stop(pids: Iterable[int], stay: Foreground) -> float:
    """Ask to end; when that was."""
    _send(pids, signal.SIGTERM)
    stay.notifier.stopping()
    return time.monotonic()


def _send(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:  # not reaped yet: no other process can have the pid
        os.kill(pid, number)


@contextmanager
def _blocking(*numbers: signal.Signals) -> Iterator[Collection[int]]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield numbers
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
