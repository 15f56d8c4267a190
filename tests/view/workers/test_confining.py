import ctypes
import errno
import json
import os
import subprocess
from pathlib import Path

import pytest

from hffs.data.child import read_capabilities
from hffs.errors import RenderError
from hffs.view.workers.pool import Means
from tests.view.workers.conftest import STAND_IN, StartPool, find_children
from tests.view.workers.standins import ANYBODY, ask

NOBODY = "65534"
REFUSALS = {errno.EACCES, errno.EMFILE, errno.EPERM, errno.EAGAIN}
SECRET = "hf_planted0token"  # noqa: S105 - nobody's

_LANDLOCK_CREATE_RULESET = 444
SIGNALS_SINCE = 6
"""The version of Landlock that first keeps signals in."""


def read_landlock_version() -> int:
    return int(ctypes.CDLL(None).syscall(_LANDLOCK_CREATE_RULESET, None, 0, 1))


def test_a_worker_has_nothing_and_can_do_nothing(
    start_pool: StartPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", SECRET)
    before = find_children(os.getpid())
    with open("/etc/hostname") as held:
        os.set_inheritable(held.fileno(), True)
        pool = start_pool(means=Means(program=STAND_IN))
        with pytest.raises(RenderError) as told:
            pool.render(ask("look_around", os.getpid()))
    attempts = json.loads(told.value.why)
    assert attempts.pop("remove") in (errno.EACCES, errno.ENOENT)
    assert set(attempts.values()) <= REFUSALS
    (nest,) = (pid for pid in find_children(os.getpid()) if pid not in before)
    (worker,) = find_children(nest)
    for pid in (nest, worker):
        folder = Path(f"/proc/{pid}")
        if os.geteuid() == 0:  # of a process that may not be traced nobody else sees these
            assert SECRET not in (folder / "environ").read_text()
            targets = {os.readlink(each) for each in (folder / "fd").iterdir()}
            assert "/etc/hostname" not in targets
            assert os.readlink(folder / "cwd") == "/"
        status = dict(line.split(":\t") for line in (folder / "status").read_text().splitlines())
        assert status["NoNewPrivs"] == "1"
        assert status["Threads"] == "1"
        assert os.geteuid() or status["Uid"].split() == [NOBODY] * 4
        assert (folder / "oom_score_adj").read_text() == "1000\n"
    assert len(list(Path(f"/proc/{worker}/fd").iterdir())) == 4  # three of them are /dev/null


def test_only_workers_give_way_to_the_mount(start_pool: StartPool) -> None:
    before = find_children(os.getpid())
    pool = start_pool(means=Means(program=STAND_IN))
    with pytest.raises(RenderError):
        pool.render(ask("look_around", os.getpid()))
    (nest,) = (pid for pid in find_children(os.getpid()) if pid not in before)
    (worker,) = find_children(nest)
    ours, forking, working = (os.getpriority(os.PRIO_PROCESS, pid) for pid in (0, nest, worker))
    assert forking == ours  # it starts workers for all who wait
    assert working == min(ours + 5, 19)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_a_worker_has_no_capability_of_a_service_that_may_mount(start_pool: StartPool) -> None:
    before = find_children(os.getpid())
    pool = start_pool(means=Means(program="tests.view.workers.standins:main_of_service"))
    with pytest.raises(RenderError):
        pool.render(ask("look_around", os.getpid()))
    (nest,) = (pid for pid in find_children(os.getpid()) if pid not in before)
    for pid in (nest, *find_children(nest)):
        status = Path(f"/proc/{pid}/status")
        sets = [read_capabilities(kind, status) for kind in ("CapInh", "CapPrm", "CapEff")]
        assert sets == [0, 0, 0]
    assert read_capabilities()


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_without_privileges_a_worker_harms_nothing_else_of_its_user(start_pool: StartPool) -> None:
    pool = start_pool(means=Means(program="tests.view.workers.standins:main_of_anybody"))
    with subprocess.Popen(["/bin/sleep", "1000"], user=ANYBODY, cwd="/") as other:
        with pytest.raises(RenderError) as told:
            pool.render(ask("look_around", other.pid))
        other.kill()
    attempts = json.loads(told.value.why)
    assert attempts.pop("remove") in (errno.EACCES, errno.ENOENT)
    if read_landlock_version() < SIGNALS_SINCE:
        del attempts["signal"]
    assert set(attempts.values()) <= REFUSALS
