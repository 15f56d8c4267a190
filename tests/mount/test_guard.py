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

from hffs.errors import DeadlineError, MissingError, RenderError, StaleError
from hffs.mount import waiting
from hffs.mount.guard import guarded
from hffs.mount.waiting import wait_for


def _raising(error: BaseException) -> Callable[[object, int], Awaitable[None]]:
    @guarded
    async def handler(self: object, inode: int) -> None:
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
    with pytest.raises(pyfuse3.FUSEError) as caught:
        trio.run(_raising(error), None, 17)
    assert caught.value.errno == number
    assert not [entry for entry in caplog.records if entry.levelno >= logging.WARNING]


@pytest.mark.parametrize("error", [ValueError("x"), MemoryError(), RecursionError(), KeyError(1)])
def test_unknown_errors_become_eio_and_one_log_entry(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(pyfuse3.FUSEError) as caught:
        trio.run(_raising(error), None, 17)
    assert caught.value.errno == errno.EIO
    (entry,) = caplog.records
    assert entry.exc_info
    assert "17" in entry.getMessage()


def test_a_cancellation_passes() -> None:
    @guarded
    async def handler(self: object) -> None:
        await trio.sleep_forever()

    async def main() -> bool:
        with trio.move_on_after(0.01) as scope:
            await handler(None)
        return scope.cancelled_caught

    assert trio.run(main)


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
