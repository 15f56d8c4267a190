"""Batches of a rank for torch's DataLoader, and where they go on."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch.distributed
from torch.utils.data import DataLoader

from hffs.core.batches import BatchSpec
from hffs.errors import ConfigError, DataError, UsageError
from hffs.train import BucketBatchSampler, FolderDataset, collate
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
    with pytest.raises(DataError, match=r"cannot read 2\.jpg"):
        next(batches)
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
        "no epoch in the state; save it anew": [missing, {**good, "epoch": "1"}],
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


def test_repeats_are_those_of_the_entry(plan: Plan) -> None:
    often = replace(plan, repeats=2)
    assert len(BucketBatchSampler(often, BatchSpec(5))) == 12
    assert len(BucketBatchSampler(often, BatchSpec(5, repeats=2))) == 12
    assert len(BucketBatchSampler(plan, BatchSpec(5, repeats=1))) == 8
    with pytest.raises(ConfigError) as caught:
        BucketBatchSampler(often, BatchSpec(5, repeats=1))
    assert str(caught.value) == "cannot use repeats 1: entry art has 2; name one of them"


def test_the_rank_is_one_of_the_world(plan: Plan) -> None:
    with pytest.raises(ConfigError, match="cannot use rank 2: there are 2, from 0"):
        BucketBatchSampler(plan, BatchSpec(3, world=2), rank=2)


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
        assert BucketBatchSampler(plan, BatchSpec(3, world=4), rank=3).rank == 3
        with pytest.raises(ConfigError, match=r"cannot use world 3: torch\.distributed has 2"):
            BucketBatchSampler(plan, BatchSpec(3, world=3))
    finally:
        torch.distributed.destroy_process_group()
