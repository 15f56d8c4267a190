"""The process that all workers of a mount are forked from, and what each of them does.

It has imported the codecs and used each once: a worker is there after a millisecond, shares what
they take of memory, and opens nothing any more. It has one thread, so that a fork is safe, does
what its socket says (`Order`), and ends with it; workers end with it. It never sees an image.

A worker answers one image after the other. What an image does to it (a crash, a loop, too much
memory) the nest learns as its parent, and tells.
"""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from hffs.errors import RenderError
from hffs.view import codecs
from hffs.view.codecs.preloading import preload
from hffs.view.workers.confining import be_quiet, confine, isolate
from hffs.view.workers.messages import (
    ANSWER,
    COMMAND,
    LENGTH,
    NOT_STARTED,
    STATUS,
    Kind,
    Limits,
    Order,
    parse_job,
    receive,
    send,
)

Render = Callable[[bytearray], Sequence[bytes]]


def main(descriptor: int, text: str) -> None:
    """Serve a job (`Job.to_text`) on an inherited socket."""
    job, identity = parse_job(text)
    codecs.silence_warnings()
    if job.identity != identity:
        sys.exit("hffs: the image libraries were replaced under a mount; mount again")
    preload()
    be_quiet()  # what it had is a log, which may be moved away and be made anew
    serve(descriptor, partial(_render, job.target, job.reshape), job.limits)


def _render(target: codecs.Target, reshape: codecs.Reshape, data: bytearray) -> list[bytes]:
    return codecs.render(memoryview(data), target, reshape)


def serve(descriptor: int, render: Render, limits: Limits) -> None:
    """Start and end workers as one is told, until nobody tells any more."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # systemd tells all, and the daemon still answers
    confine(limits)
    gc.collect()
    gc.freeze()  # what is here is shared: a collection in a worker would write to all of it
    workers: dict[int, int] = {}
    with socket.socket(fileno=descriptor) as orders:
        while True:
            command, descriptors, _, _ = socket.recv_fds(orders, COMMAND.size, 1)
            if len(command) < COMMAND.size:
                return
            order, number = COMMAND.unpack(command)
            if order == Order.START:
                workers[number] = _start(orders, descriptors, _Worker(render, limits))
            else:
                orders.sendall(STATUS.pack(_end(workers.pop(number))))


def _start(orders: socket.socket, descriptors: Sequence[int], worker: _Worker) -> int:
    """Start a worker: its process, or below zero the errno. Who waits for it sees its end closed,
    and asks how it ended; to end here would end all others as well.
    """
    if not descriptors:  # there was none left for it
        return -errno.EMFILE
    try:
        return _fork(orders, descriptors[0], worker)
    except OSError as error:
        os.close(descriptors[0])
        return -(error.errno or errno.EAGAIN)


def _fork(orders: socket.socket, descriptor: int, worker: _Worker) -> int:
    nest = os.getpid()
    if pid := os.fork():
        os.close(descriptor)
        return pid
    code = 1
    try:
        orders.close()
        isolate(nest)
        worker.serve(socket.socket(fileno=descriptor))
        code = 0
    finally:  # whatever comes: nothing of the nest's may run twice
        os._exit(code)


def _end(pid: int) -> int:
    """End a worker, if it has not ended before; how it did, as `STATUS` has it."""
    if pid < 0:
        return NOT_STARTED - pid
    os.kill(pid, signal.SIGKILL)  # it is not another's number yet: only here it is waited for
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


@dataclass(frozen=True, slots=True)
class _Worker:
    """What is done in a forked process."""

    render: Render
    limits: Limits

    def serve(self, channel: socket.socket) -> None:
        """Answer until the other end is closed, or gone."""
        try:
            while True:
                (length,) = LENGTH.unpack(receive(channel, LENGTH.size))
                send(channel, self._answer(receive(channel, length)))
        except (EOFError, ConnectionError):
            return

    def _answer(self, data: bytearray) -> list[bytes]:
        _allow_cpu(self.limits.cpu_s)
        try:
            files = self.render(data)
        except RenderError as error:
            return _tell(*self._explain(error))
        lengths = [LENGTH.pack(len(file)) for file in files]
        return [ANSWER.pack(Kind.FILES, len(files)), *lengths, *files]

    def _explain(self, error: RenderError) -> tuple[Kind, str]:
        cause = error.__cause__
        if isinstance(cause, MemoryError):
            allowed, _ = resource.getrlimit(resource.RLIMIT_AS)
            why = f"it takes over {allowed / 1e9:.1f} GB of memory"
            if 0 <= allowed < self.limits.memory_bytes:
                return Kind.FAILED, f"{why}, the limit that hffs was started with"
            return Kind.BROKEN, why
        if isinstance(cause, OSError) and cause.errno is not None:  # Pillow's own have none
            return Kind.FAILED, f"its process may not do what a decoder asked for: {cause}"
        return Kind.BROKEN, error.why


def _tell(kind: Kind, why: str) -> list[bytes]:
    text = why.encode("utf-8", "replace")
    return [ANSWER.pack(kind, len(text)), text]


def _allow_cpu(seconds: int) -> None:
    """Have the kernel end this process after so many more seconds of CPU time (SIGXCPU)."""
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    allowed = int(time.process_time()) + seconds + 1
    soft = allowed if hard == resource.RLIM_INFINITY else min(allowed, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))
