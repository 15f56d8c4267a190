"""Cutting the kernel's connection to a daemon: the last resort for who waits for its answer.

Who asked a FUSE daemon waits in the kernel, beyond all signals once the daemon has taken the
request. When that never answers, also after SIGKILL (a thread of it waits for itself, another
process has its device), the connection can still be aborted, in the control file system of FUSE:
https://docs.kernel.org/filesystems/fuse/fuse.html. Everybody who waits then gets an error.

Owns that file system's form. Connections have numbers, which the kernel gives anew once a mount is
gone: so a number is used only while the mount is held, or is seen in the table.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from hffs.errors import MountError
from hffs.mount.lifecycle.limits import ABORT_S
from hffs.mount.mountinfo import Health, Mounted, check_health, find_mount

_CONTROL = "/sys/fs/fuse/connections"

# In a table of mounts of its own: nobody else sees it there, and it goes with the program.
_MOUNT_AND_ABORT = f"mount -t fusectl none {_CONTROL} && echo 1 > {_CONTROL}/$1/abort"


class Connection:
    """The connection of a mount that is held: it may be detached and keeps its number."""

    def __init__(self, mounted: Mounted, held: int) -> None:
        self._mounted, self._held = mounted, held

    def is_stuck(self) -> bool:
        """Whether somebody who asks it waits."""
        return check_health(f"/proc/self/fd/{self._held}") is Health.STUCK

    def abort(self) -> None:
        """Have everybody who waits get an error. MountError where this user cannot."""
        _abort(self._mounted)


@contextmanager
def holding(mounted: Mounted) -> Iterator[Connection | None]:
    """The connection of a mount, which cannot be unmounted meanwhile unless lazily.

    None where it is gone, or not to be reached from here.
    """
    try:
        # Asks the daemon nothing (open(2), O_PATH).
        held = os.open(mounted.mountpoint, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        yield None
        return
    try:
        found = find_mount(mounted.mountpoint)
        is_same = found is not None and found.device == mounted.device
        yield Connection(mounted, held) if is_same else None
    finally:
        os.close(held)


def abort_own(mountpoint: str, device: str) -> None:
    """Abort what this process has mounted, if it is still there."""
    found = find_mount(mountpoint)
    if found is not None and found.device == device:
        _abort(found)


def _abort(mounted: Mounted) -> None:
    number = mounted.device.partition(":")[2]
    try:
        control = os.open(f"{_CONTROL}/{number}/abort", os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        if find_mount(_CONTROL) is None:
            _abort_apart(mounted.mountpoint, number)
        return  # else it is gone
    except OSError as error:
        why = error.strerror or str(error)
        raise MountError("cannot abort", mounted.mountpoint, why=why, fix="ask root") from error
    try:
        os.write(control, b"1")
    finally:
        os.close(control)


def _abort_apart(mountpoint: str, number: str) -> None:
    """Where the control file system is not mounted: mount it for the moment, as root may."""
    command = ["unshare", "--mount", "sh", "-c", _MOUNT_AND_ABORT, "sh", number]
    why = ""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program; the number is the kernel's
            command, capture_output=True, text=True, timeout=ABORT_S, check=False
        )
        if done.returncode:
            why = "fusectl is not mounted, and this user cannot mount it"
    except FileNotFoundError:
        why = "fusectl is not mounted, and unshare is missing"
    except subprocess.TimeoutExpired:
        why = f"it took more than {ABORT_S:.0f} s"
    if why:
        fix = f"as root: mount -t fusectl none {_CONTROL}; then try again"
        raise MountError("cannot abort", mountpoint, why=why, fix=fix)
