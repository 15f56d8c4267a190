"""Where the time of a run goes.

Owns what counts as a busy device. Must not know what is done on one.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Seconds:
    """Where time went: `total` is what passed, and `encode` what of it the device was busy, as a
    `BusyClock` has it; the others are of all threads of a kind together.
    """

    total: float = 0.0
    decode: float = 0.0
    encode: float = 0.0
    write: float = 0.0

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(
            self.total + other.total,
            self.decode + other.decode,
            self.encode + other.encode,
            self.write + other.write,
        )


class BusyClock:
    """How long a device is busy, which does `lanes` things at a time: while there are fewer, that
    part of it is. Any thread enters it for as long as it has something done.

    A GPU has one lane: that a second batch waits for it makes it no busier, and that none does no
    less.
    """

    def __init__(self, lanes: int) -> None:
        self._lanes = lanes
        self._lock = threading.Lock()
        self._inside, self._busy_s, self._since_s = 0, 0.0, 0.0

    def __enter__(self) -> None:
        self._go_on(1)

    def __exit__(self, *_: object) -> None:
        self._go_on(-1)

    def take_s(self) -> float:
        """The seconds since this was last asked."""
        with self._lock:
            self._count()
            busy_s, self._busy_s = self._busy_s, 0.0
        return busy_s

    def _go_on(self, more: int) -> None:
        with self._lock:
            self._count()
            self._inside += more

    def _count(self) -> None:
        now_s = time.perf_counter()
        self._busy_s += (now_s - self._since_s) * min(1.0, self._inside / self._lanes)
        self._since_s = now_s
