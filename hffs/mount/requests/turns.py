"""How soon a process that answers gets a core: at once, also where all are busy.

A reader waits for an answer, which takes some 20 us; then the core is the reader's again. Who asks
for short turns is let in before who takes long ones (the slice of EEVDF, Linux 6.12; earlier
kernels take no notice). It needs no privilege, and gives no more of the cores than before.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
import struct

log = logging.getLogger(__name__)

_SET_ATTR = {"x86_64": 314, "aarch64": 274, "riscv64": 274}
"""Numbers of the call sched_setattr, for which older C libraries have no name."""

_ATTR = struct.Struct("=IIQiIQQQ")  # linux/sched/types.h, version 0
_TURN_NS = 100_000  # the least that the kernel knows


def ask_for_short_turns() -> None:
    """For this thread, and for all threads and processes that it starts from now on."""
    number = _SET_ATTR.get(platform.machine())
    if number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    nice = os.getpriority(os.PRIO_PROCESS, 0)
    wanted = _ATTR.pack(_ATTR.size, os.SCHED_OTHER, 0, nice, 0, _TURN_NS, 0, 0)
    if ctypes.CDLL(None, use_errno=True).syscall(number, 0, wanted, 0):
        log.debug("no short turns: %s", os.strerror(ctypes.get_errno()))
