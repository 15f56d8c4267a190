"""The kernel's end of a device: a socket that keeps messages apart, as /dev/fuse does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from struct import Struct

from hffs.mount.requests.wire import HEADER, HEADER_BYTES, READ_IN, REPLY, Opcode

MOST_BYTES = 1 << 20
_CALLER = Struct("=IIIHH")


class Kernel:
    """Asks, and hears what is answered; `device` is what a daemon has."""

    def __init__(self, ours: socket.socket, device: int) -> None:
        self._ours, self.device = ours, device

    def ask(self, request: bytes) -> None:
        """Have a request wait to be read."""
        self._ours.sendall(request)

    def hear(self) -> tuple[int, int, bytes]:
        """Number of a request, its errno or 0, and the answer."""
        message = self._ours.recv(MOST_BYTES)
        length, error, unique = REPLY.unpack_from(message)
        assert length == len(message)
        return unique, -error, message[REPLY.size :]

    def is_silent(self) -> bool:
        """Whether nothing more was answered."""
        try:
            self._ours.recv(1, socket.MSG_DONTWAIT | socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False

    def leave(self) -> None:
        """Nobody asks any more."""
        self._ours.close()


@contextmanager
def open_kernel() -> Iterator[Kernel]:
    """A device, closed at the end if it still is open."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * MOST_BYTES)
    device = os.dup(theirs.fileno())
    theirs.close()
    with ours:
        try:
            yield Kernel(ours, device)
        finally:
            os.close(device)


def make_request(opcode: Opcode, unique: int, inode: int, body: bytes = b"") -> bytes:
    """A whole request of process 17 of root."""
    head = HEADER.pack(HEADER_BYTES + len(body), opcode, unique, inode)
    return head + _CALLER.pack(0, 0, 17, 0, 0) + body


def make_read(unique: int, inode: int, start: int, size: int) -> bytes:
    """A READ without a handle."""
    return make_request(Opcode.READ, unique, inode, READ_IN.pack(0, start, size) + bytes(20))
