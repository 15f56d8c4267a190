"""Processes beside the daemon that answer requests at once: one loop answers on one core alone.

The view never changes and an answer holds no state, so any process that has the tree can answer.
Each sibling is a fork of the daemon, from before it has threads. It waits in the kernel for
a request, on a clone of the device, answers it (`direct`), or hands it to the daemon, which
answers on the same clone.

Invariants: a request is in memory that the daemon shares until it is answered or handed on, so none
is lost with its process; a sibling ends with the daemon, however that ends, and with the mount;
whatever goes wrong in one, the daemon reads its clone in its place; who waits for the daemon can be
killed, also where that does not answer at all.
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from mmap import mmap
from struct import Struct
from typing import NoReturn

from hffs.data.child import die_with
from hffs.data.tally import Tally
from hffs.mount.lifecycle.daemon import describe_end
from hffs.mount.lifecycle.limits import DEFAULT_SIBLINGS
from hffs.mount.observing.counting import Counters
from hffs.mount.requests.direct import Direct
from hffs.mount.requests.interrupts import Handed, find_interrupted, is_interrupt, let_go
from hffs.mount.requests.polling import Poller
from hffs.mount.requests.sources import EndedError
from hffs.mount.requests.wire import CLONE, DEVICE, HEADER, REQUEST_BYTES
from hffs.view.tree import Tree

log = logging.getLogger(__name__)

_BEGIN = Struct("=I")
_NONE = bytes(HEADER.size)
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


class Sibling:
    """One such process, as the daemon has it; what it hands on is a source of requests."""

    is_new = False

    def __init__(self, pid: int, channel: socket.socket, hand: memoryview) -> None:
        """`hand` has the request that it works on."""
        self._pid, self._channel, self._hand = pid, channel, hand
        self._buffer = memoryview(bytearray(REQUEST_BYTES))
        self.device = -1

    def begin(self, number: int, clones: Sequence[int]) -> None:
        """Have it read requests of one of several clones of a device. Raises OSError."""
        socket.send_fds(self._channel, [_BEGIN.pack(number)], list(clones))
        self.device = clones[number]
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
        except ConnectionResetError:  # it ended before it had read what `begin` says
            length = 0
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
            self.device = -1


def count_siblings(tree: Tree) -> int:
    """How many siblings suit a view: none where most requests would have to be handed on."""
    return min(len(os.sched_getaffinity(0)), DEFAULT_SIBLINGS) if tree.is_here else 0


def start_siblings(count: int, own: Counters, make: Callable[[Counters], Direct]) -> list[Sibling]:
    """Fork so many processes, which wait for `Sibling.begin`. `make` makes what answers, by the
    counters of each, which `own` is told of. None where this process has threads, one of which
    might hold a lock, or where so many processes are not allowed.
    """
    if count and threading.active_count() > 1:
        log.warning("requests are answered by one process: this one has threads")
        return []
    handed, siblings = [Handed() for _ in range(count)], list[Sibling]()
    try:
        for number in range(count):
            siblings.append(_start(number, own, make, handed))
    except OSError as error:
        log.warning("requests are answered by one process: %s", error.strerror)
        for sibling in siblings:
            sibling.end()
        return []
    return siblings


def begin_all(siblings: Sequence[Sibling], device: int) -> None:
    """Have siblings read a device, each a clone of its own. Raises OSError."""
    clones = list[int]()
    try:
        for _ in siblings:
            clones.append(os.open(DEVICE, os.O_RDWR | os.O_CLOEXEC))
            fcntl.ioctl(clones[-1], CLONE, array.array("I", [device]))
        for number, sibling in enumerate(siblings):
            sibling.begin(number, clones)
    except OSError:
        for sibling in siblings:
            sibling.device = -1
        for clone in clones:
            os.close(clone)
        raise


def _start(
    number: int, own: Counters, make: Callable[[Counters], Direct], handed: Sequence[Handed]
) -> Sibling:
    hand = memoryview(mmap(-1, REQUEST_BYTES))  # of which some pages are ever touched
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    counters = Counters(tuple(own.meters))
    own.others.append(counters)
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        return Sibling(pid, ours, hand)
    Tally.place = 1 + number
    _live(parent, theirs, hand, _Work(number, make(counters), handed))


@dataclass(frozen=True, slots=True)
class _Work:
    """What a sibling answers with, and what it and the others have handed on."""

    number: int
    direct: Direct
    handed: Sequence[Handed]


def _live(parent: int, channel: socket.socket, hand: memoryview, work: _Work) -> NoReturn:
    """The life of a sibling."""
    try:
        for number in _IGNORED:  # the daemon says when it ends
            signal.signal(number, signal.SIG_IGN)
        die_with(parent)
        gc.freeze()
        _, clones, _, _ = socket.recv_fds(channel, _BEGIN.size, len(work.handed))
        if clones:
            _serve(clones, channel, hand, work)
    except EndedError:
        os._exit(0)
    except OSError as error:
        if error.errno not in (errno.EPIPE, errno.ECONNRESET):
            log.exception("a process that answers requests fails")
    finally:
        os._exit(1)


def _serve(
    clones: Sequence[int], channel: socket.socket, hand: memoryview, work: _Work
) -> NoReturn:
    device, handed = clones[work.number], work.handed[work.number]
    poller = Poller(device, hand)
    while True:
        length = poller.take()
        if length and not work.direct.answer(device, hand):
            request = hand[:length]
            if is_interrupt(request):
                _interrupt(find_interrupted(request), clones, work.handed)
            else:
                handed.note(request)
                channel.sendall(request)
        hand[: HEADER.size] = _NONE


def _interrupt(unique: int, clones: Sequence[int], handed: Sequence[Handed]) -> None:
    """Who waits for the daemon was sent a signal, whoever of the siblings handed that on."""
    for clone, each in zip(clones, handed, strict=True):
        asker = each.find(unique)
        if asker is not None:
            let_go(clone, unique, asker)
