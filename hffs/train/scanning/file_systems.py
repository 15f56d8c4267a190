"""What kind of file system a folder is on, by what the kernel has mounted (proc_pid_mountinfo(5)).

Owns telling a mount of hffs, and what is far away, from a disk. Must not know what is done with it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

_TABLE = Path("/proc/self/mountinfo")
VIEW = "user.hffs.view"
"""What the root of a mount says of its view, as JSON."""

OURS = "fuse.hffs"
"""The type of a mount of hffs."""

_FAR = ("fuse", "nfs", "cifs", "smb", "9p", "virtiofs", "ceph", "lustre", "gpfs", "beegfs", "afs")


def find_type(folder: int) -> str:
    """Type of the file system of an open folder, empty where the table does not have it.

    By its device: a path may be mounted on more than once.
    """
    device = os.fstat(folder).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in _TABLE.read_text(errors="surrogateescape").splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        if len(fields) > 2 and fields[2] == wanted:
            return after.split(" ")[0]
    return ""


def is_far(kind: str) -> bool:
    """Whether a type is of those whose answers have to be waited for."""
    return kind.startswith(_FAR)


def find_view(folder: int, kind: str) -> str | None:
    """Fingerprint of the view that an open folder is the root of, None where it is not.

    A writable layer over a mount tells of the same view, and may hold other files: so only a file
    system of ours is believed. Of folders in it none has the attribute.
    """
    if kind != OURS:
        return None
    try:
        fingerprint = json.loads(os.getxattr(folder, VIEW))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return fingerprint if isinstance(fingerprint, str) and fingerprint else None
