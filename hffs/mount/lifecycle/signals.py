"""Which signal does what to a mount.

A signal whose default is to end the process would leave the mount behind, dead: so every one of
them stops it, is taken for something else, or is ignored. What is left to the kernel is what no
process survives sensibly: SIGKILL, and faults of native code.
"""

from __future__ import annotations

import os
import signal

STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGXCPU)

IGNORED = (
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
    signal.SIGVTALRM,
    signal.SIGPROF,
    signal.SIGIO,
    signal.SIGPWR,
    signal.SIGSTKFLT,
    *range(signal.SIGRTMIN, signal.SIGRTMAX + 1),
)
"""SIGPIPE and SIGXFSZ are ignored by Python already."""


def has_terminal() -> bool:
    """Whether this process ends when its terminal is gone, rather than reload at SIGHUP.

    A service has none, nor has what `setsid` started; `nohup` says by SIG_IGN that it shall go on.
    """
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return False
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
