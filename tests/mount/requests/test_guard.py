import errno
import logging
import os
import signal
import subprocess
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pyfuse3
import pytest
import trio

from hffs.errors import DeadlineError, HffsError, MissingError, RenderError, StaleError
from hffs.mount.observing.counting import Counters
from hffs.mount.requests import waiting
from hffs.mount.requests.guard import guarded
from hffs.mount.requests.waiting import wait_for


class _Mount:
    """What is counted of a mount with one kind of request."""

    def __init__(self) -> None:
        self.counters = Counters(("handler",))


def _raising(error: BaseException) -> Callable[[_Mount, int], Awaitable[None]]:
    @guarded
    async def handler(self: _Mount, inode: int) -> None:
        raise error

    return handler


@pytest.mark.parametrize(
    ("error", "number"),
    [
        (RenderError("x"), errno.EIO),
        (MissingError("x"), errno.ENOENT),
        (StaleError("x"), errno.ESTALE),
        (DeadlineError("x"), errno.ETIMEDOUT),
        (pyfuse3.FUSEError(errno.EROFS), errno.EROFS),
    ],
)
def test_known_errors_become_their_errno_quietly(
    error: Exception, number: int, caplog: pytest.LogCaptureFixture
) -> None:
    mount = _Mount()
    with pytest.raises(pyfuse3.FUSEError) as caught:
        trio.run(_raising(error), mount, 17)
    assert caught.value.errno == number
    assert mount.counters.meters["handler"].errnos == {number: 1}
    assert sum(mount.counters.errors.values()) == isinstance(error, HffsError)
    assert mount.counters.errors[type(error).__name__] == isinstance(error, HffsError)
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError(), KeyError(1)])
def test_unknown_errors_become_eio_and_one_log_entry(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    mount = _Mount()
    with pytest.raises(pyfuse3.FUSEError) as caught:
        trio.run(_raising(error), mount, 17)
    assert caught.value.errno == errno.EIO
    assert mount.counters.errors["unexpected"] == 1
    assert mount.counters.meters["handler"].errnos == {errno.EIO: 1}
    (entry,) = caplog.records
    assert entry.exc_info
    assert "17" in entry.getMessage()


def test_a_cancellation_passes() -> None:
    mount, seen = _Mount(), list[int]()

    @guarded
    async def handler(self: _Mount) -> None:
        seen.append(self.counters.in_flight)
        await trio.sleep_forever()

    async def main() -> bool:
        with trio.move_on_after(0.01) as scope:
            await handler(mount)
        return scope.cancelled_caught

    assert trio.run(main)
    assert [*seen, mount.counters.in_flight] == [1, 0]
    assert sum(mount.counters.meters["handler"].buckets) == 1
    assert sum(mount.counters.errors.values()) == 0


def test_requests_are_counted_by_how_long_they_take() -> None:
    meter = Counters(("read",)).meters["read"]
    for seconds in (0.00001, 0.00005, 0.00006, 61.0):
        meter.note(round(seconds * 1e9))
    assert meter.buckets[:2] == [2, 1]
    assert meter.buckets[-1] == 1
    assert sum(meter.buckets) == 4
    assert meter.total_s == pytest.approx(61.00012)


def test_a_result_from_a_thread_arrives() -> None:
    async def main() -> int:
        with ThreadPoolExecutor(1) as pool:
            return await wait_for(pool.submit(lambda: 17), "x")

    assert trio.run(main) == 17


def test_an_error_from_a_thread_arrives() -> None:
    done: Future[int] = Future()
    done.set_exception(RenderError("bad"))
    with pytest.raises(RenderError):
        trio.run(wait_for, done, "x")


def test_a_deadline_ends_the_wait_and_not_the_work(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(waiting, "REQUEST_DEADLINE_S", 0.01)
    never: Future[int] = Future()
    with pytest.raises(DeadlineError, match=r"cannot read 17\.jpg"):
        trio.run(wait_for, never, "17.jpg")
    assert [entry.getMessage() for entry in caplog.records] == [
        "cannot read 17.jpg: no answer within 0 s"
    ]
    never.set_result(1)
    assert never.result() == 1


def test_only_signals_that_end_a_program_end_its_wait() -> None:
    handling = ["bash", "-c", "trap : TERM USR1; echo ready; read"]
    with subprocess.Popen(handling, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        program.stdout.readline()
        program.send_signal(signal.SIGSTOP)  # what comes now waits
        os.waitid(os.P_PID, program.pid, os.WSTOPPED)
        seen = [waiting.is_told_to_end(program.pid)]
        for number in (signal.SIGUSR1, signal.SIGTERM):
            program.send_signal(number)
            seen.append(waiting.is_told_to_end(program.pid))
        program.kill()
    assert seen == [False, False, True]
    assert not waiting.is_told_to_end(program.pid)  # has ended
    assert not waiting.is_told_to_end(0)  # of a container that this one does not see
