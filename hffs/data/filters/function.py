"""`filter_func.python`: a function of the user's, called with each row's metadata.

Owns the worker processes that call it (`hffs.data.filters.worker` runs in them), what they are
given and how their failures are told. It must not know what the answer is for. Imported only where
a function is set.

Workers are programs of their own (`hffs.data.programs`).
Invariants: no worker outlives `apply_row_filter`; media columns are not read; rows are given to the
function once each, in any order.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import wait

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.filters.worker import ANSWER
from hffs.data.metadata import metadata_columns, read_rows
from hffs.data.programs import TICK_S, Program, start_program
from hffs.data.source import Source
from hffs.errors import ConfigError, DataError

_KEY = "cannot use filter_func.python"

_CHUNK_ROWS = 2048
"""Rows a worker is given at once: some milliseconds of work, so that all end together."""

_GRACE_S = 2.0
"""How long a worker that has nothing left to do may take to end (it runs its exit handlers)."""

_MAIN = "hffs.data.filters.worker:main"


@dataclass(frozen=True, slots=True, eq=False)
class _Chunk:
    """Some rows: where they are among those wanted, and their values."""

    start: int
    batch: pa.RecordBatch

    @property
    def part(self) -> slice:
        """Their places among the rows that are wanted."""
        return slice(self.start, self.start + self.batch.num_rows)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is asked, and of what: for messages."""

    source: Source
    function: str
    rows: NDArray[np.int64]

    def dead(self, worker: Program, chunk: _Chunk | None) -> ConfigError:
        """Error for a worker that ended without a word."""
        at = "while it was imported" if chunk is None else f"in {self._name_rows(chunk)}"
        end = worker.describe_end(_GRACE_S)
        what = "it closed the socket to hffs" if end is None else f"its process {end}"
        return ConfigError(_KEY, self.function, why=f"{what} {at}")

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
    asked: _Asked, workers: list[Program], chunks: Iterator[_Chunk]
) -> Iterator[tuple[_Chunk, NDArray[np.bool_]]]:
    """Give a chunk to each worker that has none until all are answered."""
    busy: dict[Program, _Chunk | None] = dict.fromkeys(workers)  # each first says it is there
    while busy:
        ready = wait([worker.channel for worker in busy], TICK_S)
        for worker in [worker for worker in busy if worker.channel in ready]:
            chunk = busy.pop(worker)
            answers = _receive(asked, worker, chunk)
            following = next(chunks, None)
            if following is not None:
                _send(asked, worker, following, is_first=chunk is None)
                busy[worker] = following
            if chunk is not None:
                yield chunk, answers


def _receive(asked: _Asked, worker: Program, chunk: _Chunk | None) -> NDArray[np.bool_]:
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


def _send(asked: _Asked, worker: Program, chunk: _Chunk, *, is_first: bool) -> None:
    try:
        if is_first:
            worker.channel.send_bytes(memoryview(chunk.batch.schema.serialize()))
        worker.channel.send_bytes(memoryview(chunk.batch.serialize()))
    except ConnectionError as error:
        raise asked.dead(worker, chunk) from error


@contextmanager
def _started(function: str, count: int) -> Iterator[list[Program]]:
    """Workers that import the function; all have ended afterwards, at once if something failed."""
    with ExitStack() as stack:
        workers = []
        for _ in range(count):
            worker = start_program(_MAIN, os.getpid(), function)
            stack.callback(worker.kill)
            workers.append(worker)
        yield workers
        for worker in workers:  # each sees that its socket is closed, and ends by itself
            worker.channel.close()
        with suppress(subprocess.TimeoutExpired):  # one that hangs: nobody waits for the others
            for worker in workers:
                worker.process.wait(_GRACE_S)
