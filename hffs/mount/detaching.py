"""Taking one mount out of the kernel's table, as root, as a service that may, or as its user."""

from __future__ import annotations

import ctypes
import os
import subprocess
from pathlib import Path

from hffs.errors import MountError
from hffs.mount.lifecycle.limits import DETACH_S
from hffs.mount.privileges import may_mount

INSTALL_FUSE = "install it (Debian, Ubuntu: apt-get install fuse3)"
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8  # linux/fs.h


def detach(place: Path, *, lazy: bool = True) -> None:
    """Take a mount away; lazily: at once for new users, later for those who are still in it."""
    if os.geteuid() != 0 and may_mount():
        _call_umount(place, lazy=lazy)
        return
    if os.geteuid() == 0:
        command = ["umount", "-i", *(["-l"] if lazy else []), "--", str(place)]
    else:
        command = ["fusermount3", "-u", *(["-z"] if lazy else []), "--", str(place)]
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs, arguments are not parsed by a shell
            command, capture_output=True, text=True, timeout=DETACH_S, check=False
        )
    except FileNotFoundError as error:
        raise MountError(
            "cannot unmount", str(place), why=f"{command[0]} is missing", fix=INSTALL_FUSE
        ) from error
    except subprocess.TimeoutExpired as error:
        why = f"{command[0]} did not end within {DETACH_S:.0f} s"
        raise MountError("cannot unmount", str(place), why=why, fix="try --force") from error
    if done.returncode != 0:
        raise MountError("cannot unmount", str(place), why=done.stderr.strip() or "unknown reason")


def _call_umount(place: Path, *, lazy: bool) -> None:
    """As umount(8), which goes by the user and not by what the user may do."""
    flags = _UMOUNT_NOFOLLOW | (_MNT_DETACH if lazy else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.umount2(os.fsencode(place), flags) != 0:
        why = os.strerror(ctypes.get_errno())  # "Device or resource busy" where it is in use
        raise MountError("cannot unmount", str(place), why=why)
