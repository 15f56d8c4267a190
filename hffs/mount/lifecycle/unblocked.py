"""Writing to a descriptor of which nobody may read: a pipe, a terminal, a socket of the journal.

Owns how a write is kept from waiting. The flag O_NONBLOCK belongs to what is open, not to the
descriptor: set on an inherited one, it would change what the shell and other programs have there.
"""

from __future__ import annotations

import os
import select
import socket
import stat
from contextlib import suppress


def write_unblocked(descriptor: int, data: bytes) -> None:
    """Write what is taken at once; the rest is lost. Raises OSError, as where nothing is taken."""
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        os.write(descriptor, data)
    elif stat.S_ISSOCK(kind):
        with socket.socket(fileno=os.dup(descriptor)) as channel:
            channel.send(data, socket.MSG_DONTWAIT)
    else:
        _write_to_device(descriptor, data)


def _write_to_device(descriptor: int, data: bytes) -> None:
    try:
        own = open_unblocked(descriptor)
    except OSError:  # of another user, or nothing is at the other end
        if takes(descriptor):
            os.write(descriptor, data[: select.PIPE_BUF])
        return
    try:
        os.write(own, data)
    finally:
        os.close(own)


def open_unblocked(descriptor: int) -> int:
    """What a descriptor is, opened once more so that no write waits. OSError for a socket."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    return os.open(f"/proc/self/fd/{descriptor}", flags)


def open_for_dump(descriptor: int) -> int:
    """Where C code can write without waiting: what a descriptor is, or nothing."""
    with suppress(OSError):
        return open_unblocked(descriptor)
    if takes(descriptor):
        return os.dup(descriptor)
    return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def takes(descriptor: int) -> bool:
    """Whether something can be written to a descriptor now; of a pipe, PIPE_BUF bytes."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return any(event & select.POLLOUT for _, event in poll.poll(0))
