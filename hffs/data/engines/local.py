"""The engine of one host: in this process for one device, else a process for each.

Owns starting, feeding and ending these processes (`hffs.data.engines.answering` runs in them). Must
not know what the work is, nor what a device is. Invariants: no process outlives `run`, nor this
process; a worker never has more unanswered tasks than it may be given at once; tasks of one that
died go to the next that is free, and a new one is started in its place.

Processes are programs of their own (`hffs.data.programs`).
"""

from __future__ import annotations

import pickle
import subprocess
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from typing import Any, cast

from hffs.data.engines import MakeWorker, Needs, R, T
from hffs.data.engines.answering import ANSWER, END, REFUSAL
from hffs.data.programs import TICK_S, Program, start_program
from hffs.errors import DataError, HffsError, UsageError

_GRACE_S = 5.0
"""How long a worker that has nothing left to do may take to end (it runs its exit handlers)."""

MOST_DEATHS = 3
"""So many workers may die with a task unanswered before it is given up."""

_MAIN = "hffs.data.engines.answering:main"


@dataclass(frozen=True, slots=True)
class LocalEngine:
    """One worker for each of some devices of this host ("cpu", "cuda:0"); a device may be named
    several times.
    """

    devices: Sequence[str]

    def __post_init__(self) -> None:
        if not self.devices:
            raise UsageError("cannot start workers", why="no device is named")

    @property
    def is_here(self) -> bool:
        """Whether one worker, in this process, does all of it."""
        return len(self.devices) == 1

    def run(self, make: MakeWorker[T, R], tasks: Sequence[T], needs: Needs) -> Iterator[R]:
        """What the workers answer, as `Engine` has it; one device's worker is this process."""
        if len(self.devices) == 1:
            yield from make(self.devices[0])(tasks)
            return
        first = pickle.dumps((make, needs.at_once))
        with closing(_Crew(self.devices, first, tasks, needs.at_once)) as crew:
            for message in crew.answers():
                # Of a process that this one started, over a socket without a name.
                yield cast("R", pickle.loads(message))  # noqa: S301


@dataclass(slots=True, eq=False)
class _Worker:
    """A program that answers, and which tasks it has not answered; one that `is_last` was told that
    none follows, and is about to end.
    """

    device: str
    program: Program
    given: deque[int] = field(default_factory=deque)
    is_last: bool = False

    def send(self, message: bytes) -> None:
        """Send it something; that it has died is seen when it is waited for."""
        with suppress(ConnectionError):
            self.program.channel.send_bytes(message)

    def receive(self) -> bytes | None:
        """What it says; None where it is dead."""
        try:
            return self.program.channel.recv_bytes()
        except (EOFError, ConnectionError):
            return None


class _Crew:
    """Processes at work on tasks, which are known by their numbers; `close` ends all of them."""

    def __init__(
        self, devices: Sequence[str], first: bytes, tasks: Sequence[Any], at_once: int
    ) -> None:
        self._first, self._tasks, self._at_once = first, tasks, at_once
        self._left = deque(range(len(tasks)))
        self._deaths: Counter[int] = Counter()
        self._workers: list[_Worker] = []
        self._idle = deque(devices)

    def answers(self) -> Iterator[bytes]:
        """Pickled results, in any order."""
        self._start_missing()
        while self._left or any(worker.given for worker in self._workers):
            ready = wait([worker.program.channel for worker in self._workers], TICK_S)
            for worker in [each for each in self._workers if each.program.channel in ready]:
                message = worker.receive()
                if message is None:
                    self._bury(worker)
                    continue
                yield self._take(worker, message)
                self._fill(worker)
            self._start_missing()
        self._let_end()

    def close(self) -> None:
        """End every process at once."""
        for worker in self._workers:
            worker.program.kill()
        self._workers.clear()

    def _start_missing(self) -> None:
        """Start a process for each device without one, as long as there are tasks for it."""
        while self._idle and self._left:
            device = self._idle.popleft()
            worker = _Worker(device, start_program(_MAIN, device))
            self._workers.append(worker)
            worker.send(self._first)
            self._fill(worker)

    def _fill(self, worker: _Worker) -> None:
        """Give a process what it may have; where nothing is left, say so: it may be waiting."""
        while self._left and len(worker.given) < self._at_once and not worker.is_last:
            number = self._left.popleft()
            worker.given.append(number)
            worker.send(pickle.dumps(self._tasks[number], pickle.HIGHEST_PROTOCOL))
        if not self._left and not worker.is_last:
            worker.is_last = True
            worker.send(END)

    def _take(self, worker: _Worker, message: bytes) -> bytes:
        kind, content = message[:1], message[1:]
        if kind == ANSWER:
            worker.given.popleft()
            return content
        if kind == REFUSAL:
            raise cast("HffsError", pickle.loads(content))  # noqa: S301 - as above
        why = content.decode("utf-8", "replace")
        raise DataError("a worker failed", f"on {worker.device}", why=why)

    def _bury(self, worker: _Worker) -> None:
        """Take the tasks back of a worker that ended; they come first, as they did."""
        self._workers.remove(worker)
        end = worker.program.describe_end(_GRACE_S) or "closed its socket"
        worker.program.kill()
        given = list(worker.given)
        self._left.extendleft(reversed(given))
        self._idle.append(worker.device)
        self._deaths.update(given)
        for number in given:
            if self._deaths[number] >= MOST_DEATHS:
                which = f"task {number + 1} of {len(self._tasks)}"
                why = f"{MOST_DEATHS} workers that had it died, the last {end}"
                fix = "look whether memory runs out"
                raise DataError("cannot do", which, why=why, fix=fix)

    def _let_end(self) -> None:
        """Let each process end by itself; one that hangs is ended by `close`."""
        with suppress(subprocess.TimeoutExpired):
            for worker in self._workers:
                worker.program.process.wait(_GRACE_S)
