"""Threads that work for a view, and what comes of their work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from hffs.errors import WorkerError

log = logging.getLogger(__name__)

S = TypeVar("S")
T = TypeVar("T")


class Pool(ThreadPoolExecutor):
    """A pool of threads that tells how much is left to do."""

    _has_told = False

    @property
    def queued(self) -> int:
        """Calls that no thread has begun."""
        return self._work_queue.qsize()

    def _adjust_thread_count(self) -> None:
        """Begin a thread for what was just queued, if it needs one; WorkerError if there is none.

        Threads that are there already do it later, where no other can begin.
        """
        try:
            super()._adjust_thread_count()
        except RuntimeError as error:
            if self._threads:
                return
            self._work_queue.get_nowait()  # nobody else takes of it
            why = f"no thread to do it: {error}"
            raise self._tell(WorkerError("cannot work on a file", why=why)) from error

    def _tell(self, error: WorkerError) -> WorkerError:
        """Log the first of them."""
        if not self._has_told:
            self._has_told = True
            log.error("%s", error)
        return error


def then(before: Future[S], change: Callable[[S], T]) -> Future[T]:
    """What comes of a Future, changed; it fails as that does."""
    after: Future[T] = Future()

    def settle(done: Future[S]) -> None:
        if done.cancelled():
            after.cancel()
        elif error := done.exception():
            after.set_exception(error)
        else:
            after.set_result(change(done.result()))

    before.add_done_callback(settle)
    return after
