"""Batches as an algebra: disjoint, complete, equal across ranks, the same again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core.batches import (
    BatchSpec,
    EpochPlan,
    Remainder,
    batch_sizes,
    derive_seed,
    identify,
    plan_epoch,
)
from hffs.errors import ConfigError

Buckets = tuple[NDArray[np.int32], NDArray[np.int32]]


@st.composite
def buckets(draw: st.DrawFn) -> Buckets:
    count = draw(st.integers(1, 5))
    edges = st.lists(st.integers(1, 40), min_size=2, max_size=2)
    sizes = draw(st.lists(edges, min_size=count, max_size=count))
    bucket = draw(st.lists(st.integers(0, count - 1), max_size=60))
    return np.array(bucket, np.int32), np.array(sizes, np.int32)


remainders: st.SearchStrategy[Remainder] = st.sampled_from(["drop", "pad", "partial"])
specs = st.builds(
    BatchSpec,
    batch_size=st.integers(1, 7),
    pixel_budget=st.none() | st.integers(1, 3000),
    remainder=remainders,
    repeats=st.integers(0, 3),
    world=st.integers(1, 4),
    seed=st.integers(-(2**63), 2**64),
    shuffle=st.booleans(),
)
epochs = st.integers(0, 2**40)


def list_batches(plan: EpochPlan) -> list[list[int]]:
    return [plan.batch(number).tolist() for number in range(len(plan))]


def count_uses(plan: EpochPlan, samples: int) -> NDArray[np.int64]:
    return np.bincount(plan.order, minlength=samples)


@given(buckets(), specs, epochs)
def test_a_batch_is_of_its_bucket_and_has_the_size_asked_for(
    given_buckets: Buckets, spec: BatchSpec, epoch: int
) -> None:
    bucket, sizes = given_buckets
    plan = plan_epoch(bucket, sizes, spec, epoch)
    whole = batch_sizes(sizes, spec) * spec.world
    short: Counter[int] = Counter()
    for number, own in enumerate(plan.bucket.tolist()):
        batch = plan.batch(number)
        assert (bucket[batch] == own).all()
        assert 0 < len(batch) <= whole[own]
        short[own] += len(batch) < whole[own]
    assert not short.total() or spec.remainder == "partial"
    assert max(short.values(), default=0) <= 1
    assert plan.batches.tolist() == np.bincount(plan.bucket, minlength=len(sizes)).tolist()


@given(buckets(), specs, epochs)
def test_an_epoch_has_every_sample_and_tells_what_it_left_out_or_padded(
    given_buckets: Buckets, spec: BatchSpec, epoch: int
) -> None:
    bucket, sizes = given_buckets
    plan = plan_epoch(bucket, sizes, spec, epoch)
    uses, times = count_uses(plan, len(bucket)), spec.repeats + 1
    for own in range(len(sizes)):
        used = uses[bucket == own]
        assert used.sum() == times * len(used) - plan.dropped[own] + plan.padded[own]
        assert used.max(initial=0) - used.min(initial=10**9) <= 1  # evenly, whatever happened
    whole = batch_sizes(sizes, spec) * spec.world
    if spec.remainder == "drop":
        assert not plan.padded.any()
        assert (plan.dropped < whole).all()
        assert (uses <= times).all()
    else:
        assert not plan.dropped.any()
        assert (plan.padded < (whole if spec.remainder == "pad" else spec.world)).all()
        assert (uses >= times).all()


@given(buckets(), specs, epochs)
def test_ranks_share_each_batch_evenly(given_buckets: Buckets, spec: BatchSpec, epoch: int) -> None:
    plan = plan_epoch(*given_buckets, spec, epoch)
    for number in range(len(plan)):
        parts = [plan.part(number, rank) for rank in range(spec.world)]
        assert len({len(part) for part in parts}) == 1
        assert np.concatenate(parts).tolist() == plan.batch(number).tolist()


@given(buckets(), specs, epochs)
def test_the_same_again_and_read_only(given_buckets: Buckets, spec: BatchSpec, epoch: int) -> None:
    plan, again = (plan_epoch(*given_buckets, spec, epoch) for _ in range(2))
    for name in ("order", "starts", "bucket", "batches", "dropped", "padded"):
        array = getattr(plan, name)
        assert array.tolist() == getattr(again, name).tolist()
        assert not array.flags.writeable
    kinds = [plan.order.dtype, plan.starts.dtype, plan.bucket.dtype, plan.batches.dtype]
    assert kinds == [np.int64, np.int64, np.int32, np.int64]


@given(buckets(), specs, epochs, st.sampled_from([(1, 4), (2, 2), (4, 1)]))
def test_how_many_ranks_share_a_batch_changes_nothing_in_it(
    given_buckets: Buckets, spec: BatchSpec, epoch: int, split: tuple[int, int]
) -> None:
    alone = replace(spec, batch_size=12, world=1, pixel_budget=None)
    world = split[0] * split[1]
    shared = replace(alone, batch_size=12 // world, world=world)
    batches = list_batches(plan_epoch(*given_buckets, alone, epoch))
    others = list_batches(plan_epoch(*given_buckets, shared, epoch))
    if spec.remainder == "partial":  # they are padded to a multiple of the ranks
        assert all(len(other) % world == 0 for other in others)
        others = [other[: len(batch)] for batch, other in zip(batches, others, strict=True)]
    assert batches == others


@pytest.mark.parametrize("remainder", ["drop", "pad", "partial"])
def test_batches_of_whole_buckets_have_no_sample_twice(remainder: Remainder) -> None:
    bucket = np.arange(97, dtype=np.int32) % 3
    spec = BatchSpec(5, remainder=remainder, world=2)
    for epoch in range(20):
        for batch in list_batches(plan_epoch(bucket, np.full((3, 2), 64, np.int32), spec, epoch)):
            assert len(set(batch)) == len(batch)


def test_every_pass_over_a_bucket_is_complete_before_the_next() -> None:
    bucket = np.zeros(20, np.int32)
    plan = plan_epoch(bucket, np.array([[8, 8]], np.int32), BatchSpec(20, repeats=3), 0)
    passes = [sorted(batch) for batch in list_batches(plan)]
    assert passes == [list(range(20))] * 4
    assert len({tuple(batch) for batch in list_batches(plan)}) == 4


@pytest.mark.parametrize("remainder", ["drop", "pad", "partial"])
def test_without_shuffling_all_is_in_order(remainder: Remainder) -> None:
    bucket = np.array([1, 0, 1, 0, 1, 0, 1], np.int32)
    sizes = np.array([[8, 8], [8, 16], [16, 8]], np.int32)
    spec = BatchSpec(2, remainder=remainder, shuffle=False, repeats=0)
    expected = {
        "drop": [[1, 3], [0, 2], [4, 6]],
        "pad": [[1, 3], [5, 1], [0, 2], [4, 6]],
        "partial": [[1, 3], [5], [0, 2], [4, 6]],
    }
    for epoch in range(2):
        assert list_batches(plan_epoch(bucket, sizes, spec, epoch)) == expected[remainder]
    twice = plan_epoch(bucket, sizes, replace(spec, remainder="pad", repeats=1), 0)
    assert list_batches(twice)[:3] == [[1, 3], [5, 1], [3, 5]]


def test_a_bucket_smaller_than_its_batch_is_dropped_or_goes_round() -> None:
    bucket, sizes = np.zeros(3, np.int32), np.array([[8, 8]], np.int32)
    dropped = plan_epoch(bucket, sizes, BatchSpec(8), 0)
    assert (len(dropped), dropped.dropped.tolist(), len(dropped.order)) == (0, [3], 0)
    padded = plan_epoch(bucket, sizes, BatchSpec(8, remainder="pad"), 0)
    assert sorted(Counter(padded.batch(0).tolist()).values()) == [2, 3, 3]
    ranks = plan_epoch(bucket, sizes, BatchSpec(8, remainder="partial", world=5), 0)
    assert len(ranks.batch(0)) == 5
    assert ranks.padded.tolist() == [2]


def test_no_sample_and_no_bucket_make_no_batch() -> None:
    none = plan_epoch(np.zeros(0, np.int32), np.zeros((0, 2), np.int32), BatchSpec(), 0)
    empty = plan_epoch(np.zeros(0, np.int32), np.ones((2, 2), np.int32), BatchSpec(), 0)
    assert (len(none), len(empty), none.starts.tolist()) == (0, 0, [0])


def test_epochs_and_seeds_shuffle_samples_and_buckets_anew() -> None:
    bucket = np.arange(64, dtype=np.int32) % 4
    sizes = np.full((4, 2), 8, np.int32)
    plans = [
        plan_epoch(bucket, sizes, BatchSpec(4, seed=seed), epoch)
        for seed in range(-3, 3)
        for epoch in range(20)
    ]
    assert len({tuple(plan.order.tolist()) for plan in plans}) == 120
    assert len({tuple(plan.bucket.tolist()) for plan in plans}) == 120


def test_what_is_dropped_varies_with_the_epoch() -> None:
    bucket, sizes = np.zeros(10, np.int32), np.array([[8, 8]], np.int32)
    uses = sum(
        count_uses(plan_epoch(bucket, sizes, BatchSpec(8), epoch), 10) for epoch in range(400)
    )
    # Each is binomial(400, 0.8): mean 320, deviation 8.
    assert np.abs(np.asarray(uses) - 320).max() < 40


def test_every_place_is_as_likely_for_each_sample_and_each_bucket() -> None:
    bucket = np.repeat(np.arange(4, dtype=np.int32), 8)
    sizes = np.full((4, 2), 8, np.int32)
    at, first = np.zeros((8, 8)), np.zeros(4)
    for epoch in range(1600):
        plan = plan_epoch(bucket, sizes, BatchSpec(8), epoch)
        own = np.flatnonzero(plan.bucket == 2)[0]
        at[plan.batch(int(own)) - 16, np.arange(8)] += 1
        first[plan.bucket[0]] += 1
    # Binomial(1600, 1/8): mean 200, deviation 13.2; binomial(1600, 1/4): 400, 17.3.
    assert np.abs(at - 200).max() < 66
    assert np.abs(first - 400).max() < 87


def test_orders_never_change() -> None:
    bucket = np.arange(12, dtype=np.int32) % 2
    sizes = np.array([[8, 8], [8, 16]], np.int32)
    plan = plan_epoch(bucket, sizes, BatchSpec(2, seed=1, repeats=1), 3)
    assert list_batches(plan) == [
        [1, 5],
        [3, 11],
        [6, 10],
        [10, 0],
        [1, 9],
        [9, 7],
        [2, 0],
        [6, 4],
        [3, 7],
        [11, 5],
        [8, 4],
        [2, 8],
    ]


def test_batches_fit_into_the_pixel_budget() -> None:
    sizes = np.array([[1024, 1024], [512, 512], [2048, 1024], [40_000, 60_000]], np.int32)
    spec = BatchSpec(3, pixel_budget=4 * 1024 * 1024)
    assert batch_sizes(sizes, spec).tolist() == [4, 16, 2, 1]
    assert batch_sizes(sizes, replace(spec, pixel_budget=None)).tolist() == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"batch_size": 0}, "cannot use batch_size 0: it is at least 1"),
        ({"pixel_budget": 0}, "cannot use pixel_budget 0: it is at least 1"),
        ({"repeats": -1}, "cannot use repeats -1: it is at least 0"),
        ({"world": 0}, "cannot use world 0: it is at least 1"),
        (
            {"remainder": "keep"},
            "cannot use remainder keep: it is one of drop, pad, partial",
        ),
    ],
)
def test_what_makes_no_batches_is_refused(keys: dict[str, Any], line: str) -> None:
    bucket, sizes = np.zeros(3, np.int32), np.array([[8, 8]], np.int32)
    with pytest.raises(ConfigError) as caught:
        plan_epoch(bucket, sizes, replace(BatchSpec(), **keys), 0)
    assert str(caught.value) == line


def test_an_identity_is_of_everything_that_batches_depend_on() -> None:
    bucket, sizes = np.zeros(4, np.int32), np.array([[8, 8], [8, 16]], np.int32)
    known = identify(bucket, sizes, BatchSpec())
    assert known == identify(bucket.copy(), sizes.copy(), BatchSpec())
    assert len(known) == 64
    others = {
        identify(np.array([0, 0, 0, 1], np.int32), sizes, BatchSpec()),
        identify(bucket[:3], sizes, BatchSpec()),
        identify(bucket, sizes[::-1], BatchSpec()),
        identify(np.zeros(0, np.int32), np.zeros((4, 2), np.int32), BatchSpec()),
        *(
            identify(bucket, sizes, spec)
            for spec in (
                BatchSpec(2), BatchSpec(pixel_budget=9), BatchSpec(remainder="pad"),
                BatchSpec(repeats=1), BatchSpec(world=2), BatchSpec(seed=1),
                BatchSpec(shuffle=False),
            )
        ),
    }  # fmt: skip
    assert len(others) == 11
    assert known not in others


def test_an_identity_never_changes() -> None:
    bucket, sizes = np.array([1, 0], np.int32), np.array([[8, 8], [8, 16]], np.int32)
    assert identify(bucket, sizes, BatchSpec(4, seed=3)) == (
        "b5f396c7d89671282d9f161cdf761d32c3aa9ccd4c7e829aefcedb7acb965d99"
    )


def test_derived_seeds_differ() -> None:
    seeds = {derive_seed(seed, *parts) for seed in range(10) for parts in
             [(), (0,), (1,), (0, 0), (0, 1), (1, 0), (0, 0, 0)]}  # fmt: skip
    assert len(seeds) == 70


@pytest.mark.parametrize(
    ("spec", "line"),
    [
        (BatchSpec(repeats=2**29), "cannot make batches: an epoch has at most 1073741824 places"),
        (BatchSpec(2**29, remainder="pad", world=8), "cannot make batches: an epoch has at most"),
        (BatchSpec(repeats=2**40), "cannot use repeats 1099511627776: it is at most"),
        (BatchSpec(world=2**21), "cannot use world 2097152: it is at most 1048576"),
    ],
)
def test_more_than_memory_holds_is_refused_before_it_is_taken(spec: BatchSpec, line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        plan_epoch(np.zeros(5, np.int32), np.array([[8, 8]], np.int32), spec, 0)


def test_numbers_are_whole_and_those_of_python() -> None:
    spec = BatchSpec(np.int64(3), pixel_budget=np.int32(7))  # type: ignore[arg-type]
    assert (type(spec.batch_size), type(spec.pixel_budget)) == (int, int)
    with pytest.raises(ConfigError, match=r"cannot use pixel_budget 1000000\.0: it is no whole"):
        BatchSpec(pixel_budget=1e6)  # type: ignore[arg-type]
