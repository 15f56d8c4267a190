"""Numbers that several processes of one daemon add to, each in a place of its own.

Owns the memory that they share. A number is made before its processes are forked.
"""

from __future__ import annotations

from mmap import mmap
from typing import ClassVar

MOST_PROCESSES = 65
_NUMBER_BYTES = 8


class Tally:
    """A count; what one thread of each process adds is in it."""

    place: ClassVar[int] = 0
    """Of this process: a fork that counts has another one, below `MOST_PROCESSES`."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap(-1, MOST_PROCESSES * _NUMBER_BYTES)).cast("q")

    def add(self) -> None:
        """One more."""
        self._numbers[Tally.place] += 1

    @property
    def total(self) -> int:
        """Of all processes."""
        return sum(self._numbers)
