"""The one place where a request of the event loop waits for work done on a thread.

A reader that is told to end stays until its request is answered: the kernel waits for what a daemon
has taken on, and tells it of the signal by a request that pyfuse3 keeps to itself. A trainer would
hold its GPU, deaf to Ctrl-C, for as long as a host is silent. So this looks for such signals.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import signal
from concurrent.futures import Future
from typing import TypeVar

import pyfuse3
import trio

from hffs.errors import DeadlineError

log = logging.getLogger(__name__)

T = TypeVar("T")

REQUEST_DEADLINE_S = 60.0
"""No request waits longer; the work itself goes on and serves whoever asks next."""


_LOOK_S = 1.0
_SIGNALS = re.compile(rb"^(SigPnd|ShdPnd|SigBlk):\s*([0-9a-f]+)", re.MULTILINE)
_ENDING = sum(1 << (each - 1) for each in (signal.SIGKILL, signal.SIGINT, signal.SIGTERM))
"""Of one that kills, the kernel makes SIGKILL; others of these are handled by their program. What
else a program may wait for (SIGCHLD, SIGALRM) is no reason to fail a call that seldom is restarted.
"""


async def wait_for(work: Future[T], what: str, reader: int = 0) -> T:
    """Result of work on a thread, DeadlineError past `REQUEST_DEADLINE_S`, which the log tells.

    `reader` is the thread that waits, as the kernel names it, 0 if it is not known; where it is
    told to end meanwhile this is FUSEError (EINTR). Giving up the wait leaves the work alone:
    others may be waiting for the same result.
    """
    if not work.done():
        with trio.move_on_after(REQUEST_DEADLINE_S):
            await _wait_for_end(work, reader)
        if not work.done():
            why = f"no answer within {REQUEST_DEADLINE_S:.0f} s"
            late = DeadlineError("cannot read", what, why=why)
            log.error("%s", late)  # the work does not know of it, and may end well
            raise late
    return work.result()


async def _wait_for_end(work: Future[T], reader: int) -> None:
    finished = trio.Event()
    token = trio.lowlevel.current_trio_token()

    def wake(_: Future[T]) -> None:
        with contextlib.suppress(trio.RunFinishedError):
            token.run_sync_soon(finished.set)

    work.add_done_callback(wake)
    while not finished.is_set():
        with trio.move_on_after(_LOOK_S):
            await finished.wait()
        if not finished.is_set() and is_told_to_end(reader):
            raise pyfuse3.FUSEError(errno.EINTR)


def is_told_to_end(thread: int) -> bool:
    """Whether a signal that ends a program waits for a thread; False where it cannot be seen."""
    try:
        with open(f"/proc/{thread}/status", "rb") as file:
            found = dict(_SIGNALS.findall(file.read()))
        pending, shared, blocked = (
            int(found[key], 16) for key in (b"SigPnd", b"ShdPnd", b"SigBlk")
        )
    except (OSError, KeyError):
        return False
    return bool((pending | shared) & ~blocked & _ENDING)
