"""Which signal does what to a mount.

A signal whose default is to end the process would leave the mount behind, dead: so every one of
them stops it, is taken for something else, or is ignored. What is left to the kernel is what no
process survives sensibly: SIGKILL, and faults of native code.
"""

from __future__ import annotations

import faulthandler
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


def survive() -> None:
    """From now on no signal ends this process that would only leave mounts behind; SIGQUIT has it
    say where it is.
    """
    for number in IGNORED:
        signal.signal(number, signal.SIG_IGN)
    # By C code: it answers also where Python is stuck.
    faulthandler.enable(2)
    faulthandler.register(signal.SIGQUIT, file=2, all_threads=True)


def stop_no_more() -> None:
    """What this process does has ended: a signal would only make a failure of that."""
    for number in (*STOPPING, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


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
