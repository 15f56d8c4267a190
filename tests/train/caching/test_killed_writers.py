"""Writers that are killed: what they had put is there and whole, and nothing else counts."""

from __future__ import annotations

import multiprocessing
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch

from hffs.train.caching.shards import Shard
from hffs.train.caching.store import Store
from hffs.train.caching.upkeep import verify
from tests.train.caching.shards import make_keys

SHARDS, ROWS, KILLS = 40, 8, 20


def _make(at: int) -> Shard:
    # By numpy: the threads of torch are not those of a forked process.
    numbers = np.arange(at * ROWS, (at + 1) * ROWS, dtype=np.float32)
    tensors = {"latents": torch.from_numpy(np.repeat(numbers[:, None], 20_000, axis=1))}
    return Shard(f"s{at:03}", make_keys(at * ROWS, ROWS), tensors, {}, {"name": "one"})


def _write(folder: Path, told: Connection) -> None:
    """Put what is missing, as a run does, telling of each when it is put."""
    store = Store.open(folder)
    store.refresh()
    for at in range(SHARDS):
        if not store.has(f"s{at:03}"):
            store.put(_make(at))
            told.send(at)
            store.refresh()
    told.close()


def _files(folder: Path) -> dict[str, bytes]:
    paths = [folder / "index.parquet", *(folder / "shards").glob("*.safetensors")]
    return {path.name: path.read_bytes() for path in paths}


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_killed_at_any_moment_the_store_becomes_the_same(tmp_path: Path) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    context = multiprocessing.get_context("fork")
    chance = random.Random(9)  # noqa: S311
    put: set[int] = set()
    for number in range(KILLS + 1):
        mine, its = context.Pipe(duplex=False)
        process = context.Process(target=_write, args=(killed, its))
        process.start()
        its.close()
        try:
            while number == KILLS or len(put) < 2 * (number + 1):
                put.add(mine.recv())
            deadline = time.perf_counter() + chance.random() * 0.02
            while time.perf_counter() < deadline:  # anywhere in what comes next
                pass
        except EOFError:  # it was done
            pass
        finally:
            if number < KILLS:
                process.kill()
            process.join()
            mine.close()
        store = Store.open(killed)
        assert all(store.has(f"s{at:03}") for at in put)
        assert store.damaged == {}
    assert put | {0} == put
    everything = Store.open(whole)
    for at in range(SHARDS):
        everything.put(_make(at))
    everything.refresh()
    assert _files(killed) == _files(whole)
    assert verify(Store.open(killed)).samples == SHARDS * ROWS
