"""Processes beside the daemon that answer requests at once: one loop answers on one core alone.

The view never changes and an answer holds no state, so any process that has the tree can answer.
Each sibling is a fork of the daemon, from before it has threads. It waits in the kernel for
a request, on a clone of the device, answers it (`direct`), or hands it to the daemon, which
answers on the same clone.

Invariants: a request is in memory that the daemon shares until it is answered or handed on, so none
is lost with its process; a sibling ends with the daemon, however that ends, and with the mount;
whatever goes wrong in one, the daemon reads its clone in its place.
"""

from __future__ import annotations

import array
import errno
import fcntl
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable
from mmap import mmap
from typing import NoReturn

from hffs.data.child import die_with
from hffs.data.tally import Tally
from hffs.mount.lifecycle.daemon import describe_end
from hffs.mount.lifecycle.limits import DEFAULT_SIBLINGS
from hffs.mount.observing.counting import Counters
from hffs.mount.requests.direct import Direct
from hffs.mount.requests.sources import EndedError, read_request
from hffs.mount.requests.wire import CLONE, DEVICE, HEADER, REQUEST_BYTES
from hffs.view.tree import Tree

log = logging.getLogger(__name__)

_NONE = bytes(HEADER.size)
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Sibling:
    """One such process, as the daemon has it; what it hands on is a source of requests."""

    is_new = False

    def __init__(self, pid: int, channel: socket.socket, hand: memoryview) -> None:
        self._pid, self._channel, self._hand = pid, channel, hand
        self._buffer = memoryview(bytearray(REQUEST_BYTES))
        self.device = -1

    def begin(self, device: int) -> None:
        """Have it read requests of a device. Raises OSError."""
        clone = os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.ioctl(clone, CLONE, array.array("I", [device]))
            socket.send_fds(self._channel, [b"!"], [clone])
        except OSError:
            os.close(clone)
            raise
        self.device = clone
        self._channel.setblocking(False)

    def fileno(self) -> int:
        """See `Source`."""
        return self._channel.fileno()

    def take(self) -> memoryview | None:
        """See `Source`."""
        try:
            length = self._channel.recv_into(self._buffer)
        except BlockingIOError:
            return None
        if length:
            return self._buffer[:length]
        raise EndedError(self.device, self._find_unanswered())

    def _find_unanswered(self) -> memoryview | None:
        """What it had read and neither answered nor handed on."""
        status = os.waitpid(self._pid, 0)[1]
        self._pid = 0
        if status:
            why = describe_end(status)
            log.error("a process that answers requests ended: %s; the daemon answers them", why)
        length = HEADER.unpack_from(self._hand)[0]
        return self._hand[:length] if length else None

    def end(self) -> None:
        """End it, whatever it does."""
        if self._pid:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
        self._channel.close()
        if self.device >= 0:
            os.close(self.device)


def count_siblings(tree: Tree) -> int:
    """How many siblings suit a view: none where most requests would have to be handed on."""
    return min(len(os.sched_getaffinity(0)), DEFAULT_SIBLINGS) if tree.is_here else 0


def start_siblings(count: int, own: Counters, make: Callable[[Counters], Direct]) -> list[Sibling]:
    """Fork so many processes, which wait for `Sibling.begin`. `make` makes what answers, by the
    counters of each, which `own` is told of. None where this process has threads: one of them might
    hold a lock.
    """
    if count and threading.active_count() > 1:
        log.warning("requests are answered by one process: this one has threads")
        return []
    return [_start(number, own, make) for number in range(1, count + 1)]


def _start(number: int, own: Counters, make: Callable[[Counters], Direct]) -> Sibling:
    hand = memoryview(mmap(-1, REQUEST_BYTES))  # of which a few kilobytes are ever touched
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    counters = Counters(tuple(own.meters))
    own.others.append(counters)
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Sibling(pid, ours, hand)
    Tally.place = number
    _live(parent, theirs, hand, make(counters))


def _live(parent: int, channel: socket.socket, hand: memoryview, direct: Direct) -> NoReturn:
    """The life of a sibling."""
    try:
        for number in _IGNORED:  # the daemon says when it ends
            signal.signal(number, signal.SIG_IGN)
        die_with(parent)
        gc.freeze()
        _, devices, _, _ = socket.recv_fds(channel, 1, 1)
        if devices:
            _serve(devices[0], channel, hand, direct)
    except EndedError:
        os._exit(0)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):
            log.exception("a process that answers requests fails")
    finally:
        os._exit(1)


def _serve(device: int, channel: socket.socket, hand: memoryview, direct: Direct) -> NoReturn:
    while True:
        length = read_request(device, hand)
        if length and not direct.answer(device, hand):
            channel.sendall(hand[:length])
        hand[: HEADER.size] = _NONE
