"""A process that answers tasks for `hffs.data.engines.local`, on one socket.

Owns the form of what goes over it, and this end of it. Must not know who asks, nor what the work
is. Light to import. Invariants: what is sent here is taken at once, so that neither end ever waits
for the other to read; the process ends with the one that asks, even one that is killed. What is
unpickled comes from that process alone: the socket has no name.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from queue import SimpleQueue
from types import TracebackType
from typing import Any, Self

from hffs.errors import HffsError

ANSWER, REFUSAL, FAULT = b"+", b"-", b"!"
"""What a message of a worker begins with; behind it stands a pickled result, a pickled HffsError,
or in words what should not have happened.
"""

END = b""
"""The message after the last task."""

_ERROR_CHARS = 300


def main(descriptor: int, device: str) -> None:
    """Make the worker that comes first on an inherited socket, and answer the tasks behind it."""
    channel: Connection[Any, Any] = Connection(descriptor)
    with _Answering(channel) as answering:
        make, at_once = pickle.loads(channel.recv_bytes())  # noqa: S301 - our own parent's
        worker = make(device)
        for first in answering.start(at_once):
            for result in worker(answering.tasks(first)):
                answering.answer(result)


class _Answering:
    """Tasks that came and have no answer yet; as a context, says what ended it, and ends quietly.

    A context, as in `hffs.data.filters.worker`: nothing but a guard of the mount may catch
    everything, and here the process ends.
    """

    def __init__(self, channel: Connection[Any, Any]) -> None:
        self._channel = channel
        self._came: SimpleQueue[bytes] = SimpleQueue()
        self._at_once = 1
        self._unanswered = 0
        self._has_ended = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> bool:
        if isinstance(error, HffsError):
            self._send(REFUSAL + pickle.dumps(error))
            return True
        if error is not None:
            words = f"{type(error).__name__}: {error}"[:_ERROR_CHARS]
            self._send(FAULT + words.encode("utf-8", "replace"))
        return False  # its traceback is for whoever mends it

    def _send(self, message: bytes) -> None:
        with contextlib.suppress(ConnectionError):  # nobody listens any more
            self._channel.send_bytes(message)

    def start(self, at_once: int) -> Iterator[Any]:
        """The first task of each time that the worker is called."""
        self._at_once = at_once
        threading.Thread(target=self._listen, name="hffs-tasks", daemon=True).start()
        while (message := self._take()) != END:
            yield pickle.loads(message)  # noqa: S301

    def tasks(self, first: Any) -> Iterator[Any]:
        """Tasks as they come; they end where more would be looked at than are given at once."""
        self._unanswered += 1
        yield first
        while self._unanswered < self._at_once:
            message = self._take()
            if message == END:
                return
            self._unanswered += 1
            yield pickle.loads(message)  # noqa: S301

    def answer(self, result: object) -> None:
        """Answer the oldest task."""
        self._unanswered -= 1
        self._send(ANSWER + pickle.dumps(result, pickle.HIGHEST_PROTOCOL))

    def _take(self) -> bytes:
        if self._has_ended:
            return END
        message = self._came.get()
        self._has_ended = message == END
        return message

    def _listen(self) -> None:
        """Take what is sent until the other end is closed without a word: then it is gone."""
        try:
            while (message := self._channel.recv_bytes()) != END:
                self._came.put(message)
            self._came.put(END)
            self._channel.recv_bytes()  # nothing is sent any more
        except (EOFError, OSError):
            os.killpg(0, signal.SIGKILL)
