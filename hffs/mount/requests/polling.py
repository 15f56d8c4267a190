"""How a process waits for the next request: asleep in the kernel, or awake for a moment.

To be woken takes longer than an answer. A single reader that asks one thing after another asks the
next before who answered it has fallen asleep: then it is looked for first. Who computes between two
questions, or shares the cores with other readers, would only lose what that takes.

Must not know what is asked. Invariants: a look takes no longer than `_LOOKED_FOR_NS`; there is none
before `_IN_A_ROW` requests of one reader came without a pause of `_PAUSE_NS`, and none after such a
pause, or another reader's request, before that many have come again.
"""

from __future__ import annotations

import os
from time import perf_counter_ns

from hffs.mount.requests.sources import read_request
from hffs.mount.requests.wire import CALLER_AT, PID

_LOOKED_FOR_NS = 50_000
_PAUSE_NS = 1_000_000
_IN_A_ROW = 16


class Poller:
    """Takes requests from a device into a buffer."""

    def __init__(self, device: int, buffer: memoryview) -> None:
        self._device, self._buffer = device, buffer
        self._asker, self._in_a_row = -1, 0
        self._sleeps = True

    def take(self) -> int:
        """Have the next request in the buffer; its length. EndedError when the mount is gone."""
        began = perf_counter_ns()
        length = self._look(began) if self._in_a_row >= _IN_A_ROW else None
        if length is None:
            self._set_sleeping(True)
            length = read_request(self._device, self._buffer) or 0
        asker = PID.unpack_from(self._buffer, CALLER_AT)[0]
        if asker == self._asker and perf_counter_ns() - began < _PAUSE_NS:
            self._in_a_row += 1
        else:
            self._asker, self._in_a_row = asker, 0
        return length

    def _look(self, began: int) -> int | None:
        """Look for a request for a moment, while whoever else wants this core may have it."""
        self._set_sleeping(False)
        while True:
            length = read_request(self._device, self._buffer)
            if length is not None or perf_counter_ns() - began > _LOOKED_FOR_NS:
                return length
            os.sched_yield()

    def _set_sleeping(self, sleeps: bool) -> None:
        if sleeps != self._sleeps:
            os.set_blocking(self._device, sleeps)
            self._sleeps = sleeps
