"""The one place where a request of the event loop waits for work done on a thread."""

from __future__ import annotations

import contextlib
import logging
from concurrent.futures import Future
from typing import TypeVar

import trio

from hffs.errors import DeadlineError

log = logging.getLogger(__name__)

T = TypeVar("T")

REQUEST_DEADLINE_S = 60.0
"""No request waits longer; the work itself goes on and serves whoever asks next."""


async def wait_for(work: Future[T], what: str) -> T:
    """Result of work on a thread, DeadlineError past `REQUEST_DEADLINE_S`, which the log tells.

    Cancelling the wait leaves the work alone: others may be waiting for the same result.
    """
    if not work.done():
        finished = trio.Event()
        token = trio.lowlevel.current_trio_token()

        def wake(_: Future[T]) -> None:
            with contextlib.suppress(trio.RunFinishedError):
                token.run_sync_soon(finished.set)

        work.add_done_callback(wake)
        with trio.move_on_after(REQUEST_DEADLINE_S):
            await finished.wait()
        if not work.done():
            why = f"no answer within {REQUEST_DEADLINE_S:.0f} s"
            late = DeadlineError("cannot read", what, why=why)
            log.error("%s", late)  # the work does not know of it, and may end well
            raise late
    return work.result()
