"""pyfuse3's share of the requests: handed on to it, and its answers given to the kernel.

pyfuse3 keeps its device to itself. So a socket stands in its place, under the same number, and here
is the other end. Owns what pyfuse3 reads and writes, and what is agreed on with the kernel beyond
what it asks for. Must not know what is asked.

Invariant: an answer fits into the socket whole, since the one before was taken out: pyfuse3 and
this are one thread, which would wait for itself.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress

from hffs.mount.requests.answers import give
from hffs.mount.requests.interrupts import find_asker, find_interrupted, let_go
from hffs.mount.requests.wire import (
    HANDLE,
    HEADER,
    HEADER_BYTES,
    PAGE_BYTES,
    REPLY,
    Opcode,
    agree,
    find_offered,
)

_ROOM_BYTES = 4 << 20
_SO_SNDBUFFORCE = 32  # asm-generic/socket.h; Python has no name for it


class Relay:
    """Stands between the device of a session, whose number is `session`, and pyfuse3."""

    def __init__(self, session: int) -> None:
        self._session = session
        self.device = os.dup(session)
        """The kernel's end. It does not wait."""
        os.set_blocking(self.device, False)
        self._ours, theirs = socket.socketpair()
        with theirs:
            room = _make_room(theirs)
            theirs.setblocking(False)
            os.dup2(theirs.fileno(), session, inheritable=False)
        self.most_pages = room // 2 // PAGE_BYTES  # the kernel counts what it needs itself
        """What an answer may have."""
        self._offered: dict[int, int] = {}
        """By INIT, what the kernel offers."""
        self._waiting: dict[int, tuple[int, int]] = {}
        self.is_agreed = False
        """Whether the kernel knows what was agreed on, and asks for files."""

    def hand_on(self, request: memoryview, device: int) -> None:
        """Have pyfuse3 read a request next; the answer goes to `device`. Not of an INTERRUPT."""
        _, opcode, unique, inode = HEADER.unpack_from(request)
        if opcode == Opcode.READ:  # pyfuse3 knows it by its handle, which is the inode
            HANDLE.pack_into(request, HEADER_BYTES, inode)
        elif opcode == Opcode.INIT:
            self._offered[unique] = find_offered(request)
        self._ours.sendall(request)
        self._waiting[unique] = device, find_asker(request)

    def interrupt(self, request: memoryview) -> None:
        """Who waits for pyfuse3 was sent a signal."""
        unique = find_interrupted(request)
        if unique in self._waiting:
            device, asker = self._waiting[unique]
            let_go(device, unique, asker)

    def give_back(self) -> None:
        """Give the kernel what pyfuse3 has answered so far."""
        while self._waiting:
            try:
                head = self._ours.recv(REPLY.size, socket.MSG_DONTWAIT | socket.MSG_WAITALL)
            except BlockingIOError:
                return
            length, _, unique = REPLY.unpack(head)
            answer = bytearray(head)
            if length > len(head):
                answer += self._ours.recv(length - len(head), socket.MSG_WAITALL)
            if unique in self._offered:
                agree(answer, self._offered.pop(unique), self.most_pages)
                self.is_agreed = True
            device, _ = self._waiting.pop(unique, (self.device, 0))
            give(device, unique, (answer,))

    def close(self) -> None:
        """Put the device back in its place, for libfuse to unmount it."""
        self.give_back()
        os.dup2(self.device, self._session, inheritable=False)
        os.close(self.device)
        self._ours.close()


def _make_room(end: socket.socket) -> int:
    """Have a socket take a long answer at once, as far as this user may; the bytes it takes."""
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _ROOM_BYTES)
    with suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, _ROOM_BYTES)
    return end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
