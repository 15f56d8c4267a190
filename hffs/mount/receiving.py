"""Taking requests from the kernel without a turn of the event loop for each.

pyfuse3 waits twice before each request: for a lock, by which its tasks take turns, and for the
device. Both are turns of trio's loop, and most of what a short request costs. Here the task that
has the lock looks by itself whether a request is there already, and takes the lock again rather
than hand it on. The loop turns when nothing is there, and at least every `_BUSY_S`: signals and
results of threads wait no longer than that.

This takes the place of the module `trio` inside pyfuse3, as pyfuse3's own `asyncio` mode does.
What it does not replace is trio's, so that a pyfuse3 that waits in another way works as before.

Invariants: one task at a time waits for the device, and reads what it has waited for before any
other task runs. When the task that had the lock waits for something else, the lock is passed on at
the end of that step, so that a request that takes long holds up no other.
"""

from __future__ import annotations

import select
import time
from typing import Any

import pyfuse3
import trio

_BUSY_S = 0.002


class Turn:
    """The lock: whoever lets go of it may take it again at once; others wait for `pass_on`."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._is_taken:
            await self._waiting.park()
        self._is_taken = True

    async def __aexit__(self, *_: object) -> None:
        self._is_taken = False

    def pass_on(self) -> None:
        """Wake somebody who waits, if nobody has it."""
        if not self._is_taken and self._waiting:
            self._waiting.unpark()


class Receiver(trio.abc.Instrument):
    """What pyfuse3 waits with, for one session; an instrument of the run that serves it."""

    def __init__(self) -> None:
        self.turn = Turn()
        self._device = select.poll()
        self._watched = -1
        self._until = 0.0

    def attach(self) -> None:
        """Have pyfuse3 wait in this way from now on."""
        lowlevel = _Instead(trio.lowlevel, {"wait_readable": self.wait_readable})
        instead = _Instead(trio, {"Lock": lambda: self.turn, "lowlevel": lowlevel})
        pyfuse3.trio = instead  # type: ignore[attr-defined] # pyfuse3's own asyncio mode sets it too

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task has stopped to wait for something: if it has let go of the lock, pass it on."""
        self.turn.pass_on()

    async def wait_readable(self, device: int) -> None:
        """Return when a request is there; the caller has the lock."""
        if device != self._watched:
            self._device.register(device, select.POLLIN)
            self._watched = device
        if time.perf_counter() < self._until and self._device.poll(0):
            return
        await trio.lowlevel.wait_readable(device)
        self._until = time.perf_counter() + _BUSY_S


class _Instead:
    """A module, but for some of its names."""

    def __init__(self, module: object, names: dict[str, Any]) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
