"""One device: what is encoded, in which batches, and what is done where something goes wrong."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from hffs.core.types import Size
from hffs.errors import DataError, OutageError, RenderError
from hffs.train.caching.chunks import Chunk, ImageSample, Sample
from hffs.train.caching.keys import make_seed
from hffs.train.caching.pipeline import Pipeline, Report, Stages
from hffs.train.caching.shards import Shard
from hffs.train.plan import Cut
from tests.waiting import wait_until

SIZE = Size(6, 4)


def make_chunk(name: str, numbers: Sequence[int], batch: int = 3, size: Size = SIZE) -> Chunk:
    cut = Cut(size, 1, size, 0, 0, size)
    samples = tuple(ImageSample(str(number), cut, flipped=False) for number in numbers)
    keys = np.zeros((len(samples), 32), np.uint8)
    keys[:, 0] = [number % 256 for number in numbers]
    return Chunk(name, keys, samples, batch)


def load(sample: Sample) -> Any:
    """An image full of its number."""
    assert isinstance(sample, ImageSample)
    return np.full((*sample.cut.size[::-1], 3), int(sample.name) % 256, np.uint8)


@dataclass
class Mean:
    """Encodes an image as its mean, and remembers what it was asked."""

    most: int = 1000
    error: type[RuntimeError] = torch.OutOfMemoryError
    why: str = "CUDA out of memory"
    sizes: list[int] = field(default_factory=list)

    def identify(self) -> Mapping[str, Any]:
        return {"name": "mean"}

    def load(self, device: str) -> None:
        assert device == "cpu"

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        self.sizes.append(len(batch))
        if len(batch) > self.most:
            raise self.error(self.why)
        assert batch.dtype == torch.float32
        return {"mean": batch.mean((2, 3)), "seed": torch.tensor(seeds)}


@dataclass
class Kept:
    """Where shards go."""

    shards: list[Shard] = field(default_factory=list)

    def write(self, shard: Shard) -> int:
        self.shards.append(shard)
        return 7


def encode(
    chunks: Sequence[Chunk],
    encoder: Any,
    loading: Callable[[Sample], Any] = load,
    tell: Callable[[int], None] | None = None,
) -> tuple[list[Report], list[Shard]]:
    kept = Kept()
    stages = Stages(loading, encoder, kept.write, {"name": "mean"}, tell)
    return list(Pipeline(stages, "cpu", 2, 1).run(chunks)), kept.shards


def test_chunks_are_encoded_in_their_order_by_batches_of_their_own() -> None:
    encoder, told = Mean(), list[int]()
    chunks = [make_chunk("a", range(8)), make_chunk("b", [9, 8]), make_chunk("c", [200], 50)]
    reports, shards = encode(chunks, encoder, tell=told.append)
    assert encoder.sizes == told == [3, 3, 2, 2, 1]
    assert [report.name for report in reports] == [shard.name for shard in shards] == list("abc")
    assert [(r.done, r.refused, r.failed, r.size_bytes) for r in reports] == [
        (8, 0, 0, 7), (2, 0, 0, 7), (1, 0, 0, 7),
    ]  # fmt: skip
    for chunk, shard in zip(chunks, shards, strict=True):
        assert shard.keys.tolist() == chunk.keys.tolist()
        assert shard.encoder == {"name": "mean"}
        numbers = [int(s.name) for s in chunk.samples if isinstance(s, ImageSample)]
        wanted = torch.tensor(numbers, dtype=torch.float32) / 127.5 - 1
        assert torch.allclose(shard.tensors["mean"], wanted[:, None].expand(-1, 3), atol=1e-6)
        seeds = [make_seed(key.tobytes()) for key in chunk.keys]
        assert shard.tensors["seed"].tolist() == seeds
        assert shard.tensors["mean"].dtype == torch.float32
    seconds = reports[0].seconds
    assert 0 < seconds.encode < seconds.total
    assert min(seconds.decode, seconds.write) > 0
    assert all(report.smallest_batch is None for report in reports)


def test_texts_reach_the_encoder_as_they_are() -> None:
    class Lengths:
        def identify(self) -> Mapping[str, Any]:
            return {}

        def load(self, device: str) -> None: ...

        def encode(self, batch: list[str], seeds: Sequence[int]) -> Mapping[str, Tensor]:
            return {"length": torch.tensor([len(text) for text in batch])}

    chunk = Chunk("text-1", np.zeros((3, 32), np.uint8), ("", "ab", "abc"), 2)
    _, shards = encode([chunk], Lengths(), lambda sample: sample)
    assert shards[0].tensors["length"].tolist() == [0, 2, 3]


def test_bad_images_are_refused_and_those_that_cannot_be_had_are_not() -> None:
    def some(sample: Sample) -> Any:
        assert isinstance(sample, ImageSample)
        if sample.name == "1":
            raise DataError("cannot read", "1", why="broken")
        if sample.name == "2":
            raise DataError("cannot read", "2", why="gone") from FileNotFoundError(2, "gone")
        if sample.name == "3":
            raise OutageError("cannot fetch", "3")
        if sample.name == "4":
            raise RenderError("cannot render", "4")
        if sample.name == "5":
            raise DataError("cannot read", "5", why="cut") from OSError("image file is truncated")
        return load(sample)

    reports, shards = encode([make_chunk("a", range(7)), make_chunk("b", [1, 5])], Mean(), some)
    assert [(report.done, report.refused, report.failed) for report in reports] == [
        (2, 2, 3), (0, 2, 0),
    ]  # fmt: skip
    assert reports[0].reason == "cannot read 1: broken"
    assert shards[0].keys[:, 0].tolist() == [0, 6]
    assert {bytes.fromhex(key)[0]: why for key, why in shards[0].refused.items()} == {
        1: "broken", 5: "cut",
    }  # fmt: skip
    assert not shards[1].tensors
    assert len(shards[1].refused) == 2


def test_nothing_is_kept_of_a_chunk_that_could_not_be_had() -> None:
    def gone(sample: Sample) -> Any:
        raise OutageError("cannot fetch", "it")

    reports, shards = encode([make_chunk("a", range(4))], Mean(), gone)
    assert (reports[0].failed, reports[0].size_bytes, shards) == (4, 0, [])


@pytest.mark.parametrize(
    ("error", "why"),
    [
        (torch.OutOfMemoryError, "CUDA out of memory"),
        (RuntimeError, "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
)
def test_memory_that_does_not_suffice_halves_batches_of_that_shape(
    caplog: pytest.LogCaptureFixture, error: type[RuntimeError], why: str
) -> None:
    encoder = Mean(most=2, error=error, why=why)
    chunks = [
        make_chunk("a", range(7), batch=7),
        make_chunk("b", range(7, 11), batch=7),
        make_chunk("c", range(2), batch=7, size=Size(2, 2)),
    ]
    with caplog.at_level(logging.WARNING):
        reports, shards = encode(chunks, encoder)
    assert encoder.sizes == [7, 4, 2, 2, 2, 1, 2, 2, 2]
    assert [len(shard.keys) for shard in shards] == [7, 4, 2]
    means = shards[0].tensors["mean"][:, 0]
    assert torch.allclose(means, torch.arange(7) / 127.5 - 1, atol=1e-6)
    assert [report.smallest_batch for report in reports] == [2, 2, None]
    assert caplog.messages[-1] == "not enough memory on cpu: 2 at once from now on"


def test_memory_that_suffices_for_one_batch_at_a_time_is_used_so() -> None:
    class OneByOne(Mean):
        inside = 0

        def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
            self.inside += 1
            try:
                if not met.is_set():  # the first two are at it together
                    meeting.wait(30)
                    met.set()
                    raise torch.OutOfMemoryError("no memory")
                wait_until(
                    lambda: self.inside == 1
                )  # two that were at it would wait for each other
                return super().encode(batch, seeds)
            finally:
                self.inside -= 1

    meeting, met = threading.Barrier(2), threading.Event()
    kept = Kept()
    stages = Stages(load, OneByOne(), kept.write, {})
    chunks = [make_chunk(str(n), range(n, n + 3)) for n in range(6)]
    reports = list(Pipeline(stages, "cpu", 2, 2).run(chunks))
    assert [report.done for report in reports] == [3] * 6
    assert [report.smallest_batch for report in reports] == [None] * 6


def test_images_that_memory_did_not_suffice_for_are_not_called_broken() -> None:
    def full(sample: Sample) -> Any:
        raise DataError("cannot read", "it", why="not enough memory") from MemoryError()

    reports, _ = encode([make_chunk("a", [1])], Mean(), full)
    assert (reports[0].refused, reports[0].failed) == (0, 1)


def test_a_shard_that_lacks_a_sample_does_not_take_the_name_of_the_whole_one() -> None:
    def some(sample: Sample) -> Any:
        assert isinstance(sample, ImageSample)
        if sample.name == "1":
            raise OutageError("cannot fetch", "1")
        return load(sample)

    _, shards = encode([make_chunk("6x4-abc", range(3))], Mean(), some)
    assert shards[0].name.startswith("6x4-")
    assert shards[0].name != "6x4-abc"
    assert len(shards[0].keys) == 2


def test_one_image_that_is_too_large_is_an_error() -> None:
    with pytest.raises(DataError, match=r"cannot encode 5: not enough memory on cpu; use --tiling"):
        encode([make_chunk("a", [5])], Mean(most=0))


def test_what_else_an_encoder_fails_at_is_one_line() -> None:
    with pytest.raises(
        DataError, match="cannot encode 5: RuntimeError: weights are of another shape"
    ):
        encode([make_chunk("a", [5])], Mean(0, RuntimeError, "weights are of another shape\nat"))


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (lambda batch: {"x": torch.full((len(batch), 2), torch.nan)}, r"the x of 0: .*not finite"),
        (lambda batch: {"x": torch.zeros(1)}, r"x has shape \(1,\) for 3 samples"),
        (lambda batch: {"x": torch.tensor(0.0)}, r"x has shape \(\) for 3 samples"),
        (lambda batch: {"x": torch.zeros(len(batch), dtype=torch.complex64)}, "plain numbers"),
        (lambda batch: {"x": torch.eye(len(batch)).to_sparse()}, "plain numbers"),
        (lambda batch: {"x" * len(batch): torch.zeros(len(batch))}, "in another batch"),
        (lambda batch: {"x": torch.zeros(len(batch), len(batch))}, "in another batch"),
        (lambda batch: {"x": batch[:, :, :, :9].tolist()["a"]}, "cannot encode 0: TypeError"),
    ],
)
def test_tensors_that_are_no_use_end_the_run(
    made: Callable[[Tensor], Mapping[str, Tensor]], line: str
) -> None:
    class Bad(Mean):
        def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
            return made(batch)

    with pytest.raises(DataError, match=line):
        encode([make_chunk("a", range(4))], Bad())


def test_images_are_decoded_ahead_of_the_device_but_not_all_of_them() -> None:
    begun = list[str]()
    going_on = threading.Event()

    def count(sample: Sample) -> Any:
        assert isinstance(sample, ImageSample)
        begun.append(sample.name)
        return load(sample)

    class Waiting(Mean):
        def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
            if not going_on.is_set():
                # A batch of 3, one of 1 that waits, two ahead of that, and what 2 threads are at.
                wait_until(lambda: len(begun) >= 3 + 1 + 6)
                assert len(begun) <= 3 + 1 + 6 + 2
                going_on.set()
            return super().encode(batch, seeds)

    chunks = [make_chunk(str(number), range(number, number + 4)) for number in range(10)]
    reports, _ = encode(chunks, Waiting(), count)
    assert going_on.is_set()
    assert len(begun) == 40
    assert sum(report.done for report in reports) == 40


def test_threads_end_with_a_run_that_is_not_wanted_any_more() -> None:
    before = threading.active_count()
    stages = Stages(load, Mean(), Kept().write, {})
    running = Pipeline(stages, "cpu", 2, 1).run([make_chunk(str(n), range(5)) for n in range(50)])
    next(running)
    running.close()  # type: ignore[attr-defined] # it is a generator
    assert threading.active_count() == before
