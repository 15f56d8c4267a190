"""Runs that are killed: the store that the next one completes is the one of a run that was not.

Runs are forked of a process that has imported the libraries, which takes seconds.
"""

from __future__ import annotations

import multiprocessing
from functools import partial
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from hffs.train.caching.specs import VaeSpec
from hffs.train.caching.store import Store
from hffs.train.caching.upkeep import verify
from tests.train.caching.runs import digest_store, encode
from tests.train.planning import write_folder
from tests.waiting import wait_until

KILLS = 20
IMAGES = 90

_SERVER = multiprocessing.get_context("forkserver")


def _run(folder: Path, spec: VaeSpec, store: Path) -> None:
    encode(folder, spec, store, flip=True)


def start(folder: Path, spec: VaeSpec, store: Path) -> BaseProcess:
    """A run in a process of its own."""
    process = _SERVER.Process(target=_run, args=(folder, spec, store))
    process.start()
    return process


def count_shards(store: Path) -> int:
    return len(list(store.glob("shards/*.safetensors")))


def has_written(process: BaseProcess, store: Path, before: int) -> bool:
    return count_shards(store) > before or not process.is_alive()


@pytest.mark.timeout(240)
def test_a_store_is_the_same_however_often_its_runs_are_killed(tmp_path: Path) -> None:
    spec = VaeSpec("tests.train.caching.small_encoders:Noisy")  # which is quick to import
    folder = write_folder(tmp_path / "photos", IMAGES)
    encode(folder, spec, tmp_path / "whole", flip=True)
    wanted = digest_store(tmp_path / "whole")
    _SERVER.set_forkserver_preload(["tests.train.caching.runs"])
    waits_s, store, inside = np.random.default_rng(9).random(KILLS) * 0.2, tmp_path / "killed", 0
    for number, wait_s in enumerate(waits_s.tolist()):
        before = count_shards(store)
        process = start(folder, spec, store)
        if number % 2:  # when it is writing, else when it may be anywhere
            wait_until(partial(has_written, process, store, before), 60)
        process.join(wait_s)
        inside += process.is_alive()
        process.kill()
        process.join()
        assert count_shards(store) >= before
    last = start(folder, spec, store)
    last.join()
    assert last.exitcode == 0
    assert inside >= KILLS // 2
    assert digest_store(store) == wanted
    assert not verify(Store.open(store)).damaged
