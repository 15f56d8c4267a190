"""What the kernel has mounted, from /proc/self/mountinfo: the only place that tells the truth.

After a daemon was killed, `os.path.ismount()` and `exists()` both say False on its mount, and
mounting over it fails; the kernel's table still lists it.
"""

from __future__ import annotations

import errno
import os
import re
import threading
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

FS_TYPE = "fuse.hffs"
_ANSWER_DEADLINE_S = 2.0
_TABLE = Path("/proc/self/mountinfo")


@dataclass(frozen=True, slots=True)
class Mounted:
    """One line of the table."""

    mountpoint: str
    device: str
    fs_type: str
    source: str
    options: frozenset[str]


class Health(Enum):
    """How a mount answers."""

    OK = "ok"
    DEAD = "dead"
    STUCK = "stuck"


def parse_mountinfo(text: str) -> list[Mounted]:
    """Every mount of a mountinfo table, in its order (proc_pid_mountinfo(5))."""
    table = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(" "), after.split(" ")
        if len(fields) < 6 or len(kind) < 2:
            continue
        options = frozenset(fields[5].split(","))
        table.append(Mounted(_unescape(fields[4]), fields[2], kind[0], _unescape(kind[1]), options))
    return table


def _unescape(field: str) -> str:
    """Undo the kernel's octal escapes of space, tab, newline and backslash."""
    raw = re.sub(
        rb"\\([0-7]{3})",
        lambda match: bytes([int(match[1], 8)]),
        field.encode(errors="surrogateescape"),
    )
    return os.fsdecode(raw)


def read_mounts() -> list[Mounted]:
    """Every mount that this process sees."""
    return parse_mountinfo(_TABLE.read_text(errors="surrogateescape"))


def find_mount(mountpoint: str) -> Mounted | None:
    """What is mounted exactly at an absolute path; of several, the one on top."""
    found = [mounted for mounted in read_mounts() if mounted.mountpoint == mountpoint]
    return found[-1] if found else None


def check_health(mountpoint: str) -> Health:
    """Ask a mount's daemon a question, with a deadline: a stuck one must not stop the asker.

    The question is statvfs: a stat of the root would be answered from the kernel's cache.
    """
    outcome: list[Health] = []

    def ask() -> None:
        try:
            os.statvfs(mountpoint)
        except OSError as error:
            # ENOTCONN: the daemon is gone. EACCES: another user's mount, alive and private.
            outcome.append(Health.DEAD if error.errno == errno.ENOTCONN else Health.OK)
        else:
            outcome.append(Health.OK)

    asker = threading.Thread(target=ask, daemon=True)
    asker.start()
    asker.join(_ANSWER_DEADLINE_S)
    return outcome[0] if outcome else Health.STUCK
