"""What this process may do without the help of fusermount3, which mounts for everybody else.

Root may mount, and so may a service that was given the capability alone. A container's root without
it is still told what root is told: there the kernel, and then libfuse, says no.
"""

from __future__ import annotations

import os
from pathlib import Path

from hffs.data.child import read_capabilities

STATUS = Path("/proc/self/status")
_CAP_SYS_ADMIN = 1 << 21  # linux/capability.h


def may_mount() -> bool:
    """Whether mount(2) and umount(2) are for this process to call."""
    return os.geteuid() == 0 or bool(read_capabilities("CapEff", STATUS) & _CAP_SYS_ADMIN)
