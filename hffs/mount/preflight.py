"""Everything that can be known to be wrong with a mount before anything is started."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Container
from pathlib import Path

from hffs.errors import MountError
from hffs.mount.detaching import INSTALL_FUSE
from hffs.mount.layers import find_shown
from hffs.mount.mountinfo import FS_TYPE, find_mount
from hffs.mount.privileges import may_mount

DEVICE = Path("/dev/fuse")
_AUTOMOUNT = "autofs"


def check_fuse() -> None:
    """MountError where this host cannot mount anything through FUSE."""
    if not DEVICE.exists():
        raise MountError(
            "cannot mount", why=f"there is no {DEVICE}",
            fix="load the kernel module (modprobe fuse), or give the container --device /dev/fuse",
        )  # fmt: skip
    if os.geteuid() == 0:
        return
    if not may_mount() and shutil.which("fusermount3") is None:
        raise MountError("cannot mount", why="fusermount3 is missing", fix=INSTALL_FUSE)
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        raise MountError(
            "cannot mount", why=f"this user may not open {DEVICE}",
            fix="ask an administrator for chmod 0666 /dev/fuse",
        )  # fmt: skip


def prepare_mountpoint(path: Path) -> Path:
    """The absolute mount point, ready to be mounted on: an empty folder with nothing on it.

    A mount of hffs whose daemon is dead is taken away first. The trap of an automount stays: the
    kernel waits with everybody who opens it until this mount is on top, with this process too.
    """
    place = Path(os.path.abspath(path))
    shown = find_shown(str(place))
    if shown is not None and shown.is_dead:
        shown.detach(lazy=True)
        shown = None
    if is_automount(place):
        return Path(os.path.realpath(place))
    taken = find_mount(str(place))
    if taken is not None:
        kind, fix = taken.fs_type, "choose another folder"
        if shown is not None:
            kind, fix = FS_TYPE, f"`hffs umount {place}` first"
        raise MountError(
            "cannot mount on", str(place), why=f"{kind} is mounted there already", fix=fix
        )
    check_folder(place)
    return Path(os.path.realpath(place))


def is_automount(place: Path) -> bool:
    """Whether the kernel has whoever opens an absolute path wait for a mount on it."""
    taken = find_mount(str(place))
    return taken is not None and taken.fs_type == _AUTOMOUNT


def check_folder(place: Path, known: Container[str] = ()) -> None:
    """MountError unless a folder can be mounted on: nothing is in it but what is `known`."""

    def refuse(why: str, fix: str) -> MountError:
        return MountError("cannot mount on", str(place), why=why, fix=fix)

    if is_automount(place):
        raise refuse("nothing can be made in an automount", "mount one entry there (--entry)")
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
    if not may_mount() and not os.access(place, os.W_OK):
        raise refuse("no permission to write to it", "choose a folder of your own")
