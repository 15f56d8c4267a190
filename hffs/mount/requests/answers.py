"""Giving an answer to the kernel, whatever became of who asked."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Sequence

from hffs.mount.requests.wire import REPLY

log = logging.getLogger(__name__)

_GONE = (errno.ENOENT, errno.ENODEV, errno.ECONNABORTED)
"""Who asked was told to end meanwhile, or the mount was taken away: nobody waits for an answer."""


def give(device: int, unique: int, parts: Sequence[bytes | bytearray | memoryview]) -> None:
    """Answer a request with the parts of a message; with EIO where they cannot be had, which
    happens where the pages of a map cannot be read.
    """
    try:
        os.writev(device, parts)
    except OSError as error:
        if error.errno not in _GONE:
            log.warning("cannot answer a request: %s", error.strerror)
            refuse(device, unique, errno.EIO)


def give_data(device: int, unique: int, data: bytes | memoryview = b"") -> None:
    """Answer a request with what follows the head of an answer."""
    give(device, unique, (REPLY.pack(REPLY.size + len(data), 0, unique), data))


def give_message(device: int, unique: int, message: memoryview) -> None:
    """Answer a request with a message that has all but its head."""
    REPLY.pack_into(message, 0, len(message), 0, unique)
    give(device, unique, (message,))


def refuse(device: int, unique: int, number: int) -> None:
    """Answer a request with an errno."""
    try:
        os.write(device, REPLY.pack(REPLY.size, -number, unique))
    except OSError as error:
        if error.errno not in _GONE:
            log.warning("cannot refuse a request: %s", error.strerror)
