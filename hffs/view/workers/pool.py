"""Rendering in other processes: an image that crashes a decoder, or takes all it can get, costs one
file, and never the mount.

Owns the processes: a nest (`hffs.view.workers.nest`) that forks a worker whenever all others are
busy, so no more than there are threads that render; where none can be started, for want of
processes or descriptors, an image waits for one of the others. Must not know files or cells.

Invariants: bytes are those that `codecs.render` makes in this process; what a worker says is
checked, since an image may have taken it over; what an image did itself is a RenderError, which is
for good, and any other end of a worker is tried once more, in a new one, then a WorkerError or
DeadlineError, which is not. Everything ends with this process, however that ends. Thread-safe.
"""

from __future__ import annotations

import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from hffs.core.formats import MediaFormat, sniff
from hffs.core.image_headers import MAX_PIXELS
from hffs.data.programs import BareProgram, describe_code, start_bare
from hffs.errors import DeadlineError, HffsError, RenderError, WorkerError
from hffs.view import codecs
from hffs.view.codecs.reading import check_length
from hffs.view.rendering import Rendering
from hffs.view.workers.messages import (
    ANSWER,
    COMMAND,
    LENGTH,
    NOT_STARTED,
    STATUS,
    Job,
    Kind,
    Limits,
    Order,
    receive,
    send,
)

LIMITS = Limits(cpu_s=90, memory_bytes=6_000_000_000)
"""What one image may take. The largest that is not refused by its header takes 20 s of a 2-core
host's CPU and up to 5 GB (docs/rendering.md).
"""

WALL_S = 180.0
"""How long a worker may take over one image, however busy the host is: then it hangs."""

IDLE_S = 60.0
"""How long a worker that is not needed is kept; the last is kept for good."""

_ENVIRON = {
    # The nest forks, which takes that no library has begun threads.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    # Pixels of the next image take the memory of those before: else glibc gives it back each time,
    # and a quarter of the time goes into page faults (640 x 480: 730 of them, now 10).
    "MALLOC_MMAP_THRESHOLD_": str(32 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
}

_MAIN = "hffs.view.workers.nest:main"
_END_S = 10.0  # a nest that does not tell within how a worker ended is no use any more
_MOST_BYTES = 4 * MAX_PIXELS + (64 << 20)
"""Of all files of one image: what the largest takes uncompressed, with what goes beside pixels."""

_SHOWN_CHARS = 300
_CRASHES = {
    signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT, signal.SIGTRAP,
    signal.SIGSYS,
}  # fmt: skip

_IMAGES: dict[str, MediaFormat] = {"jpg": MediaFormat.JPEG, "png": MediaFormat.PNG}


@dataclass(frozen=True, slots=True)
class Means:
    """How images are rendered, for tests to change: limits, and the program that does it."""

    limits: Limits = LIMITS
    wall_s: float = WALL_S
    idle_s: float = IDLE_S
    program: str = _MAIN


class _UnstartedError(Exception):
    """A worker could not be started, for want of processes, descriptors or memory."""


@dataclass(frozen=True, slots=True, eq=False)
class _Nest:
    """The process that workers are forked from."""

    program: BareProgram
    lock: threading.Lock = field(default_factory=threading.Lock)
    numbers: itertools.count[int] = field(default_factory=itertools.count)

    def start_worker(self) -> _Worker:
        """A new worker; OSError if the nest is gone."""
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise _UnstartedError(error.strerror) from error
        number = next(self.numbers)
        with theirs:
            try:
                order = [COMMAND.pack(Order.START, number)]
                socket.send_fds(self.program.channel, order, [theirs.fileno()])
            except OSError:
                ours.close()
                raise
        return _Worker(self, number, ours)

    def end_worker(self, number: int) -> int | None:
        """End a worker, if it has not ended; its `STATUS`, None if the nest does not tell."""
        channel = self.program.channel
        with self.lock:
            until = time.monotonic() + _END_S
            try:
                send(channel, [COMMAND.pack(Order.END, number)], until)
                (code,) = STATUS.unpack(receive(channel, STATUS.size, until))
            except (OSError, EOFError):
                return None
        return int(code)


@dataclass(frozen=True, slots=True, eq=False)
class _Worker:
    """A process that renders, and our end of the socket to it."""

    nest: _Nest
    number: int
    channel: socket.socket

    def end(self) -> int | None:
        """As `_Nest.end_worker` does."""
        self.channel.close()
        return self.nest.end_worker(self.number)


class RenderPool:
    """Renders the images of one view, as many at a time as it is called by threads."""

    def __init__(self, rendering: Rendering, means: Means | None = None) -> None:
        self._means = means or Means()
        self._rendering = rendering
        self._job = Job(rendering.target, rendering.reshape, self._means.limits)
        self._nest: _Nest | None = None
        self._idle: list[tuple[float, _Worker]] = []  # since when; the last is taken first
        self._timer: threading.Timer | None = None
        self._is_closed = False
        self._lock = threading.Lock()
        self._busy = 0  # threads that have a worker, or start one
        self._less_busy = threading.Condition(self._lock)

    def close(self) -> None:
        """End everything at once; what is being rendered is a WorkerError."""
        with self._lock:
            self._is_closed = True
            nest, self._nest = self._nest, None
            idle, self._idle = self._idle, []
            if self._timer is not None:
                self._timer.cancel()
            self._less_busy.notify_all()
        for _, worker in idle:
            worker.channel.close()
        if nest is not None:
            nest.program.kill()

    def render(self, data: bytes | memoryview) -> Sequence[bytearray]:
        """What `codecs.render` makes of an image; WorkerError or DeadlineError where that could
        not be found out.
        """
        check_length(data)
        try:
            return self._try(data, self._take)
        except (WorkerError, DeadlineError):
            return self._try(data, self._start)

    def _try(self, data: bytes | memoryview, take: Callable[[], _Worker]) -> Sequence[bytearray]:
        """Render by a worker, or by the next that is idle where none can be started."""
        until = time.monotonic() + self._means.wall_s
        with self._lock:
            self._busy += 1
        try:
            while True:
                try:
                    return self._render(data, take())
                except _UnstartedError as error:
                    take = partial(self._wait_idle, until, str(error))
        finally:
            with self._lock:
                self._busy -= 1
                self._less_busy.notify_all()

    def _wait_idle(self, until: float, why: str) -> _Worker:
        """A worker that a busy thread is done with; WorkerError where there will be none."""
        with self._lock:
            self._busy -= 1
            self._less_busy.notify_all()
            try:
                while not self._idle:
                    left_s = until - time.monotonic()
                    if self._is_closed or not self._busy or left_s <= 0:
                        raise WorkerError("cannot render", why=f"no process to do it: {why}")
                    self._less_busy.wait(left_s)
                return self._idle.pop()[1]
            finally:
                self._busy += 1

    def _render(self, data: bytes | memoryview, worker: _Worker) -> Sequence[bytearray]:
        until = time.monotonic() + self._means.wall_s
        try:
            send(worker.channel, [LENGTH.pack(len(data)), data], until)
            files = self._receive(worker.channel, data, until)
        except (OSError, EOFError) as error:
            is_late = isinstance(error, TimeoutError)
        except MemoryError as error:
            self._end(worker)
            raise WorkerError("cannot render", why="no memory for what it becomes") from error
        except BaseException:
            self._end(worker)
            raise
        else:
            self._give(worker)
            if isinstance(files, RenderError):
                raise files
            return files
        code = self._end(worker)
        if code is not None and code >= NOT_STARTED:
            raise _UnstartedError(os.strerror(code - NOT_STARTED))
        raise self._explain(code, is_late=is_late)

    def _receive(
        self, channel: socket.socket, data: bytes | memoryview, until: float
    ) -> list[bytearray] | RenderError:
        """An answer, checked; WorkerError where a worker failed, or is not to be trusted."""
        kind, count = ANSWER.unpack(receive(channel, ANSWER.size, until))
        if kind != Kind.FILES:
            why = _read_reason(channel, count, until)
            if kind == Kind.BROKEN:
                return RenderError("cannot render", why=why)
            raise WorkerError("cannot render", why=why)
        if count != len(self._rendering.tiles):
            raise _refuse(f"{count} files")
        lengths = [LENGTH.unpack(receive(channel, LENGTH.size, until))[0] for _ in range(count)]
        if sum(lengths) > _MOST_BYTES:
            raise _refuse(f"{sum(lengths)} bytes")
        files = [receive(channel, length, until) for length in lengths]
        job = self._job
        expected = _IMAGES[codecs.extension(sniff(data), job.target, bool(job.reshape))]
        if any(sniff(memoryview(file)) is not expected for file in files):
            raise _refuse(f"what is no {expected.name}")
        return files

    def _explain(self, code: int | None, *, is_late: bool) -> HffsError:
        """The error for a worker that did not answer."""
        what = "cannot render"
        if is_late:
            why = f"its process did not answer within {self._means.wall_s:.0f} s"
            return DeadlineError(what, why=why)
        if code is None:
            return WorkerError(what, why="the processes that render have ended")
        if code == -signal.SIGXCPU:
            return RenderError(what, why=f"it took over {self._means.limits.cpu_s} s of CPU")
        if -code in _CRASHES:
            return RenderError(what, why=f"its decoder crashed ({signal.Signals(-code).name})")
        return WorkerError(what, why=f"its process {describe_code(code)}")

    def _take(self) -> _Worker:
        """A worker that is idle, else a new one."""
        with self._lock:
            if self._idle:
                return self._idle.pop()[1]
        return self._start()

    def _start(self) -> _Worker:
        """A new worker, which may be told only later that it could not begin."""
        nest = self._find_nest()
        try:
            return nest.start_worker()
        except OSError:
            self._drop(nest)
        try:
            return self._find_nest().start_worker()
        except OSError as error:
            raise WorkerError("cannot render", why=f"no process to do it: {error}") from error

    def _find_nest(self) -> _Nest:
        with self._lock:
            if self._is_closed:
                raise WorkerError("cannot render", why="the view is closed")
            if self._nest is None:
                self._nest = _Nest(self._launch())
            return self._nest

    def _launch(self) -> BareProgram:
        try:
            return start_bare(self._means.program, self._job.to_text(), environ=_ENVIRON)
        except OSError as error:
            raise _UnstartedError(error.strerror) from error

    def _end(self, worker: _Worker) -> int | None:
        code = worker.end()
        if code is None:
            self._drop(worker.nest)
        return code

    def _drop(self, nest: _Nest) -> None:
        """Go on without a nest that is gone, or does not answer."""
        with self._lock:
            if self._nest is not nest:
                return
            self._nest = None
            for _, worker in self._idle:
                worker.channel.close()
            self._idle.clear()
        nest.program.kill()

    def _give(self, worker: _Worker) -> None:
        """Keep a worker for whoever asks next."""
        with self._lock:
            is_kept = not self._is_closed and worker.nest is self._nest
            if is_kept:
                self._idle.append((time.monotonic(), worker))
                self._watch_idle()
        if not is_kept:
            worker.channel.close()  # it ends with its nest

    def _watch_idle(self) -> None:
        if self._timer is None and len(self._idle) > 1:
            timer = threading.Timer(self._means.idle_s, self._retire)
            timer.daemon = True
            with suppress(RuntimeError):  # no thread: whoever gives a worker next tries again
                timer.start()
                self._timer = timer

    def _retire(self) -> None:
        """End workers that were not needed for a while, but for one."""
        since = time.monotonic() - self._means.idle_s
        with self._lock:
            self._timer = None
            idle, last = self._idle[:-1], self._idle[-1:]
            retired = [worker for at, worker in idle if at <= since]
            self._idle = [each for each in idle if each[0] > since] + last
            if not self._is_closed:
                self._watch_idle()
        for worker in retired:
            self._end(worker)


def _read_reason(channel: socket.socket, length: int, until: float) -> str:
    """One line of a bounded length that does nothing to a terminal or a log."""
    if length > 4 * _SHOWN_CHARS:
        raise _refuse("a long reason")
    text = receive(channel, length, until).decode("utf-8", "replace")
    line = "".join(char if char.isprintable() else " " for char in text)
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}..."


def _refuse(what: str) -> WorkerError:
    return WorkerError("cannot render", why=f"its process answered with {what}")
