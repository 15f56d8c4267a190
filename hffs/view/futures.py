"""What comes of work on a thread, changed before anybody waits for it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")


def change_result(before: Future[S], change: Callable[[S], T]) -> Future[T]:
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
