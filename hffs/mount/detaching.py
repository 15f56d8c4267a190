"""Taking one mount out of the kernel's table, as root or as a user who made it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from hffs.errors import MountError
from hffs.mount.limits import DETACH_S

INSTALL_FUSE = "install it (Debian, Ubuntu: apt-get install fuse3)"


def detach(place: Path, *, lazy: bool = True) -> None:
    """Take a mount away; lazily: at once for new users, later for those who are still in it."""
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
