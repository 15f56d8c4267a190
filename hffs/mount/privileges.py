"""What this process may do without the help of fusermount3, which mounts for everybody else.

Root may mount, and so may a service that was given the capability alone. A container's root without
it is still told what root is told: there the kernel, and then libfuse, says no.
"""

from __future__ import annotations

import os
from pathlib import Path

STATUS = Path("/proc/self/status")
_CAP_SYS_ADMIN = 1 << 21  # linux/capability.h


def may_mount() -> bool:
    """Whether mount(2) and umount(2) are for this process to call."""
    return os.geteuid() == 0 or bool(_read_effective() & _CAP_SYS_ADMIN)


def _read_effective() -> int:
    """The effective capabilities, one bit each (proc_pid_status(5))."""
    try:
        lines = STATUS.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith("CapEff:")]
    return int(found[0], 16) if found else 0
