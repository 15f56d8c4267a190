"""The capabilities of this process, which a child that reads what strangers made has to give up.

A service that mounts has CAP_SYS_ADMIN as an ambient one, which all that it starts would have too.
Owns the calls to the kernel. Must not know what a process does.
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

_VERSION_3 = 0x20080522  # linux/capability.h: two words of each set
_HEADER, _SETS = struct.Struct("=Ii"), struct.Struct("=6I")


def read_capabilities(kind: str = "CapPrm", status: Path = Path("/proc/self/status")) -> int:
    """One of the sets, one bit each (proc_pid_status(5)); 0 where it is not told."""
    try:
        lines = status.read_text(errors="replace").splitlines()
    except OSError:
        return 0
    found = [line.split()[1] for line in lines if line.startswith(f"{kind}:")]
    return int(found[0], 16) if found else 0


def drop_capabilities() -> None:
    """Give up all of them, and with them those that programs would inherit. Raises OSError."""
    if not read_capabilities():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(_HEADER.pack(_VERSION_3, 0), _SETS.pack(*[0] * 6)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
