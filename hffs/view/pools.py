"""Threads that work for a view, and what comes of their work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


class Pool(ThreadPoolExecutor):
    """A pool of threads that tells how much is left to do."""

    @property
    def queued(self) -> int:
        """Calls that no thread has begun."""
        return self._work_queue.qsize()


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
