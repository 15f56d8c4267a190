"""Who reads headers: processes beside this one for a disk, threads for what lies elsewhere, or the
workers of an engine.

Owns starting and feeding them. Must not know what is done with an answer. Invariants: every batch
is answered once, in any order; no process outlives `share_batches`, and one that dies takes nothing
along, since its batches are read here.

Of a local disk most of the time is Python's own, which one process has one core for; of a FUSE
mount or a network it is spent waiting, for which threads suffice (measured: tests/bench/scan.py).
Processes are programs of their own (`hffs.data.programs`).
"""

from __future__ import annotations

import os
import select
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from hffs.data.engines import Engine, Needs
from hffs.data.programs import TICK_S, Program, start_program
from hffs.errors import SourceError
from hffs.train.scanning.batches_of_headers import Answer, read_batch, receive, send, unpack_answer

_AHEAD = 2
"""Batches that a process is given at once: it must not wait while this one reads."""

_AT_ONCE = 8
"""Batches that a worker of an engine reads at once."""

_MAIN = "hffs.train.scanning.batches_of_headers:main"


@dataclass(frozen=True, slots=True)
class Readers:
    """How many read at once, this thread among them; `is_far` where they would mostly wait."""

    count: int
    is_far: bool


@dataclass(frozen=True, slots=True)
class Batch:
    """Something asked; `number` tells answers apart."""

    number: int
    asked: bytes


@dataclass(frozen=True, slots=True, eq=False)
class _Reader:
    """A program that reads, and what it has not answered."""

    program: Program
    given: deque[Batch] = field(default_factory=deque)

    @property
    def descriptor(self) -> int:
        """Our end of the socket to it."""
        return self.program.channel.fileno()

    def give(self, batch: Batch) -> None:
        """Ask; of a process that has died, the answer will be missed."""
        self.given.append(batch)
        with suppress(ConnectionError):
            send(self.descriptor, batch.asked)

    def receive(self) -> Answer | None:
        """The answer to the first that was given; None where the process is dead."""
        message = receive(self.descriptor)
        return None if message is None else unpack_answer(message)


def share_batches(
    folder: int, batches: Iterable[bytes], readers: Readers
) -> Generator[tuple[int, Answer], None, None]:
    """The number of each batch and what is answered, as it comes; closing it ends all readers."""
    asked = (Batch(number, batch) for number, batch in enumerate(batches))
    if readers.count == 1:
        for batch in asked:
            yield batch.number, read_batch(folder, batch.asked)
    elif readers.is_far:
        yield from _share_among_threads(folder, asked, readers.count)
    else:
        yield from _share_among_processes(folder, asked, readers.count)


def share_among_workers(
    engine: Engine, folder: Path, batches: Iterable[bytes]
) -> Generator[tuple[int, Answer], None, None]:
    """The same by workers of an engine, each of which opens the folder by its path."""
    make = partial(make_reader, os.path.realpath(folder))
    yield from engine.run(make, list(enumerate(batches)), Needs(at_once=_AT_ONCE))


def make_reader(
    folder: str, device: str
) -> Callable[[Iterable[tuple[int, bytes]]], Iterator[tuple[int, Answer]]]:
    """A worker that reads batches below a folder, several at once: it may be far away."""

    def read(tasks: Iterable[tuple[int, bytes]]) -> Iterator[tuple[int, Answer]]:
        with ExitStack() as stack:
            try:
                opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except OSError as error:
                why = f"a worker on {socket.gethostname()} says: {error.strerror}"
                fix = "every host has to have it under this path"
                raise SourceError("cannot scan", folder, why=why, fix=fix) from error
            stack.callback(os.close, opened)
            pool = stack.enter_context(ThreadPoolExecutor(_AT_ONCE, "hffs-headers"))
            yield from pool.map(lambda task: (task[0], read_batch(opened, task[1])), tasks)

    return read


def _share_among_threads(
    folder: int, batches: Iterator[Batch], count: int
) -> Iterator[tuple[int, Answer]]:
    pool = ThreadPoolExecutor(count, "hffs-headers")
    running: dict[Future[Answer], int] = {}
    try:
        while True:
            while len(running) < _AHEAD * count and (batch := next(batches, None)):
                running[pool.submit(read_batch, folder, batch.asked)] = batch.number
            if not running:
                return
            for future in wait(running, TICK_S, FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _share_among_processes(
    folder: int, batches: Iterator[Batch], count: int
) -> Iterator[tuple[int, Answer]]:
    """This process reads too, and looks after each batch whether another has answered."""
    left = deque[Batch]()  # of processes that died
    with ExitStack() as stack:
        busy = []
        for _ in range(count - 1):
            program = start_program(_MAIN, folder, inherits=[folder])
            stack.callback(program.kill)
            busy.append(_Reader(program))
        for process in busy:
            _fill(process, batches)
        while True:
            own = left.popleft() if left else next(batches, None)
            if own is not None:
                yield own.number, read_batch(folder, own.asked)
            busy = [process for process in busy if process.given]
            if own is None and not busy:
                return
            for process in _wait_for(busy, int(TICK_S * 1000) if own is None else 0):
                answer = process.receive()
                if answer is None:
                    left.extend(process.given)
                    process.given.clear()
                    continue
                yield process.given.popleft().number, answer
                _fill(process, batches)


def _wait_for(busy: list[_Reader], timeout_ms: int) -> list[_Reader]:
    """Those that have answered, or died."""
    poll = select.poll()
    for process in busy:
        poll.register(process.descriptor, select.POLLIN)
    ready = {descriptor for descriptor, _ in poll.poll(timeout_ms)}
    return [process for process in busy if process.descriptor in ready]


def _fill(process: _Reader, batches: Iterator[Batch]) -> None:
    while len(process.given) < _AHEAD and (batch := next(batches, None)):
        process.give(batch)
