"""The engine of a cluster: one Ray on this host for all tests, whose workers are real and die."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from hffs.data.engines import Needs
from hffs.data.engines.ray import RayEngine
from hffs.errors import (
    DataError,
    HffsError,
    MissingLibraryError,
    SourceError,
    UsageError,
)
from tests.data.engines import work

# Of what Ray does to itself, and of files that it leaves to the garbage collector.
pytestmark = [
    pytest.mark.timeout(300),  # Ray takes long to start on cores that are busy
    pytest.mark.filterwarnings(
        r"ignore::DeprecationWarning:ray\.",
        "ignore::ResourceWarning",
        "ignore::pytest.PytestUnraisableExceptionWarning",
    ),
]


@pytest.fixture(scope="module")
def engine() -> Iterator[RayEngine]:
    """It has joined a cluster: what is asked for cannot be had, so that no worker is started."""
    with RayEngine(workers=2) as started:
        with pytest.raises(UsageError, match="no host of it has 1 CPUs and 2 GPUs"):
            list(started.run(work.make_teller, [1], Needs(gpus=2)))
        yield started


def test_no_tasks_need_no_ray() -> None:
    assert list(RayEngine("nobody.invalid:1").run(work.make_teller, [], Needs())) == []


@pytest.mark.parametrize(
    ("address", "kind", "why"),
    [
        ("127.0.0.1:1", SourceError, "Connection refused"),
        ("ray://127.0.0.1:10001", UsageError, "not HOST:PORT"),
        ("127.0.0.1:head", UsageError, "not HOST:PORT"),
        ("ray://reader:s3cret@127.0.0.1:10001", UsageError, "not HOST:PORT"),
    ],
)
def test_a_cluster_that_cannot_be_reached_is_told_at_once(
    address: str, kind: type[HffsError], why: str
) -> None:
    with pytest.raises(kind, match=why) as caught:
        list(RayEngine(address).run(work.make_teller, [1], Needs()))
    assert address.removeprefix("ray://reader:s3cret@") in str(caught.value)
    assert "s3cret" not in str(caught.value)


def test_what_is_no_cluster_is_not_waited_for() -> None:
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with pytest.raises(SourceError, match="what answers there is no Ray"):
            list(RayEngine(f"127.0.0.1:{server.server_port}").run(work.make_teller, [1], Needs()))
        server.shutdown()


def test_without_ray_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.data", None)
    with pytest.raises(MissingLibraryError, match=r"pip install 'hffs-mount\[ray\]'"):
        list(RayEngine().run(work.make_teller, [1], Needs()))


def test_workers_are_processes_apart(engine: RayEngine, capfd: pytest.CaptureFixture[str]) -> None:
    make = partial(work.make_looker, 5)
    answers = list(engine.run(make, range(20), Needs(at_once=3)))
    assert sorted(task for task, _, _ in answers) == list(range(20))
    assert {device for _, device, _ in answers} == {"cpu"}
    assert max(held for _, _, held in answers) == 3
    assert "".join(capfd.readouterr()) == ""  # Ray says nothing unasked


def test_a_worker_that_is_killed_loses_nothing(engine: RayEngine, tmp_path: Path) -> None:
    make = partial(work.make_mortal, tmp_path, 5, 1)
    answers = list(engine.run(make, range(12), Needs(at_once=2)))
    assert sorted(task for task, _, _ in answers) == list(range(12))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_task_that_kills_every_worker_is_given_up(engine: RayEngine, tmp_path: Path) -> None:
    make = partial(work.make_mortal, tmp_path, 1, 99)
    with pytest.raises(DataError, match="one of 1 tasks: 3 workers that had it died; look whether"):
        list(engine.run(make, [1], Needs()))
    assert len(list(tmp_path.iterdir())) == 3


def test_another_error_is_told_in_a_line(engine: RayEngine) -> None:
    with pytest.raises(DataError, match=r"a worker failed on Ray: ZeroDivisionError: .* by zero$"):
        list(engine.run(work.make_faulty, [1], Needs()))


_JOIN = """
import sys
from hffs.data.engines import Needs
from hffs.data.engines.ray import RayEngine
from hffs.errors import SourceError
from tests.data.engines import work
with RayEngine(sys.argv[1], 1) as engine:
    try:
        for task, _, _ in engine.run(work.make_refuser, [1, 2, 3], Needs()):
            print(task)
    except SourceError as error:
        print(error.fix, error)
"""


def test_a_cluster_is_joined_and_left_as_it_is(engine: RayEngine) -> None:
    """Errors of hffs come out of it as themselves."""
    ray: Any = sys.modules["ray"]
    command = [sys.executable, "-c", _JOIN, ray.get_runtime_context().gcs_address]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    said = "1\n2\nfind it cannot open three.parquet: gone; find it\n"
    assert (done.stdout, done.stderr) == (said, "")
    with RayEngine() as other, pytest.raises(UsageError, match="9 GPUs"):
        list(other.run(work.make_teller, [1], Needs(gpus=9)))  # it takes the one that is there
    assert ray.is_initialized()
    assert ray.nodes()[0]["Alive"]
