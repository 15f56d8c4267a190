"""Children that mount: in the background or beside their parent, who waits for their word.

The fork comes before anything starts a thread or imports pyarrow. The child speaks through a
pipe (`pipes`): progress while it prepares, then `ready`, or the exact error, which the parent
raises as its own.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from hffs import errors
from hffs.data.child import drop_capabilities, follow, offer_memory
from hffs.errors import DataError, HffsError, InterruptedRun, MountError
from hffs.mount.lifecycle.limits import ABORT_S, END_S
from hffs.mount.lifecycle.logs import LogPlan, check_log, start_logging
from hffs.mount.lifecycle.pipes import Listener, PipeListener, Words
from hffs.mount.registry import read_start_time

log = logging.getLogger(__name__)

_POLL_S = 0.02
_END_S = END_S
"""How long a mount that is not wanted any more may take to end; its own children get half of it."""


class _LeavingListener(PipeListener):
    """Leaves the session of its parent when it is ready, and not before."""

    def ready(self) -> None:
        """See `Listener`."""
        os.setsid()
        super().ready()


class _UnexplainedError(Exception):
    """A child ended with `status` and said neither that it is ready nor why not."""

    status = 0


class _ToldError(Exception):
    """What a child said of its end, on the way to who waits for it."""

    def __init__(self, error: Exception) -> None:
        super().__init__(str(error))
        self.error = error


@dataclass(frozen=True, slots=True)
class _Way:
    """How a child lives: what it does first, how long it may take to end when it is not wanted any
    more, and whether it logs the error that it tells its parent.
    """

    prepare: Callable[[], None]
    end_s: float
    logs_error: bool
    listener: type[PipeListener] = PipeListener


def start(
    body: Callable[[Listener], None],
    listener: Listener,
    plan: LogPlan,
    *,
    leaves_late: bool = False,
) -> int:
    """Run `body` in the background; its pid, once it called `ready`.

    Whatever `body` raises before that is raised here. An interrupt ends the child too. With
    `leaves_late` it stays in this process group until it is ready: in an automount the kernel lets
    only the group of systemd pass before (autofs, "oz_mode"); all others wait for the mount.
    """

    check_log(plan)

    def detach() -> None:
        if not leaves_late:
            os.setsid()
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # there is nothing to reload yet
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        _close_inherited()
        start_logging(plan)

    speaker = _LeavingListener if leaves_late else PipeListener
    way = _Way(detach, end_s=_END_S, logs_error=True, listener=speaker)
    return _start(body, listener, way, f"its log is {plan.output}" if plan.output else "")


def start_attached(
    body: Callable[[Listener], None], listener: Listener, name: str, plan: LogPlan
) -> int:
    """As `start`, for a child that stays in the terminal, logs under a name and ends with this
    process, however that ends. Ctrl-C is for the parent: it decides what ends when.
    """
    parent = os.getpid()

    def attach() -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _end_with(parent)
        start_logging(plan, name)

    return _start(body, listener, _Way(attach, end_s=_END_S, logs_error=False), "")


def _start(body: Callable[[Listener], None], listener: Listener, way: _Way, fix: str) -> int:
    try:
        pid = _fork(body, listener, way)
    except _UnexplainedError as end:
        why = describe_end(end.status)
        raise MountError("the daemon ended before it was ready", why=why, fix=fix) from end
    listener.ready()
    return pid


def _close_inherited() -> None:
    """Close what whoever started the command had open: a lock, or a pipe whose end is waited for.

    All that this program has opened is closed at an exec (PEP 446), and that is what tells.
    """
    for number in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # the folder that was listed
            if number > 2 and os.get_inheritable(number):
                os.close(number)


def _end_with(parent: int) -> None:
    """Have the kernel ask this process to end (SIGTERM) when its parent is gone."""
    if not follow(parent, signal.SIGTERM):
        raise InterruptedRun("interrupted")


def run_apart(body: Callable[[Listener], None], listener: Listener) -> None:
    """Run `body` to its end in a child, whose memory goes with it; its error is raised here.

    That the child is ready is not passed on: the mount is not.
    A child that crashes is a DataError: the native readers of damaged files may abort. It ends
    with this process, however that ends.
    """
    with run_beside(body, listener) as wait:
        wait()


@contextmanager
def run_beside(
    body: Callable[[Listener], None], listener: Listener
) -> Iterator[Callable[[], None]]:
    """As `run_apart`, for who has other things to do until the child's end is waited for.

    A child that is not waited for, because something was raised, is ended.
    """
    parent = os.getpid()

    def prepare() -> None:
        # Killed, this process cannot end its child, which would download and prepare for nobody.
        _end_with(parent)
        offer_memory()
        if os.geteuid() != 0:  # what root may read by being root, it has to read
            with suppress(OSError):
                drop_capabilities()

    way = _Way(prepare, end_s=_END_S / 2, logs_error=False)
    try:
        with _forked(body, way) as (pid, pipe):

            def wait() -> None:
                _attend(pid, pipe, listener)
                os.waitpid(pid, 0)

            yield wait
    except _UnexplainedError as end:
        raise _explain_end(end.status) from end


def _explain_end(status: int) -> DataError:
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        # The kernel does so where memory runs out; no file is to blame.
        why, fix = "its reader was killed (SIGKILL)", "see that memory is free, try again"
    else:
        why, fix = f"reading it crashed ({describe_end(status)})", "its files are damaged"
    return DataError("cannot use the data set", why=why, fix=fix)


def describe_end(status: int) -> str:
    """Why a process is gone, from its wait status."""
    code = os.waitstatus_to_exitcode(status)
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"


def _fork(body: Callable[[Listener], None], listener: Listener, way: _Way) -> int:
    with _forked(body, way) as (pid, pipe):
        _attend(pid, pipe, listener)
    return pid


@contextmanager
def _forked(body: Callable[[Listener], None], way: _Way) -> Iterator[tuple[int, Words]]:
    """A child and what it says; if anything is raised meanwhile, the child is ended."""
    reading, writing = os.pipe()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # A handler that raises while Python's own hooks after a fork run is ignored by them: the child
    # takes signals when it has handlers of its own.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM, signal.SIGINT))
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        _run_child(body, writing, way, mask)
    os.close(writing)
    try:
        # Who waits for a child ends it before ending itself: it would work on for nobody.
        interrupting = handling(raise_interrupt, *_find_interrupting())
        with open(reading, "rb", buffering=0) as pipe, interrupting:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            yield pid, Words(pipe)
    except _ToldError as told:  # the child has ended, or is about to
        raise told.error from None
    except BaseException:
        _end(pid, way.end_s)
        raise


def _attend(pid: int, pipe: Words, listener: Listener) -> None:
    """Pass on what a child says until it is ready, or raise the error that ended it."""
    error = _listen(pipe, listener)
    if isinstance(error, _UnexplainedError):
        error.status = os.waitpid(pid, 0)[1]
    if error is not None:
        raise _ToldError(error)


def _find_interrupting() -> tuple[signal.Signals, ...]:
    """What ends who waits; not a hang-up where it was told to live on (nohup, a service)."""
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        return (signal.SIGTERM,)
    return (signal.SIGTERM, signal.SIGHUP)


_Handler = Callable[[int, FrameType | None], Any] | signal.Handlers


@contextmanager
def handling(handler: _Handler, *numbers: signal.Signals) -> Iterator[None]:
    """Handle some signals so, to the end of the block."""
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, handled in before.items():
            signal.signal(number, handled)


def _end(pid: int, within_s: float) -> None:
    """Ask a child to end, and see to it that it did: what it was about to mount is then decided."""
    # Asked again, since Python ignores what a handler raises inside a callback (of an import, say).
    asking = [(signal.SIGTERM, within_s * part) for part in (0.05, 0.15, 0.8)]
    for number, patience_s in (*asking, (signal.SIGKILL, 1.0)):
        deadline = time.monotonic() + patience_s
        with suppress(ProcessLookupError):
            os.kill(pid, number)
        while read_start_time(pid) is not None and time.monotonic() < deadline:
            time.sleep(_POLL_S)


def _listen(pipe: Words, listener: Listener) -> Exception | None:
    """Pass on what a child says; None once it is ready, else the error that ended it."""
    for line in pipe:
        message = json.loads(line)
        if "progress" in message:
            listener.progress(*message["progress"])
        elif "notice" in message:
            listener.notice(message["notice"])
        elif "starting" in message:
            pipe.expect(message["starting"] + ABORT_S)  # its own limit comes before
        elif "error" in message:
            kind, what, which, why, fix = message["error"]
            error: HffsError = getattr(errors, kind)(what, which, why=why, fix=fix)
            return error
        else:
            return None
    return _UnexplainedError()


def _run_child(
    body: Callable[[Listener], None], writing: int, way: _Way, mask: set[int | signal.Signals]
) -> NoReturn:
    """The rest of the child's life; never returns into the parent's code."""
    code = 1
    try:
        signal.signal(signal.SIGTERM, raise_interrupt)
        # A Ctrl-C reaches all of a terminal's group; who waits for this child then ends it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        way.prepare()
        pipe = way.listener(os.fdopen(writing, "w", encoding="utf-8"))
        with _reported(pipe, logs_error=way.logs_error):
            body(pipe)
        code = 0
    except HffsError as error:
        code = error.exit_code
    finally:
        try:
            # From here on an interrupt would only raise into the parent's code.
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            logging.shutdown()
        finally:
            os._exit(code)


def raise_interrupt(number: int, frame: FrameType | None) -> NoReturn:
    """Handle a signal until the event loop does: by an exception, so that children end too."""
    raise InterruptedRun("interrupted")


@contextmanager
def _reported(pipe: PipeListener, *, logs_error: bool) -> Iterator[None]:
    try:
        yield
    except HffsError as error:
        if logs_error or not pipe.is_heard:  # else the parent does: an error is said once
            log.error("%s", error)  # noqa: TRY400 - the line says it all
        pipe.fail(error)
        raise
    except BaseException as error:
        log.exception("the daemon failed")
        pipe.fail(MountError("the daemon failed", why=repr(error), fix="its log says more"))
        raise
