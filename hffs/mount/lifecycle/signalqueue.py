"""Signals as the event loop of a mount takes them: none lost, what stops it first.

Owns the handlers. Must not know what is done about a signal (`signals` says which do what).
Invariant: a handler does nothing that takes a lock; all else is done by who takes the signal.
"""

from __future__ import annotations

import signal
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import trio

from hffs.mount.lifecycle.signals import STOPPING, survive


class SignalQueue:
    """The signals of a mount, from before its event loop runs to the end of the process.

    `on_stop` is called by the handler itself, also while the event loop is stuck.
    """

    def __init__(self, *, hangup_ends: bool, on_stop: Callable[[], None]) -> None:
        self._stopping = (*STOPPING, signal.SIGHUP) if hangup_ends else STOPPING
        self._on_stop = on_stop
        self._received = deque[signal.Signals]()
        self._token: trio.lowlevel.TrioToken | None = None
        self._arrived = trio.Event()

    def install(self) -> None:
        """From now on no signal that can be handled ends this process."""
        survive()
        for number in (*STOPPING, signal.SIGHUP):
            signal.signal(number, self._handle)

    def ends(self, number: signal.Signals) -> bool:
        """Whether it stops the mount."""
        return number in self._stopping

    async def take(self) -> signal.Signals:
        """The next signal: one that stops the mount before all others, else in the order in which
        they came; one task at a time may wait.
        """
        self._token = trio.lowlevel.current_trio_token()
        while not self._received:
            self._arrived = trio.Event()
            await self._arrived.wait()
        all_of_them = list(self._received)  # a handler may add one meanwhile
        received = next(filter(self.ends, all_of_them), all_of_them[0])
        self._received.remove(received)
        return received

    def _handle(self, number: int, frame: FrameType | None) -> None:
        received = signal.Signals(number)
        if self.ends(received):
            self._on_stop()
        self._received.append(received)
        if self._token is not None:
            with suppress(trio.RunFinishedError):
                self._token.run_sync_soon(self._wake)

    def _wake(self) -> None:
        self._arrived.set()
