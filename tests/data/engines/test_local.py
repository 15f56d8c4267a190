"""The engine of one host: real processes, some of which die."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from hffs.data.engines import Needs
from hffs.data.engines.local import LocalEngine
from hffs.errors import DataError, SourceError, UsageError
from tests.data.engines import work
from tests.waiting import wait_until

TWO = LocalEngine(["cpu", "cpu"])


def test_one_device_is_this_process() -> None:
    answers = list(LocalEngine(["cuda:1"]).run(work.make_teller, range(3), Needs()))
    assert answers == [(task, "cuda:1", os.getpid()) for task in range(3)]


def test_an_engine_has_a_device() -> None:
    with pytest.raises(UsageError, match="no device is named"):
        LocalEngine([])


def test_several_devices_are_a_process_each() -> None:
    answers = list(LocalEngine(["cpu", "disk"]).run(work.make_teller, range(40), Needs()))
    assert sorted(task for task, _, _ in answers) == list(range(40))
    assert os.getpid() not in {process for _, _, process in answers}
    assert {device for _, device, _ in answers} <= {"cpu", "disk"}


def test_no_tasks_need_no_worker() -> None:
    assert list(TWO.run(work.make_teller, [], Needs())) == []


@pytest.mark.parametrize("ahead", [1, 2, 5])
def test_a_worker_may_look_ahead_as_far_as_it_is_given_tasks(ahead: int) -> None:
    """Also where it would look further, which must not have it wait for what never comes."""
    answers = list(TWO.run(partial(work.make_looker, ahead), range(9), Needs(at_once=2)))
    assert sorted(task for task, _, _ in answers) == list(range(9))
    assert max(held for _, _, held in answers) == min(ahead, 2)


def test_tasks_and_results_may_be_larger_than_what_a_socket_holds() -> None:
    tasks = [letter * 3_000_000 for letter in (b"a", b"b", b"c", b"d", b"e")]
    answers = list(TWO.run(work.make_large, tasks, Needs(at_once=2)))
    assert sorted(answers) == [task.upper() for task in tasks]


def test_what_a_worker_that_dies_had_is_done_by_others(tmp_path: Path) -> None:
    make = partial(work.make_mortal, tmp_path, 5, 2)
    answers = list(TWO.run(make, range(12), Needs(at_once=2)))
    assert sorted(task for task, _, _ in answers) == list(range(12))
    dead = {int(path.name) for path in tmp_path.iterdir()}
    assert len(dead) == 2
    assert len({process for _, _, process in answers} - dead) >= 1


def test_a_task_that_kills_every_worker_is_given_up(tmp_path: Path) -> None:
    make = partial(work.make_mortal, tmp_path, 5, 99)
    with pytest.raises(DataError) as caught:
        list(TWO.run(make, range(12), Needs()))
    assert str(caught.value) == (
        "cannot do task 6 of 12: 3 workers that had it died, the last was killed (SIGKILL); "
        "look whether memory runs out"
    )
    assert len(list(tmp_path.iterdir())) == 3


def test_an_error_of_hffs_crosses_as_itself() -> None:
    with pytest.raises(SourceError) as caught:
        list(TWO.run(work.make_refuser, range(9), Needs()))
    assert str(caught.value) == "cannot open three.parquet: gone; find it"
    assert caught.value.fix == "find it"


def test_another_error_ends_the_run_and_is_not_tried_again(
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(DataError, match=r"a worker failed on cpu: ZeroDivisionError: "):
        list(TWO.run(work.make_faulty, range(9), Needs()))
    out, err = capfd.readouterr()
    assert "Traceback" in err or not err  # the other may have been ended before it told
    assert not out


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_closing_ends_all_workers_at_once(tmp_path: Path) -> None:
    make = partial(work.make_sleeper, tmp_path)
    with closing(TWO.run(make, [0, 1, 1, 1], Needs())) as answers:  # type: ignore[type-var] # a generator
        next(answers)
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        workers = [int(path.name) for path in tmp_path.iterdir()]
    assert not any(map(_is_there, workers))


_RUN = """
import sys
from functools import partial
from pathlib import Path
from hffs.data.engines import Needs
from hffs.data.engines.local import LocalEngine
from tests.data.engines import work
make = partial(work.make_sleeper, Path(sys.argv[1]))
for answer in LocalEngine(["cpu", "cpu"]).run(make, [1, 1, 1], Needs()):
    pass
"""


def _run_apart(folder: Path) -> tuple[subprocess.Popen[bytes], list[int]]:
    """A process whose two workers are at tasks that never end."""
    command = [sys.executable, "-c", _RUN, str(folder)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ})
    wait_until(lambda: len(list(folder.iterdir())) == 2)
    return process, [int(path.name) for path in folder.iterdir()]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_workers_end_with_the_process_that_started_them(
    tmp_path: Path, number: signal.Signals
) -> None:
    process, workers = _run_apart(tmp_path)
    process.send_signal(number)
    _, told = process.communicate()
    wait_until(lambda: not any(map(_is_there, workers)))
    assert (b"KeyboardInterrupt" in told) == (number == signal.SIGINT)
