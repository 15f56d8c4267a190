"""Everything that can be known to be wrong with a mount before anything is started."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Container
from pathlib import Path

from hffs.errors import MountError
from hffs.mount.mountinfo import FS_TYPE, Health, Mounted, check_health, find_mount

DEVICE = Path("/dev/fuse")
_INSTALL = "install it (Debian, Ubuntu: apt-get install fuse3)"
_DETACH_DEADLINE_S = 10


def check_fuse() -> None:
    """MountError where this host cannot mount anything through FUSE."""
    if not DEVICE.exists():
        raise MountError(
            "cannot mount", why=f"there is no {DEVICE}",
            fix="load the kernel module (modprobe fuse), or give the container --device /dev/fuse",
        )  # fmt: skip
    if os.geteuid() == 0:
        return
    if shutil.which("fusermount3") is None:
        raise MountError("cannot mount", why="fusermount3 is missing", fix=_INSTALL)
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise MountError(
            "cannot mount", why=f"this user may not open {DEVICE}",
            fix="ask an administrator for chmod 0666 /dev/fuse",
        )  # fmt: skip


def prepare_mountpoint(path: Path) -> Path:
    """The absolute mount point, ready to be mounted on: an empty folder with nothing on it.

    A mount of hffs whose daemon is dead is taken away first.
    """
    place = Path(os.path.abspath(path))
    taken = find_mount(str(place))
    if taken is not None and is_dead(taken):
        detach(place)
        taken = find_mount(str(place))
    if taken is not None:
        fix = (
            f"`hffs umount {place}` first" if taken.fs_type == FS_TYPE else "choose another folder"
        )
        raise MountError(
            "cannot mount on", str(place), why=f"{taken.fs_type} is mounted there already", fix=fix
        )
    check_folder(place)
    return Path(os.path.realpath(place))


def is_dead(mounted: Mounted) -> bool:
    """Whether a mount is one of hffs that nobody answers for any more."""
    return mounted.fs_type == FS_TYPE and check_health(mounted.mountpoint) is Health.DEAD


def check_folder(place: Path, known: Container[str] = ()) -> None:
    """MountError unless a folder can be mounted on: nothing is in it but what is `known`."""

    def refuse(why: str, fix: str) -> MountError:
        return MountError("cannot mount on", str(place), why=why, fix=fix)

    try:
        with os.scandir(place) as entries:
            occupied = next((entry.name for entry in entries if entry.name not in known), None)
    except FileNotFoundError as error:
        raise refuse("no such folder", f"mkdir -p {place}") from error
    except NotADirectoryError as error:
        raise refuse("it is not a folder", "choose a folder") from error
    except OSError as error:
        if error.errno == errno.EACCES:
            raise refuse("no permission to read it", "choose a folder of your own") from error
        raise refuse(os.strerror(error.errno or errno.EIO), "choose another folder") from error
    if occupied is not None:
        raise refuse(f"the folder is not empty ({occupied} is in it)", "choose an empty one")
    if os.geteuid() != 0 and not os.access(place, os.W_OK):
        raise refuse("no permission to write to it", "choose a folder of your own")


def detach(place: Path, *, lazy: bool = True) -> None:
    """Take a mount away; lazily: at once for new users, later for those who are still in it."""
    if os.geteuid() == 0:
        command = ["umount", "-i", *(["-l"] if lazy else []), "--", str(place)]
    else:
        command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(place)]
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs, arguments are not parsed by a shell
            command, capture_output=True, text=True, timeout=_DETACH_DEADLINE_S, check=False
        )
    except FileNotFoundError as error:
        raise MountError(
            "cannot unmount", str(place), why=f"{command[0]} is missing", fix=_INSTALL
        ) from error
    except subprocess.TimeoutExpired as error:
        why = f"{command[0]} did not end within {_DETACH_DEADLINE_S} s"
        raise MountError("cannot unmount", str(place), why=why, fix="try --force") from error
    if done.returncode != 0:
        raise MountError("cannot unmount", str(place), why=done.stderr.strip() or "unknown reason")
