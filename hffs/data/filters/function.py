"""`filter_func.python`: a function of the user's, called with each row's metadata.

Owns the worker processes that call it (`hffs.data.filters.worker` runs in them), what they are
given and how their failures are told. It must not know what the answer is for. Imported only where
a function is set.

Workers are programs of their own, started afresh: a fork would carry the locks of pyarrow's
threads along, and `multiprocessing` (so also its ProcessPoolExecutor) would import hffs's own
`__main__` in each of them, would not say how one ended, and would leave them behind if hffs were
killed. Each is the leader of a process group: a Ctrl-C of the terminal does not reach it, and what
it started ends with it.
Invariants: no worker outlives `apply_row_filter`; media columns are not read; rows are given to the
function once each, in any order.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.filters.worker import ANSWER
from hffs.data.metadata import metadata_columns, read_rows
from hffs.data.source import Source
from hffs.errors import ConfigError, DataError

_KEY = "cannot use filter_func.python"

_CHUNK_ROWS = 2048
"""Rows a worker is given at once: some milliseconds of work, so that all end together."""

_TICK_S = 0.5
"""Longest wait without a look for signals: one that comes just before a system call begins does
not end it, and Python learns of it only afterwards."""

_GRACE_S = 2.0
"""How long a worker that has nothing left to do may take to end (it runs its exit handlers)."""

_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[4]); "
    "from hffs.data.filters.worker import main; "
    "main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])"
)


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Some rows: where they are among those wanted, and their values."""

    start: int
    batch: pa.RecordBatch

    @property
    def part(self) -> slice:
        """Their places among the rows that are wanted."""
        return slice(self.start, self.start + self.batch.num_rows)


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    """A process, and our end of the socket to it."""

    process: subprocess.Popen[bytes]
    channel: Connection[Any, Any]

    def kill(self) -> None:
        """End it at once, and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def describe_end(self) -> str:
        """How it ended, when it closed its socket without a word."""
        try:
            code = self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            return "it closed the socket to hffs"
        if code < 0:
            names = {known.value: known.name for known in signal.Signals}
            return f"its process was killed ({names.get(-code, f'signal {-code}')})"
        return f"its process ended (exit code {code})"


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked, and of what: for messages."""

    source: Source
    function: str
    rows: NDArray[np.int64]

    def dead(self, worker: _Worker, chunk: _Chunk | None) -> ConfigError:
        """Error for a worker that ended without a word."""
        at = "while it was imported" if chunk is None else f"in {self._name_rows(chunk)}"
        return ConfigError(_KEY, self.function, why=f"{worker.describe_end()} {at}")

    def failure(self, report: bytes, chunk: _Chunk | None) -> ConfigError | DataError:
        """Error that a worker told."""
        stage, index, text = json.loads(report)
        if chunk is None:
            return ConfigError(_KEY, self.function, why=text)
        if stage == "read":
            why = f"turning them into values of Python {text}"
            return DataError("cannot read", self._name_rows(chunk), why=why)
        row = self.rows[chunk.start + index]
        return ConfigError(_KEY, self.function, why=f"on row {row} of {self.source.name} it {text}")

    def _name_rows(self, chunk: _Chunk) -> str:
        first, last = self.rows[chunk.part][[0, -1]]
        return f"rows {first} to {last} of {self.source.name}"


def apply_row_filter(
    source: Source,
    function: str,
    rows: NDArray[np.int64],
    workers: int,
    progress: Callable[[int, int], None],
) -> NDArray[np.bool_]:
    """Whether `function` (`module:name`) is true of each of these rows (ascending, unique).

    Raises ConfigError where it cannot be imported, raises, does not return a bool, or ends its
    process; DataError for values that Python does not have. `progress` gets rows done and in all.
    """
    names = metadata_columns(source)
    if not names:
        raise ConfigError(_KEY, function, why=f"{source.name} has no columns but images")
    asked = _Asked(source, function, rows)
    keep = np.zeros(len(rows), np.bool_)
    done = 0
    with _started(function, max(1, min(workers, -(-len(rows) // _CHUNK_ROWS)))) as all_workers:
        for chunk, answers in _share(asked, all_workers, _read_chunks(source, names, rows)):
            keep[chunk.part] = answers
            done += len(answers)
            progress(done, len(rows))
    return keep


def _read_chunks(source: Source, names: list[str], rows: NDArray[np.int64]) -> Iterator[_Chunk]:
    for start, batch in read_rows(source, names, rows):
        for at in range(0, batch.num_rows, _CHUNK_ROWS):
            yield _Chunk(start + at, batch.slice(at, _CHUNK_ROWS))


def _share(
    asked: _Asked, workers: list[_Worker], chunks: Iterator[_Chunk]
) -> Iterator[tuple[_Chunk, NDArray[np.bool_]]]:
    """Give a chunk to each worker that has none until all are answered."""
    busy: dict[_Worker, _Chunk | None] = dict.fromkeys(workers)  # each first says it is there
    while busy:
        ready = wait([worker.channel for worker in busy], _TICK_S)
        for worker in [worker for worker in busy if worker.channel in ready]:
            chunk = busy.pop(worker)
            answers = _receive(asked, worker, chunk)
            following = next(chunks, None)
            if following is not None:
                _send(asked, worker, following, is_first=chunk is None)
                busy[worker] = following
            if chunk is not None:
                yield chunk, answers


def _receive(asked: _Asked, worker: _Worker, chunk: _Chunk | None) -> NDArray[np.bool_]:
    try:
        message = worker.channel.recv_bytes()
    except (EOFError, ConnectionError) as error:
        raise asked.dead(worker, chunk) from error
    if not message.startswith(ANSWER):
        with suppress(subprocess.TimeoutExpired):  # it is about to end, and may do so in its way
            worker.process.wait(_GRACE_S)
        raise asked.failure(message[1:], chunk)
    answers = np.frombuffer(message, np.bool_, offset=1)
    if len(answers) != (0 if chunk is None else chunk.batch.num_rows):
        raise asked.dead(worker, chunk)  # something else wrote to the socket
    return answers


def _send(asked: _Asked, worker: _Worker, chunk: _Chunk, *, is_first: bool) -> None:
    try:
        if is_first:
            worker.channel.send_bytes(memoryview(chunk.batch.schema.serialize()))
        worker.channel.send_bytes(memoryview(chunk.batch.serialize()))
    except ConnectionError as error:
        raise asked.dead(worker, chunk) from error


@contextmanager
def _started(function: str, count: int) -> Iterator[list[_Worker]]:
    """Workers that import the function; all have ended afterwards, at once if something failed."""
    with ExitStack() as stack:
        workers = []
        for _ in range(count):
            worker = _start(function)
            stack.callback(worker.channel.close)
            stack.callback(worker.kill)
            workers.append(worker)
        yield workers
        for worker in workers:  # each sees that its socket is closed, and ends by itself
            worker.channel.close()
        with suppress(subprocess.TimeoutExpired):  # one that hangs: nobody waits for the others
            for worker in workers:
                worker.process.wait(_GRACE_S)


def _start(function: str) -> _Worker:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        descriptor = theirs.fileno()
        arguments = (str(descriptor), str(os.getpid()), function, json.dumps(sys.path))
        process = subprocess.Popen(  # noqa: S603 - this very interpreter; a name is an argument
            # Unbuffered, so that nothing printed is lost; -P: no import from this folder yet.
            [sys.executable, "-uP", "-c", _START, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=2,  # hffs's standard output holds nothing but results
            pass_fds=(descriptor,),
            process_group=0,
        )
        return _Worker(process, Connection(ours.detach()))
