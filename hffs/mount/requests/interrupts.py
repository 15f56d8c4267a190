"""Requests that wait for the daemon, so that who asked can be ended before it answers.

The kernel lets go of who waits for an answer only when that comes, also of who is killed; it tells
of the signal (INTERRUPT) whoever reads the device next. Owns which requests wait, in memory that
siblings share, and the answer to who is told to end. Of other signals nobody is told: a call is
seldom made again.
"""

from __future__ import annotations

import errno
from mmap import mmap

from hffs.mount.requests.answers import refuse
from hffs.mount.requests.waiting import is_told_to_end
from hffs.mount.requests.wire import CALLER_AT, HANDLE, HEADER, HEADER_BYTES, PID, Opcode

_PLACES = 1024
_NUMBER_BYTES = 8


class Handed:
    """What one process handed to the daemon last, and who waits for it. One process writes."""

    def __init__(self) -> None:
        self._numbers = memoryview(mmap(-1, 2 * _PLACES * _NUMBER_BYTES)).cast("Q")
        self._next = 0

    def note(self, request: memoryview) -> None:
        """A request is handed on."""
        at = 2 * (self._next % _PLACES)
        self._next += 1
        self._numbers[at] = HEADER.unpack_from(request)[2]
        self._numbers[at + 1] = find_asker(request)

    def find(self, unique: int) -> int | None:
        """The thread that waits for a request; None if that is not among them."""
        numbers = self._numbers.tolist()
        for at in range(0, 2 * _PLACES, 2):
            if numbers[at] == unique:
                return int(numbers[at + 1])
        return None


def find_asker(request: memoryview) -> int:
    """The thread that made a request, 0 where it cannot be seen from here."""
    return int(PID.unpack_from(request, CALLER_AT)[0])


def is_interrupt(request: memoryview) -> bool:
    """Whether a request tells of a signal to who waits for another."""
    return bool(HEADER.unpack_from(request)[1] == Opcode.INTERRUPT)


def find_interrupted(request: memoryview) -> int:
    """The number of the request that an INTERRUPT is about."""
    return int(HANDLE.unpack_from(request, HEADER_BYTES)[0])


def let_go(device: int, unique: int, asker: int) -> None:
    """Answer a request with EINTR, if who asked is told to end."""
    if asker and is_told_to_end(asker):
        refuse(device, unique, errno.EINTR)  # in vain, if it was answered meanwhile
