"""Taking requests from the kernel: what can be answered at once is, the rest goes to pyfuse3.

pyfuse3 would wait twice before each request: for a lock, by which its tasks take turns, and for the
device. Both are turns of trio's loop. Here the task that has the lock reads the device by itself,
answers (`direct`), and reads again, until nothing is there or a request is for pyfuse3. That one is
handed on through a pair of sockets, whose other end stands where pyfuse3 has its device; its answer
comes back the same way. The loop turns when nothing is there, and at least every `_BUSY_S`: signals
and results of threads wait no longer than that.

This takes the place of the module `trio` inside pyfuse3, as pyfuse3's own `asyncio` mode does. What
it does not replace is trio's.

Invariants: one task at a time takes requests; pyfuse3 reads one as soon as it is handed on, before
anything else happens; an answer is given to the kernel at the end of the step that made it, so
there is room for the next. When the task that had the lock waits for something else, the lock is
passed on at the end of that step, so that a request that takes long holds up no other.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Sequence
from typing import Any

import pyfuse3
import trio

from hffs.mount.requests.direct import Direct
from hffs.mount.requests.interrupts import is_interrupt
from hffs.mount.requests.relay import Relay
from hffs.mount.requests.siblings import Sibling, begin_all
from hffs.mount.requests.sources import Device, EndedError, Source

log = logging.getLogger(__name__)

_BUSY_S = 0.002


class Turn:
    """The lock: whoever lets go of it may take it again at once; others wait for `pass_on`."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting = trio.lowlevel.ParkingLot()

    async def __aenter__(self) -> None:
        while self._is_taken:
            await self._waiting.park()
        self._is_taken = True

    async def __aexit__(self, *_: object) -> None:
        self._is_taken = False

    def pass_on(self) -> None:
        """Wake somebody who waits, if nobody has it."""
        if not self._is_taken and self._waiting:
            self._waiting.unpark()


class Receiver(trio.abc.Instrument):
    """What pyfuse3 waits with, for one session; an instrument of the run that serves it.

    `siblings` read the device in its place as soon as the kernel asks for files.
    """

    def __init__(self, direct: Direct, siblings: Sequence[Sibling] = ()) -> None:
        self.turn = Turn()
        self._direct = direct
        self._idle_siblings = list(siblings)
        self._siblings = siblings
        self._relay: Relay | None = None
        self._sources: list[Source] = []
        self._watched = select.epoll()
        self._until = 0.0
        self._is_over = False

    def attach(self) -> None:
        """Have pyfuse3 wait in this way from now on."""
        names = {"wait_readable": self.wait_readable, "notify_closing": self.notify_closing}
        lowlevel = _Instead(trio.lowlevel, names)
        instead = _Instead(trio, {"Lock": lambda: self.turn, "lowlevel": lowlevel})
        pyfuse3.trio = instead  # type: ignore[attr-defined] # pyfuse3's own asyncio mode sets it too

    def close(self) -> None:
        """Give pyfuse3 its device back, which it may unmount then."""
        for sibling in self._siblings:
            sibling.end()
        if self._relay is not None:
            self._relay.close()
            self._relay = None
        self._watched.close()

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        """A task has stopped to wait for something: give away what it answered, and pass on the
        lock if it has let go of it.
        """
        if self._relay is not None:
            self._relay.give_back()
        self.turn.pass_on()

    def notify_closing(self, session: int) -> None:
        """pyfuse3 is told to end."""
        self._is_over = True
        trio.lowlevel.notify_closing(self._watched.fileno())

    async def wait_readable(self, session: int) -> None:
        """Return when a request for pyfuse3 is there; the caller has the lock.

        trio.ClosedResourceError when the mount is gone, or pyfuse3 is to end.
        """
        if self._relay is None:
            self._relay = Relay(session)
            self._watch(Device(self._relay.device))
        relay = self._relay
        relay.give_back()
        if relay.is_agreed and self._idle_siblings:
            self._let_siblings_read(relay.device)
        while not self._is_over:
            if time.perf_counter() > self._until:
                await trio.lowlevel.checkpoint()
                self._until = time.perf_counter() + _BUSY_S
            source, request = self._take()
            if request is None:
                await trio.lowlevel.wait_readable(self._watched.fileno())
                self._until = time.perf_counter() + _BUSY_S
            elif source.is_new and self._direct.answer(source.device, request):
                continue
            elif is_interrupt(request):
                relay.interrupt(request)
            else:
                relay.hand_on(request, source.device)
                return
        raise trio.ClosedResourceError

    def _take(self) -> tuple[Source, memoryview | None]:
        """A request that is there, and where it came from; any source and None if none is."""
        for source in self._sources:
            try:
                request = source.take()
            except EndedError as end:
                if end.device is None:
                    raise trio.ClosedResourceError from end
                return self._read_instead(source, end.device), end.request
            if request is not None:
                return source, request
        return self._sources[0], None

    def _read_instead(self, source: Source, device: int) -> Source:
        """A sibling has ended, which only the end of the mount is a reason for."""
        self._watched.unregister(source.fileno())
        self._sources.remove(source)
        return self._watch(Device(device))

    def _watch(self, source: Source) -> Source:
        self._sources.append(source)
        self._watched.register(source.fileno(), select.EPOLLIN)
        return source

    def _let_siblings_read(self, device: int) -> None:
        siblings, self._idle_siblings = self._idle_siblings, []
        try:
            begin_all(siblings, device)
        except OSError as error:
            log.warning("requests are answered by one process: %s", error)
            for sibling in siblings:
                sibling.end()
            return
        for source in self._sources:
            self._watched.unregister(source.fileno())
        self._sources.clear()
        for sibling in siblings:
            self._watch(sibling)


class _Instead:
    """A module, but for some of its names."""

    def __init__(self, module: object, names: dict[str, Any]) -> None:
        self._module = module
        self.__dict__.update(names)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._module, name)
