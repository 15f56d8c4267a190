"""Where requests come from: the kernel's device, or a process that reads it (`siblings`)."""

from __future__ import annotations

import errno
import os
from typing import Protocol

from hffs.mount.requests.wire import REQUEST_BYTES

_AGAIN = (errno.ENOENT, errno.EINTR)
_ENDED = (errno.ENODEV, errno.ECONNABORTED)


class EndedError(Exception):
    """No more requests come from here.

    `device` is one that has to be read in its place, and `request` the one that was not answered;
    without a device the mount is gone.
    """

    def __init__(self, device: int | None = None, request: memoryview | None = None) -> None:
        super().__init__("no more requests")
        self.device, self.request = device, request


class Source(Protocol):
    """What requests are taken from, one at a time."""

    @property
    def device(self) -> int:
        """What answers are written to."""

    @property
    def is_new(self) -> bool:
        """Whether nobody has tried to answer the requests at once."""

    def fileno(self) -> int:
        """What is readable as soon as a request is there."""

    def take(self) -> memoryview | None:
        """The next request, which stays as it is until the one after; None if none is there.

        EndedError when there will be no more.
        """


class Device:
    """The kernel's device."""

    is_new = True

    def __init__(self, device: int) -> None:
        self.device = device
        os.set_blocking(device, False)
        self._buffer = memoryview(bytearray(REQUEST_BYTES))

    def fileno(self) -> int:
        """See `Source`."""
        return self.device

    def take(self) -> memoryview | None:
        """See `Source`."""
        length = read_request(self.device, self._buffer)
        return None if length is None else self._buffer[:length]


def read_request(device: int, buffer: memoryview) -> int | None:
    """Have the kernel's next request in a buffer; its length, or None if none is there, which only
    happens where the device does not wait. EndedError when the mount is gone.
    """
    while True:
        try:
            if length := os.readv(device, [buffer]):
                return length
            raise EndedError  # which only sockets say in this way
        except BlockingIOError:
            return None
        except OSError as error:
            if error.errno in _ENDED:
                raise EndedError from error
            if error.errno not in _AGAIN:  # else who asked did not wait
                raise
