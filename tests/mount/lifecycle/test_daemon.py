"""The parent's side and the pipe; whole daemons are tested through real mounts."""

import faulthandler
import logging
import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hffs.errors import DataError, MountError, SourceError
from hffs.mount.lifecycle import daemon
from hffs.mount.lifecycle.logs import LogPlan
from hffs.mount.lifecycle.pipes import Listener


class Heard:
    """A listener that remembers."""

    def __init__(self) -> None:
        self.bars: list[tuple[str, int, int]] = []
        self.notices: list[str] = []
        self.is_ready = False

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        self.bars.append((what, done, total))

    def notice(self, text: str) -> None:
        self.notices.append(text)

    def starting(self, within_s: float) -> None:
        pass

    def ready(self) -> None:
        self.is_ready = True


def _log_to(file: Path) -> LogPlan:
    return LogPlan(file, output=file)


def _reap(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_progress_notices_and_readiness_arrive(tmp_path: Path) -> None:
    def body(listener: Listener) -> None:
        listener.progress("index", 3, 9)
        listener.notice("no captions")
        listener.ready()
        listener.notice("nobody hears this")

    heard = Heard()
    pid = daemon.start(body, heard, _log_to(tmp_path / "log"))
    assert _reap(pid) == 0
    assert (heard.bars, heard.notices, heard.is_ready) == ([("index", 3, 9)], ["no captions"], True)


@pytest.mark.parametrize("kind", [SourceError, DataError, MountError])
def test_the_childs_error_is_raised_as_it_was(tmp_path: Path, kind: type[SourceError]) -> None:
    def body(listener: Listener) -> None:
        raise kind("cannot open", "a.parquet", why="no such file", fix="check the path")

    with pytest.raises(kind) as caught:
        daemon.start(body, Heard(), _log_to(tmp_path / "log"))
    assert str(caught.value) == "cannot open a.parquet: no such file; check the path"
    assert "cannot open a.parquet" in (tmp_path / "log").read_text()


def test_an_unexpected_failure_is_one_line_and_a_traceback_in_the_log(tmp_path: Path) -> None:
    def body(listener: Listener) -> None:
        raise KeyError("surprise")

    with pytest.raises(MountError, match="the daemon failed: KeyError"):
        daemon.start(body, Heard(), _log_to(tmp_path / "log"))
    assert "Traceback" in (tmp_path / "log").read_text()


def test_a_child_that_dies_silently_is_an_error(tmp_path: Path) -> None:
    def body(listener: Listener) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(MountError, match="ended before it was ready"):
        daemon.start(body, Heard(), _log_to(tmp_path / "log"))


def test_an_interrupt_while_waiting_ends_the_child(tmp_path: Path) -> None:
    class Impatient(Heard):
        def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
            raise KeyboardInterrupt

    pids = tmp_path / "pid"

    def body(listener: Listener) -> None:
        pids.write_text(str(os.getpid()))
        listener.progress("index", 0, 1)
        while True:
            time.sleep(1)

    with pytest.raises(KeyboardInterrupt):
        daemon.start(body, Impatient(), _log_to(tmp_path / "log"))
    assert _reap(int(pids.read_text())) == 130


def test_the_child_has_left_the_terminal(tmp_path: Path) -> None:
    def body(listener: Listener) -> None:
        facts = (os.getsid(0) == os.getpid(), os.path.realpath("/proc/self/fd/0"))
        listener.notice(repr(facts))
        os.write(1, b"to the log\n")
        listener.ready()

    heard = Heard()
    _reap(daemon.start(body, heard, _log_to(tmp_path / "log")))
    assert heard.notices == ["(True, '/dev/null')"]
    assert (tmp_path / "log").read_text() == "to the log\n"
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600


def test_regression_a_daemon_keeps_nothing_of_who_called(tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    os.set_inheritable(theirs, True)  # as what a shell hands on

    def body(listener: Listener) -> None:
        listener.ready()
        signal.pause()

    pid = daemon.start(body, Heard(), _log_to(tmp_path / "log"))
    os.close(theirs)
    try:
        assert select.select([ours], [], [], 60)[0]
        assert os.read(ours, 1) == b""
    finally:
        os.kill(pid, signal.SIGKILL)
        _reap(pid)
        os.close(ours)


def test_work_apart_ends_with_its_process_and_its_error(tmp_path: Path) -> None:
    def work(listener: Listener) -> None:
        listener.progress("index", 1, 2)
        (tmp_path / "pid").write_text(str(os.getpid()))
        listener.ready()

    def fail(listener: Listener) -> None:
        raise DataError("nothing is left of", "a.parquet")

    heard = Heard()
    daemon.run_apart(work, heard)
    assert int((tmp_path / "pid").read_text()) != os.getpid()
    assert heard.bars == [("index", 1, 2)]
    assert not heard.is_ready
    with pytest.raises(DataError, match="nothing is left of"):
        daemon.run_apart(fail, Heard())


def test_work_apart_is_what_the_kernel_kills_first_where_memory_runs_out() -> None:
    def work(listener: Listener) -> None:
        listener.notice(Path("/proc/self/oom_score_adj").read_text().strip())
        listener.ready()

    heard = Heard()
    daemon.run_apart(work, heard)
    assert heard.notices == ["1000"]


def test_work_beside_goes_on_until_it_is_waited_for(tmp_path: Path) -> None:
    mine = tmp_path / "mine"

    def work(listener: Listener) -> None:
        while not mine.exists():
            time.sleep(0.01)
        listener.ready()

    def fail(listener: Listener) -> None:
        raise DataError("nothing is left of", "a.parquet")

    with daemon.run_beside(work, Heard()) as wait:
        mine.write_text("done beside it")
        wait()

    def go_on() -> None:
        with daemon.run_beside(fail, Heard()) as wait:
            mine.write_text("before the error is heard")
            wait()

    with pytest.raises(DataError, match="nothing is left of"):
        go_on()
    assert mine.read_text() == "before the error is heard"


def test_work_beside_is_ended_when_nobody_will_wait(tmp_path: Path) -> None:
    pids = tmp_path / "pid"

    def work(listener: Listener) -> None:
        pids.write_text(str(os.getpid()))
        while True:
            time.sleep(1)

    def fail() -> None:
        with daemon.run_beside(work, Heard()):
            while not pids.exists() or not pids.read_text():
                time.sleep(0.01)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert _reap(int(pids.read_text())) == 130


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (signal.SIGABRT, "reading it crashed (SIGABRT); its files are damaged"),
        (signal.SIGKILL, "its reader was killed (SIGKILL); see that memory is free, try again"),
    ],
)
def test_a_crash_of_work_apart_is_said_to_be_the_datas(number: signal.Signals, said: str) -> None:
    def crash(listener: Listener) -> None:
        faulthandler.disable()  # it would print the stack of what is meant to happen
        os.kill(os.getpid(), number)

    with pytest.raises(DataError) as caught:
        daemon.run_apart(crash, Heard())
    assert str(caught.value) == f"cannot use the data set: {said}"


def test_regression_work_apart_ends_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    reading, writing = os.pipe()  # its other end is closed once nobody holds it

    def work(listener: Listener) -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        while True:
            signal.pause()

    with pytest.raises(MountError, match="SIGKILL"):
        daemon.start(lambda _: daemon.run_apart(work, Heard()), Heard(), _log_to(tmp_path / "log"))
    os.close(writing)
    assert select.select([reading], [], [], 20)[0]
    os.close(reading)


def test_an_attached_child_stays_in_the_terminal_and_logs_under_its_name(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def body(listener: Listener) -> None:
        logging.getLogger("hffs").warning("look")
        facts = (os.getsid(0) == os.getpid(), signal.getsignal(signal.SIGINT) == signal.SIG_IGN)
        listener.notice(repr(facts))
        listener.ready()

    heard = Heard()
    assert _reap(daemon.start_attached(body, heard, "100%s art", LogPlan())) == 0
    assert (heard.notices, heard.is_ready) == (["(False, True)"], True)
    assert "WARNING 100%s art: look" in capfd.readouterr().err


def test_the_error_of_an_attached_child_is_left_to_its_parent(
    capfd: pytest.CaptureFixture[str],
) -> None:
    def fail(listener: Listener) -> None:
        raise SourceError("cannot open", "a.parquet")

    def fail_later(listener: Listener) -> None:
        listener.ready()
        raise SourceError("cannot reopen", "a.parquet")

    with pytest.raises(SourceError, match="cannot open"):
        daemon.start_attached(fail, Heard(), "art", LogPlan())
    assert capfd.readouterr().err == ""
    _reap(daemon.start_attached(fail_later, Heard(), "art", LogPlan()))
    assert "ERROR art: cannot reopen a.parquet" in capfd.readouterr().err


def test_a_child_that_is_not_wanted_and_does_not_listen_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Impatient(Heard):
        def notice(self, text: str) -> None:
            raise KeyboardInterrupt

    pids = tmp_path / "pid"

    def body(listener: Listener) -> None:
        pids.write_text(str(os.getpid()))
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        listener.notice("deaf")
        while True:
            time.sleep(1)

    monkeypatch.setattr(daemon, "_END_S", 2.0)
    with pytest.raises(KeyboardInterrupt):
        daemon.start(body, Impatient(), _log_to(tmp_path / "log"))
    assert _reap(int(pids.read_text())) == -signal.SIGKILL


def test_regression_a_signal_that_meets_a_fork_is_not_lost(tmp_path: Path) -> None:
    # Raised inside the hooks that Python runs after a fork, the handler's exception was ignored.
    code = f"""
import os, signal
from hffs.mount.lifecycle import daemon
from pathlib import Path
from tests.mount.lifecycle.test_daemon import Heard, _log_to
signal.signal(signal.SIGTERM, daemon.raise_interrupt)
os.register_at_fork(after_in_child=lambda: os.kill(os.getpid(), signal.SIGTERM))
plan = _log_to(Path({str(tmp_path / "log")!r}))
try:
    daemon.start(lambda listener: listener.ready(), Heard(), plan)
except daemon.HffsError as error:
    print(error)
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert "ended before it was ready: exit code 130" in done.stdout, done.stderr
