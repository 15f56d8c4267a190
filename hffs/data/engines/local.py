"""The engine of one host: in this process for one device, else a process for each.

Owns starting, feeding and ending these processes (`hffs.data.engines.answering` runs in them). Must
not know what the work is, nor what a device is. Invariants: no process outlives `run`, nor this
process; a worker never has more unanswered tasks than it may be given at once; tasks of one that
died go to the next that is free, and a new one is started in its place.

Processes are programs of their own, for the reasons that `hffs.data.filters.function` gives: and
CUDA does not survive a fork.
"""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any, cast

from hffs.data.engines import MakeWorker, Needs, R, T
from hffs.data.engines.answering import ANSWER, END, REFUSAL
from hffs.errors import DataError, HffsError, UsageError

_TICK_S = 0.5
"""Longest wait without a look for signals, as in `hffs.data.filters.function`."""

_GRACE_S = 5.0
"""How long a worker that has nothing left to do may take to end (it runs its exit handlers)."""

MOST_DEATHS = 3
"""So many workers may die with a task unanswered before it is given up."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[3]); "
    "from hffs.data.engines.answering import main; "
    "main(int(sys.argv[1]), sys.argv[2])"
)


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
class _Process:
    """A process that answers, our end of the socket to it, and which tasks it has not answered;
    one that `is_last` was told that none follows, and is about to end.
    """

    device: str
    process: subprocess.Popen[bytes]
    channel: Connection[Any, Any]
    given: deque[int] = field(default_factory=deque)
    is_last: bool = False

    def send(self, message: bytes) -> None:
        """Send it something; that it has died is seen when it is waited for."""
        with suppress(ConnectionError):
            self.channel.send_bytes(message)

    def receive(self) -> bytes | None:
        """What it says; None where it is dead."""
        try:
            return self.channel.recv_bytes()
        except (EOFError, ConnectionError):
            return None

    def kill(self) -> None:
        """End it at once, and all that it started."""
        self.channel.close()
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def describe_end(self) -> str:
        """How it ended, once it was killed or closed its socket."""
        code = self.process.wait()
        if code < 0:
            names = {known.value: known.name for known in signal.Signals}
            return f"killed ({names.get(-code, f'signal {-code}')})"
        return f"ended (exit code {code})"


class _Crew:
    """Processes at work on tasks, which are known by their numbers; `close` ends all of them."""

    def __init__(
        self, devices: Sequence[str], first: bytes, tasks: Sequence[Any], at_once: int
    ) -> None:
        self._first, self._tasks, self._at_once = first, tasks, at_once
        self._left = deque(range(len(tasks)))
        self._deaths: Counter[int] = Counter()
        self._processes: list[_Process] = []
        self._idle = deque(devices)

    def answers(self) -> Iterator[bytes]:
        """Pickled results, in any order."""
        self._start_missing()
        while self._left or any(process.given for process in self._processes):
            ready = wait([process.channel for process in self._processes], _TICK_S)
            for process in [each for each in self._processes if each.channel in ready]:
                message = process.receive()
                if message is None:
                    self._bury(process)
                    continue
                yield self._take(process, message)
                self._fill(process)
            self._start_missing()
        self._let_end()

    def close(self) -> None:
        """End every process at once."""
        for process in self._processes:
            process.kill()
        self._processes.clear()

    def _start_missing(self) -> None:
        """Start a process for each device without one, as long as there are tasks for it."""
        while self._idle and self._left:
            device = self._idle.popleft()
            process = _start(device)
            self._processes.append(process)
            process.send(self._first)
            self._fill(process)

    def _fill(self, process: _Process) -> None:
        """Give a process what it may have; where nothing is left, say so: it may be waiting."""
        while self._left and len(process.given) < self._at_once and not process.is_last:
            number = self._left.popleft()
            process.given.append(number)
            process.send(pickle.dumps(self._tasks[number], pickle.HIGHEST_PROTOCOL))
        if not self._left and not process.is_last:
            process.is_last = True
            process.send(END)

    def _take(self, process: _Process, message: bytes) -> bytes:
        kind, content = message[:1], message[1:]
        if kind == ANSWER:
            process.given.popleft()
            return content
        if kind == REFUSAL:
            raise cast("HffsError", pickle.loads(content))  # noqa: S301 - as above
        why = content.decode("utf-8", "replace")
        raise DataError("a worker failed", f"on {process.device}", why=why)

    def _bury(self, process: _Process) -> None:
        """Take the tasks back of a process that ended; they come first, as they did."""
        self._processes.remove(process)
        with suppress(subprocess.TimeoutExpired):  # so that it is told how it ended
            process.process.wait(_GRACE_S)
        process.kill()
        given = list(process.given)
        self._left.extendleft(reversed(given))
        self._idle.append(process.device)
        self._deaths.update(given)
        for number in given:
            if self._deaths[number] >= MOST_DEATHS:
                which = f"task {number + 1} of {len(self._tasks)}"
                why = f"{MOST_DEATHS} workers that had it died, the last was "
                fix = "look whether memory runs out"
                raise DataError("cannot do", which, why=why + process.describe_end(), fix=fix)

    def _let_end(self) -> None:
        """Let each process end by itself; one that hangs is ended by `close`."""
        with suppress(subprocess.TimeoutExpired):
            for process in self._processes:
                process.process.wait(_GRACE_S)


def _start(device: str) -> _Process:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptor = theirs.fileno()
        arguments = (str(descriptor), device, json.dumps(sys.path))
        process = subprocess.Popen(  # noqa: S603 - this very interpreter
            [sys.executable, "-P", "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=2,  # hffs's standard output holds nothing but results
            pass_fds=(descriptor,),
            process_group=0,  # a Ctrl-C of the terminal is for this process, which ends that one
        )
        return _Process(device, process, Connection(ours.detach()))
