"""What a process does first that reads what strangers made, for another one of hffs: it ends with
that, goes before all others where memory runs out, and has no capabilities.

A service that mounts has CAP_SYS_ADMIN as an ambient one, which all that it starts would have too.
Owns the calls to the kernel. Must not know what a process does then.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import sys
from contextlib import suppress
from pathlib import Path

from hffs.data.proc import OWN_STATUS, read_status

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_VERSION_3 = 0x20080522  # linux/capability.h: two words of each set
_HEADER, _SETS = struct.Struct("=Ii"), struct.Struct("=6I")


def follow(parent: int, number: signal.Signals) -> bool:
    """Have the kernel send this process a signal when its parent has ended, even by a kill; False
    where it was gone before the kernel knew.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(number), 0, 0, 0)
    return os.getppid() == parent


def die_with(parent: int) -> None:
    """Have the kernel end this process with its parent."""
    if not follow(parent, signal.SIGKILL):
        sys.exit()


def offer_memory() -> None:
    """Where memory runs out, have the kernel kill this process before any other: how much it takes
    is up to the data set that it reads.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def read_capabilities(kind: str = "CapPrm", status: Path = OWN_STATUS) -> int:
    """One of the sets, one bit each; 0 where it is not told."""
    return int(read_status(status).get(kind, ["0"])[0], 16)


def drop_capabilities() -> None:
    """Give up all of them, and with them those that programs would inherit. Raises OSError."""
    if not read_capabilities():
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset(_HEADER.pack(_VERSION_3, 0), _SETS.pack(*[0] * 6)) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
