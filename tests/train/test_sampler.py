"""Batches of a rank for torch's DataLoader, and where they go on."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch.distributed
from torch.utils.data import DataLoader

from hffs.core.batches import BatchSpec
from hffs.errors import ConfigError, DataError, UsageError
from hffs.train import BucketBatchSampler, FolderDataset, MixedLoader, collate
from hffs.train.dataset import Batch, Sample
from hffs.train.plan import Plan
from tests.train.planning import plan_by_hand, write_folder

# Of Pythons that warn of a fork beside threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """20 images, 10 in each of two buckets."""
    return plan_by_hand(write_folder(tmp_path_factory.mktemp("folder")))


def make_loader(
    plan: Plan, sampler: BucketBatchSampler, workers: int = 0, start: str = "fork"
) -> DataLoader[Sample]:
    return DataLoader(
        FolderDataset(plan),
        batch_sampler=sampler,
        collate_fn=collate,
        num_workers=workers,
        multiprocessing_context=start if workers else None,
    )


def facts(batch: Batch) -> tuple[Any, ...]:
    """What of a batch can be compared, to the last bit."""
    return (
        batch["name"],
        batch["caption"],
        batch["index"].tolist(),
        batch["crop_top_left"].tolist(),
        batch["image"].numpy().tobytes(),
    )


def test_ranks_share_an_epoch(plan: Plan) -> None:
    spec = BatchSpec(2, world=2, remainder="pad")
    ranks = [list(BucketBatchSampler(plan, spec, rank=rank)) for rank in range(2)]
    assert [len(batches) for batches in ranks] == [6, 6]
    used = Counter(index for batches in ranks for batch in batches for index in batch)
    assert set(used) == set(range(20))
    assert used.total() == 24
    for batches in zip(*ranks, strict=True):
        assert len({int(plan.assignment.bucket[i]) for batch in batches for i in batch}) == 1


def test_an_epoch_is_the_same_until_another_is_set(plan: Plan) -> None:
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    first = list(sampler)
    assert len(first) == len(sampler) == 6
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first
    sampler.set_epoch(0)
    assert list(sampler) == first


@pytest.mark.parametrize("done", [0, 1, 4, 6])
def test_it_goes_on_where_it_was_saved(plan: Plan, done: int) -> None:
    spec = BatchSpec(3, seed=5)
    sampler = BucketBatchSampler(plan, spec)
    sampler.set_epoch(2)
    whole = list(sampler)
    state = sampler.state_dict(batches_done=done)
    other = BucketBatchSampler(plan, spec)
    other.load_state_dict(state)
    assert other.state_dict() == state
    other.set_epoch(2)  # as a loop over epochs does
    assert len(other) == 6
    assert list(other) == whole[done:]
    assert list(other) == whole  # the next time all
    other.set_epoch(3)
    sampler.set_epoch(3)
    assert list(other) == list(sampler)


def test_without_workers_it_knows_itself_how_far_it_is(plan: Plan) -> None:
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    assert sampler.state_dict()["batches_done"] == 0
    batches = iter(sampler)
    counts = []
    for _ in batches:
        counts.append(sampler.state_dict()["batches_done"])
    assert counts == [1, 2, 3, 4, 5, 6]
    sampler.set_epoch(1)
    assert sampler.state_dict()["batches_done"] == 0


def test_a_state_is_left_behind_by_another_epoch(plan: Plan) -> None:
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    sampler.load_state_dict(sampler.state_dict(batches_done=4))
    sampler.set_epoch(1)
    assert len(list(sampler)) == 6


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_a_loader_with_workers_goes_on_to_the_last_bit(plan: Plan, start: str) -> None:
    spec = BatchSpec(3, seed=1, remainder="partial")
    sampler = BucketBatchSampler(plan, spec)
    sampler.set_epoch(1)
    whole = [facts(batch) for batch in make_loader(plan, sampler)]
    begun = iter(make_loader(plan, sampler, 2))
    assert [facts(next(begun)) for _ in range(3)] == whole[:3]
    assert sampler.state_dict()["batches_done"] > 3  # workers are ahead
    state = sampler.state_dict(batches_done=3)
    del begun
    other = BucketBatchSampler(plan, spec)
    other.load_state_dict(state)
    workers = 2 if start == "fork" else 1  # to spawn one takes seconds
    assert [facts(batch) for batch in make_loader(plan, other, workers, start)] == whole[3:]


def test_a_worker_tells_which_image_is_broken(tmp_path: Path) -> None:
    plan = plan_by_hand(write_folder(tmp_path, 4))
    (tmp_path / "2.jpg").write_bytes(b"\xff\xd8\xff")
    sampler = BucketBatchSampler(plan, BatchSpec(1, shuffle=False))
    batches = iter(make_loader(plan, sampler, 1))
    assert next(batches)["name"] == ["0.jpg"]
    with pytest.raises(DataError, match=r"cannot read 2\.jpg") as caught:
        next(batches)
    assert str(caught.value).splitlines()[-1].startswith("hffs.errors.DataError: cannot read 2.jpg")
    assert [batch["name"] for batch in batches] == [["1.jpg"], ["3.jpg"]]


def _states(plan: Plan) -> dict[str, Any]:
    """States that are not of the batches of `BatchSpec(3)`, by what is said of them."""
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    good = sampler.state_dict()
    missing = {key: value for key, value in good.items() if key != "epoch"}
    other = replace(plan, scan=replace(plan.scan, fingerprint="other"))
    uncropped = replace(plan, assignment=replace(plan.assignment, crop=plan.assignment.crop + 1))
    differ = "images, buckets or batches were others; use the same, or start anew"
    return {
        "no epoch in the state; save it anew": [missing],
        "epoch is a str, not a int; save it anew": [{**good, "epoch": "1"}],
        "a state is a mapping, not a NoneType; give what was saved": [None],
        "the state is of version 2, not 1; start anew": [{**good, "version": 2}],
        "it was saved with 2 ranks, and there are 1; resume with as many": [
            BucketBatchSampler(plan, BatchSpec(3, world=2), rank=1).state_dict()
        ],
        "its seed was 7, not 0; use the same": [
            BucketBatchSampler(plan, BatchSpec(3, seed=7)).state_dict()
        ],
        differ: [
            BucketBatchSampler(plan, BatchSpec(2)).state_dict(),
            BucketBatchSampler(other, BatchSpec(3)).state_dict(),
            BucketBatchSampler(uncropped, BatchSpec(3)).state_dict(),
        ],
    }


def test_a_state_of_other_batches_is_refused(plan: Plan) -> None:
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    for line, states in _states(plan).items():
        for state in states:
            with pytest.raises(UsageError) as caught:
                sampler.load_state_dict(state)
            assert str(caught.value) == f"cannot resume: {line}"
    assert len(list(sampler)) == 6


@pytest.mark.parametrize("done", [-1, 7])
def test_no_more_can_be_done_than_there_is(plan: Plan, done: int) -> None:
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    with pytest.raises(UsageError, match=f"cannot have done {done} batches: there are 6"):
        sampler.state_dict(batches_done=done)
    with pytest.raises(UsageError, match=f"cannot have done {done} batches: there are 6"):
        sampler.load_state_dict({**sampler.state_dict(), "batches_done": done})


def test_batches_and_repeats_are_those_of_the_entry(plan: Plan) -> None:
    often = replace(plan, batch=BatchSpec(2, repeats=2))
    assert len(BucketBatchSampler(often)) == 30
    assert len(BucketBatchSampler(often, BatchSpec(5))) == 12
    assert len(BucketBatchSampler(often, BatchSpec(5, repeats=1))) == 8
    assert len(BucketBatchSampler(plan, BatchSpec(5, repeats=1))) == 8


def test_a_sampler_without_batches_is_refused(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="cannot make batches of art: no bucket fills one; a sm"):
        BucketBatchSampler(plan, BatchSpec(64))


def test_numbers_of_numpy_are_those_of_python(plan: Plan) -> None:
    spec = BatchSpec(np.int64(3), seed=np.int64(3), pixel_budget=None)  # type: ignore[arg-type]
    sampler = BucketBatchSampler(plan, spec)
    sampler.set_epoch(np.int64(2))  # type: ignore[arg-type]
    state = sampler.state_dict()
    assert json.loads(json.dumps(state)) == state
    BucketBatchSampler(plan, BatchSpec(3, seed=3)).load_state_dict(state)
    with pytest.raises(ConfigError, match=r"cannot use pixel_budget 1000000\.0: it is no"):
        BatchSpec(pixel_budget=1e6)  # type: ignore[arg-type]
    for wrong in (-1, 2**40):
        with pytest.raises(ConfigError, match="cannot use epoch"):
            sampler.set_epoch(wrong)


def test_frameworks_find_where_to_set_the_epoch(plan: Plan) -> None:
    loader = make_loader(plan, BucketBatchSampler(plan, BatchSpec(3)))
    found = loader.batch_sampler.sampler  # type: ignore[union-attr]
    found.set_epoch(4)
    assert loader.batch_sampler.epoch == 4  # type: ignore[union-attr]


def test_a_place_that_is_lost_is_told(plan: Plan, caplog: pytest.LogCaptureFixture) -> None:
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    sampler.set_epoch(3)
    sampler.load_state_dict(sampler.state_dict(batches_done=4))
    sampler.set_epoch(0)
    (line,) = caplog.messages
    assert line.startswith("epoch 0 is set, and the place in epoch 3 where a state was to go on")


def test_the_end_of_an_epoch_does_not_take_a_later_one_back(plan: Plan) -> None:
    sampler = BucketBatchSampler(plan, BatchSpec(3))
    over = sampler.state_dict(batches_done=len(sampler))
    sampler.set_epoch(1)
    sampler.load_state_dict(over)
    assert (sampler.epoch, len(list(sampler))) == (1, len(sampler))
    fresh = BucketBatchSampler(plan, BatchSpec(3))
    fresh.load_state_dict(over)
    assert list(fresh) == []


def test_the_rank_is_one_of_the_world(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="cannot use rank 2: there are 2, from 0"):
        BucketBatchSampler(plan, BatchSpec(3, world=2), rank=2)


def test_a_rank_that_nothing_tells_is_not_guessed(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="cannot use world 2: the rank is not known; name it"):
        BucketBatchSampler(plan, BatchSpec(3, world=2))


@pytest.mark.parametrize("mixed", [False, True])
def test_what_was_made_before_the_process_group_is_refused(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, mixed: bool
) -> None:
    made = MixedLoader({"art": plan}) if mixed else BucketBatchSampler(plan)
    named = BucketBatchSampler(plan, BatchSpec(2), rank=0)
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    with pytest.raises(UsageError, match=r"it was made before torch\.distributed was initialised"):
        next(iter(made))
    assert next(iter(named))  # who names a rank means it


RANK = """
import json, sys
import torch.distributed as dist
from hffs.train import BatchSpec, BucketBatchSampler, FolderDataset, plan_folder
rank, store, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
plan = plan_folder(folder, resolution=64, aspect_bucket_alignment=16)
data = FolderDataset(plan)
sampler = BucketBatchSampler(plan, BatchSpec(2, remainder="pad"))
steps = [[(i, list(data[i]["image"].shape)) for i in batch] for batch in sampler]
digests = [None, None]
dist.all_gather_object(digests, sampler.state_dict()["digest"])
print(json.dumps([steps, digests]))
dist.destroy_process_group()
"""


def test_two_processes_take_the_same_steps(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "art", 20)
    commands = [
        [sys.executable, "-c", RANK, str(rank), str(tmp_path / "store"), str(folder)]
        for rank in (0, 1)
    ]
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ)
        for command in commands
    ]
    (one, digests), (other, _) = (
        json.loads(process.communicate(timeout=100)[0]) for process in started
    )
    assert len(set(digests)) == 1
    assert len(one) == len(other) == 6
    seen = set()
    for first, second in zip(one, other, strict=True):
        assert [shape for _, shape in first] == [shape for _, shape in second]
        seen |= {index for index, _ in (*first, *second)}
    assert seen == set(range(20))


def test_rank_and_world_are_those_of_torch_distributed(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1
    )
    try:
        alone = BucketBatchSampler(plan, BatchSpec(3))
        assert (alone.rank, alone.batch.world) == (0, 1)
        # As they are in the second of two processes.
        monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
        monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
        found = BucketBatchSampler(plan, BatchSpec(3))
        said = BucketBatchSampler(plan, BatchSpec(3, world=2), rank=1)
        assert (found.rank, found.batch.world) == (1, 2)
        assert list(found) == list(said)
        assert BucketBatchSampler(plan, BatchSpec(2, world=4), rank=3).rank == 3
        half = BucketBatchSampler(plan, BatchSpec(3), rank=1)  # as get_rank() says
        assert (half.rank, half.batch.world) == (1, 2)
        with pytest.raises(ConfigError, match=r"cannot use rank 0: it is 1 in torch\.distributed"):
            BucketBatchSampler(plan, BatchSpec(3), rank=0)
        with pytest.raises(ConfigError, match=r"cannot use world 3: torch\.distributed has 2"):
            BucketBatchSampler(plan, BatchSpec(3, world=3))
    finally:
        torch.distributed.destroy_process_group()
