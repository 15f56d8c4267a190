"""The one place where a request of the event loop waits for work done on a thread.

A reader that is killed stays until its request is answered: the kernel waits for what a daemon has
taken on, and tells it of the signal by a request that pyfuse3 keeps to itself. A trainer would hold
its GPU for as long as a host is silent. So this looks whether whoever waits is still wanted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import re
import signal
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

import pyfuse3
import trio

from hffs.errors import DeadlineError

log = logging.getLogger(__name__)

T = TypeVar("T")

REQUEST_DEADLINE_S = 60.0
"""No request waits longer; the work itself goes on and serves whoever asks next."""


_LOOK_S = 1.0
_PENDING = re.compile(rb"^SigPnd:\s*([0-9a-f]+)", re.MULTILINE)


async def wait_for(work: Future[T], what: str, reader: int = 0) -> T:
    """Result of work on a thread, DeadlineError past `REQUEST_DEADLINE_S`, which the log tells.

    `reader` is the thread that waits, as the kernel names it, 0 if it is not known; where it is
    killed meanwhile this is FUSEError. Giving up the wait leaves the work alone: others may be
    waiting for the same result.
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
        if not finished.is_set() and is_killed(reader):
            raise pyfuse3.FUSEError(errno.EINTR)


def is_killed(thread: int) -> bool:
    """Whether a thread was sent what ends it, and has not ended yet; False if it cannot be seen."""
    try:
        told = _PENDING.search(Path(f"/proc/{thread}/status").read_bytes())
    except OSError:
        return False
    return told is not None and bool(int(told[1], 16) >> (signal.SIGKILL - 1) & 1)
