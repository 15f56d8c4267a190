"""An overlay file system: a folder that can be written, shown over one that cannot.

Owns which program makes one here, and with which options. It must not know what lies below, nor
why. The kernel's overlayfs is as fast as what lies below, and takes root; fuse-overlayfs takes a
daemon of its own for every request, and works for any user, and where the kernel does not accept
the file system of the upper folder (another overlay, as in a container; NFS).

Folders are given by one that holds all three, as relative names: neither program then has to parse
commas, colons or backslashes of anybody's path.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from hffs.errors import MountError
from hffs.mount.detaching import detach
from hffs.mount.mountinfo import find_mount

LOWER, UPPER, WORK = "lower", "upper", "work"
OVERLAY_TYPES = ("overlay", "fuse.fuse-overlayfs")
_DEADLINE_S = 15
_FOLDERS = f"lowerdir={LOWER},upperdir={UPPER},workdir={WORK}"
_CAREFUL = "nosuid,nodev,noexec"  # as the data set below: nothing of it is to be run
# What would tie the upper folder to this very mount of the lower one is off: it is there again,
# as another mount, after each start. Inodes of the lower files stay what they are.
_KERNEL = f"{_FOLDERS},index=off,redirect_dir=off,metacopy=off,xino=off,{_CAREFUL}"
# Root of a user namespace (a rootless container) may not set the attributes that this writes to.
_KERNEL_IN_NAMESPACE = f"{_FOLDERS},userxattr,index=off,xino=off,{_CAREFUL}"
# Each write goes to the disk's file system at once, so that a kill of the program loses none.
_FUSE = f"{_FOLDERS},writeback=0,{_CAREFUL}"
_INSTALL = "install fuse-overlayfs (Debian, Ubuntu: apt-get install fuse-overlayfs)"
_ELSEWHERE = "choose a folder on a disk of this host (ext4, xfs, btrfs, tmpfs)"


def check_overlay() -> None:
    """MountError where this user can make no overlay, whatever the folders are."""
    if os.geteuid() != 0 and shutil.which("fuse-overlayfs") is None:
        why = "only root may use the kernel's overlayfs, and fuse-overlayfs is missing"
        raise MountError("cannot make a writable layer", why=why, fix=_INSTALL)


def mount_overlay(folder: Path, mountpoint: Path) -> None:
    """Show `upper` over `lower`, both in a folder, on a mount point; `work` is the overlay's own.

    What lies below must answer meanwhile. MountError says why neither program could.
    """
    programs = [["fuse-overlayfs", "-o", _FUSE, str(mountpoint)]]
    if os.geteuid() == 0:
        options = _KERNEL_IN_NAMESPACE if _is_in_user_namespace() else _KERNEL
        kernel = ["mount", "-i", "-t", "overlay", "-o", options, "overlay", str(mountpoint)]
        programs.insert(0, kernel)
    reasons = []
    for program in programs:
        reason = _run(program, folder) or _find_fault(mountpoint)
        if not reason:
            return
        reasons.append(reason)
    why = "; ".join(reasons)
    fix = f"{_ELSEWHERE}, or {_INSTALL}" if "is missing" in why else _ELSEWHERE
    raise MountError("cannot make a writable layer in", str(folder), why=why, fix=fix)


def _is_in_user_namespace() -> bool:
    """Whether ids here are not those of the host (user_namespaces(7))."""
    return Path("/proc/self/uid_map").read_text().split() != ["0", "0", "4294967295"]


def _run(command: list[str], folder: Path) -> str:
    """Why a program failed, or an empty string."""
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs, arguments are not parsed by a shell
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_DEADLINE_S,
            check=False,
        )
    except FileNotFoundError:
        return f"{command[0]} is missing"
    except subprocess.TimeoutExpired:
        return f"{command[0]} did not end within {_DEADLINE_S} s"
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return said[-1] if said else f"{command[0]} ended with {done.returncode}"


def _find_fault(mountpoint: Path) -> str:
    """What keeps a program that ended well from having made what was asked, or an empty string."""
    made = find_mount(str(mountpoint))
    if made is None or made.fs_type not in OVERLAY_TYPES:
        return "it is not there"
    if os.statvfs(mountpoint).f_flag & os.ST_RDONLY:
        detach(mountpoint, lazy=False)
        return "the kernel could make it for reading only there"
    return ""
