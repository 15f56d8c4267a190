"""Which samples make a shard: the same ones, however often a run was ended before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core.types import Size
from hffs.train.caching.chunks import (
    Chunks,
    ImageJob,
    ImageSample,
    find_batch,
    mark_first,
    name_shard,
    plan_images,
    plan_texts,
    rename_shard,
)
from hffs.train.caching.identities import Identified
from hffs.train.caching.keys import identify_encoder, make_image_key, make_seed, make_text_key
from hffs.train.files import Stamp
from hffs.train.plan import Cut, Plan
from tests.train.plans import make_plan, make_scan

BUCKETS = ((64, 64), (64, 96), (96, 64))


def plan_of(count: int) -> Plan:
    sizes = np.random.default_rng(count).integers(100, 400, (count, 2)).astype(np.int32)
    names = [f"{number}.jpg" for number in range(count)]
    return make_plan(make_scan(Path("/photos"), names, sizes), buckets=BUCKETS)


def identities(count: int, first: int = 0) -> NDArray[np.uint8]:
    """Different ones, (n, 32)."""
    keys = np.zeros((count, 32), np.uint8)
    keys[:, :8] = np.arange(first, first + count, dtype="<u8")[:, None].view(np.uint8)
    return keys


def identified(plan: Plan, digests: NDArray[np.uint8]) -> Identified:
    numbers = np.arange(len(digests), dtype=np.int64)
    return Identified(plan.scan, digests, numbers + 100, numbers + 200)


def job_of(count: int, *, flip: bool = False) -> ImageJob:
    plan = plan_of(count)
    return plan_images(plan, identified(plan, identities(count)), "vae", flip=flip)


def contents(chunks: Sequence[object]) -> set[tuple[str, bytes, tuple[object, ...]]]:
    assert isinstance(chunks, Chunks)
    return {(chunk.name, chunk.keys.tobytes(), chunk.samples) for chunk in chunks}


def test_every_sample_is_in_one_chunk_of_its_own_shape() -> None:
    job = job_of(100)
    chunks = Chunks(job, 7, None)
    samples = [sample for chunk in chunks for sample in chunk.samples]
    assert all(isinstance(sample, ImageSample) for sample in samples)
    names = [sample.name for sample in samples if isinstance(sample, ImageSample)]
    assert sorted(names) == sorted(f"{number}.jpg" for number in range(100))
    for chunk in chunks:
        sizes = {sample.cut.size for sample in chunk.samples if isinstance(sample, ImageSample)}
        assert len(sizes) == 1
        (size,) = sizes
        assert chunk.name.startswith(f"{size.width}x{size.height}-")
        for key, sample in zip(chunk.keys, chunk.samples, strict=True):
            assert isinstance(sample, ImageSample)
            number = int(sample.name.split(".")[0])
            image = identities(100)[number].tobytes()
            assert key.tobytes() == make_image_key(image, sample.cut, "vae", flipped=False)
            assert sample.stamp == Stamp(number + 100, number + 200)
    lengths = [len(chunk.samples) for chunk in chunks]
    assert sum(length < 7 for length in lengths) <= len(BUCKETS)
    assert len({chunk.name for chunk in chunks}) == len(chunks)


def test_flipped_samples_have_keys_of_their_own() -> None:
    job = job_of(20, flip=True)
    assert len(job.keys) == 40
    assert len({key.tobytes() for key in job.keys}) == 40
    assert job.flipped.sum() == 20
    plain = {key.tobytes() for key in job_of(20).keys}
    assert {key.tobytes() for key in job.keys[~job.flipped]} == plain
    for place, key in enumerate(job.keys):
        sample = job.pick(place)
        image = identities(20)[int(sample.name.split(".")[0])].tobytes()
        flipped = bool(job.flipped[place])
        assert key.tobytes() == make_image_key(image, sample.cut, "vae", flipped=flipped)


def test_images_that_are_the_same_are_encoded_once() -> None:
    plan = make_plan(make_scan(Path("/p"), ["a.jpg", "b.jpg"], [(90, 90), (90, 90)]))
    images = identified(plan, np.zeros((2, 32), np.uint8))
    job = plan_images(plan, images, "vae", flip=False)
    assert len(job.keys) == 1


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 60),
    length=st.integers(1, 9),
    ends=st.lists(st.integers(0, 2**30), max_size=4),
    flip=st.booleans(),
)
def test_runs_that_were_ended_make_the_shards_of_one_that_was_not(
    count: int, length: int, ends: list[int], flip: bool
) -> None:
    job = job_of(count, flip=flip)
    wanted = contents(Chunks(job, length, 2))
    made = set[tuple[str, bytes, tuple[object, ...]]]()
    kept = set[bytes]()
    for seed in [*ends, None]:
        left = job.only(np.array([key.tobytes() not in kept for key in job.keys], np.bool_))
        chunks = list(Chunks(left, length, 2))
        if seed is not None:  # several workers: any of the chunks may have been completed
            chosen = np.random.default_rng(seed).random(len(chunks)) < 0.5
            chunks = [chunk for chunk, is_done in zip(chunks, chosen, strict=True) if is_done]
        for chunk in chunks:
            made.add((chunk.name, chunk.keys.tobytes(), chunk.samples))
            kept |= {key.tobytes() for key in chunk.keys}
    assert made == wanted


def test_texts_are_there_once_in_the_order_in_which_they_appear() -> None:
    job = plan_texts(["b", "a", "b", "", "a"], "clip")
    assert list(job.texts) == ["b", "a", ""]
    assert [key.tobytes() for key in job.keys] == [make_text_key(t, "clip") for t in job.texts]
    chunks = Chunks(job, 2, None)
    assert [chunk.samples for chunk in chunks] == [("b", "a"), ("",)]
    assert all(chunk.name.startswith("text-") for chunk in chunks)
    assert len(Chunks(plan_texts([], "clip"), 2, None)) == 0
    assert [chunk.samples for chunk in chunks[1:]] == [("",)]


def _change(value: Any) -> Any:
    return Size(value.width, value.height + 1) if isinstance(value, Size) else value + 1


def test_a_key_depends_on_everything() -> None:
    plan = plan_of(3)
    cut = plan.cut(0)
    image = bytes(32)
    keys = {
        make_image_key(image, cut, "a", flipped=False),
        make_image_key(image, cut, "a", flipped=True),
        make_image_key(image, cut, "b", flipped=False),
        make_image_key(bytes(31) + b"\1", cut, "a", flipped=False),
        make_image_key(image, plan.cut(1), "a", flipped=False),
        make_text_key("", "a"),
        make_text_key("a", ""),
        make_text_key("\ud800", "a"),
    }
    changed = [
        replace(cut, **{each.name: _change(getattr(cut, each.name))}) for each in fields(Cut)
    ]
    keys |= {make_image_key(image, each, "a", flipped=False) for each in changed}
    assert len(keys) == 8 + len(fields(Cut))
    assert all(len(key) == 32 for key in keys)
    assert identify_encoder({"a": 1, "b": 2}) == identify_encoder({"b": 2, "a": 1})
    assert identify_encoder({"a": 1}) != identify_encoder({"a": 2})
    assert 1 <= make_seed(bytes(32)) < make_seed(b"\xff" * 32) < 2**63


def test_as_many_are_encoded_at_once_as_pixels_suggest() -> None:
    assert find_batch(Size(1024, 1024)) == 1
    assert find_batch(Size(512, 512)) == 4
    assert find_batch(Size(64, 64)) == 256
    assert find_batch(Size(5000, 5000)) == 1
    assert find_batch(None) > 1
    assert [chunk.batch for chunk in Chunks(job_of(3), 9, 5)] == [5] * len(Chunks(job_of(3), 9, 5))


@pytest.mark.parametrize("keys", [[0, 1, 0, 1, 2], [], [3, 3, 3]])
def test_the_first_of_equal_keys_is_marked(keys: list[int]) -> None:
    places = np.array(keys, np.int64)
    first = mark_first(identities(10)[places] if keys else np.zeros((0, 32), np.uint8))
    assert np.flatnonzero(first).tolist() == sorted({key: keys.index(key) for key in keys}.values())


def test_what_is_in_a_shard_is_in_its_name() -> None:
    keys, whole = identities(3), name_shard("64x96", identities(3))
    assert whole.startswith("64x96-")
    names = {
        rename_shard(whole, some, refused)
        for some in (keys, keys[:2], keys[::-1], keys[:0])
        for refused in ((), ("aa",), ("bb",), ("aa", "bb"))
    }
    assert len(names) == 16
    assert all(name.startswith("64x96-") for name in names)
    assert rename_shard(whole, keys, ()) == whole
    assert rename_shard(whole, keys, ("bb", "aa")) == rename_shard(whole, keys, ("aa", "bb"))
    assert rename_shard("mine", keys, ()).startswith("mine-")
