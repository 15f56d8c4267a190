"""Batches of one epoch: the same on every rank, from a seed and a number.

Pure: bucket of each sample in, order of samples out. Invariants: a batch is of one bucket; a sample
is in as many batches as it has repeats, unless remainders are dropped or padded; all ranks have as
many batches, and of each as many samples. The order never changes, whatever release of numpy
computes it (keys of `hffs.core.sampling`, no Generator).
"""

from __future__ import annotations

import hashlib
from dataclasses import astuple, dataclass
from operator import index
from typing import Literal, SupportsIndex, get_args

import numpy as np
from numpy.typing import NDArray

from hffs.core.sampling import make_keys
from hffs.errors import ConfigError

Remainder = Literal["drop", "pad", "partial"]

_MOST_PLACES = 1 << 30
"""Samples of an epoch, repeats among them: their numbers alone take 8 GB."""


@dataclass(frozen=True, slots=True)
class BatchSpec:
    """How samples become batches.

    `batch_size` is of one rank; with `pixel_budget` each bucket's is the most whose pixels fit into
    it, at least 1. `repeats` is how many more times than once an epoch has every sample. What does
    not fill a batch of all ranks is dropped, padded with samples of the same bucket, or a smaller
    batch (padded to a multiple of the ranks). `shuffle` False keeps the order of samples and
    buckets.
    """

    batch_size: int = 1
    pixel_budget: int | None = None
    remainder: Remainder = "drop"
    repeats: int = 0
    world: int = 1
    seed: int = 0
    shuffle: bool = True

    def __post_init__(self) -> None:
        for name in ("batch_size", "pixel_budget", "repeats", "world", "seed"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _to_int(name, value))


@dataclass(frozen=True, slots=True)
class EpochPlan:
    """Batches of all ranks; arrays are read-only.

    `order`: (m,) int64 sample numbers, batch after batch, in a batch rank after rank.
    `starts`: (k + 1,) int64, batch i is `order[starts[i]:starts[i + 1]]`.
    `bucket`: (k,) int32, the bucket of each batch.
    `batches`, `dropped`, `padded`: (b,) int64, by bucket: batches, samples left out, and samples
    that are there once more than their repeats.
    """

    order: NDArray[np.int64]
    starts: NDArray[np.int64]
    bucket: NDArray[np.int32]
    batches: NDArray[np.int64]
    dropped: NDArray[np.int64]
    padded: NDArray[np.int64]
    world: int

    def __len__(self) -> int:
        return len(self.bucket)

    def batch(self, number: int) -> NDArray[np.int64]:
        """Samples of a batch, of all ranks."""
        return self.order[self.starts[number] : self.starts[number + 1]]

    def part(self, number: int, rank: int) -> NDArray[np.int64]:
        """Samples of a batch that one rank has: as many as every other."""
        whole = self.batch(number)
        count = len(whole) // self.world
        return whole[rank * count : (rank + 1) * count]


def plan_epoch(
    bucket: NDArray[np.int32], bucket_sizes: NDArray[np.int32], spec: BatchSpec, epoch: int
) -> EpochPlan:
    """Batches of an epoch from the bucket of each sample, (s,), and the buckets' sizes, (b, 2).

    Raises ConfigError for a spec that makes no batches.
    """
    sizes = batch_sizes(bucket_sizes, spec) * spec.world
    members = np.bincount(bucket, minlength=len(sizes)).astype(np.int64)
    wanted = members * (spec.repeats + 1)
    kept = _count_kept(wanted, sizes, spec)
    if int(max(kept.sum(dtype=float), wanted.sum(dtype=float))) > _MOST_PLACES:
        why = f"an epoch has at most {_MOST_PLACES} places of samples"
        fix = "fewer repeats, ranks or images in a batch make fewer"
        raise ConfigError("cannot make batches", why=why, fix=fix)
    batches = -(-kept // sizes)
    lines = _line_up(bucket, members, kept, spec, epoch)
    of_batch = np.repeat(np.arange(len(sizes)), batches)
    within = _count_up(batches)
    lengths = np.minimum(sizes[of_batch], kept[of_batch] - within * sizes[of_batch])
    places = (np.cumsum(kept) - kept)[of_batch] + within * sizes[of_batch]
    turn = np.arange(len(of_batch))
    if spec.shuffle:
        turn = np.argsort(make_keys(turn, derive_seed(spec.seed, epoch, 0)), kind="stable")
    lengths, places = lengths[turn], places[turn]
    starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    order = lines[np.repeat(places - starts[:-1], lengths) + np.arange(starts[-1])]
    plan = EpochPlan(
        order=order,
        starts=starts,
        bucket=of_batch[turn].astype(np.int32),
        batches=batches,
        dropped=np.maximum(wanted - kept, 0),
        padded=np.maximum(kept - wanted, 0),
        world=spec.world,
    )
    for array in (order, starts, plan.bucket, batches, plan.dropped, plan.padded):
        array.setflags(write=False)
    return plan


def batch_sizes(bucket_sizes: NDArray[np.int32], spec: BatchSpec) -> NDArray[np.int64]:
    """Samples in a whole batch of one rank, by bucket, (b,)."""
    _validate(spec)
    pixels = np.prod(bucket_sizes, axis=1, dtype=np.int64)
    if spec.pixel_budget is None:
        return np.full(len(pixels), spec.batch_size, np.int64)
    fitting: NDArray[np.int64] = spec.pixel_budget // pixels
    return np.maximum(fitting, 1)


def identify(bucket: NDArray[np.int32], bucket_sizes: NDArray[np.int32], spec: BatchSpec) -> str:
    """SHA-256 of all that batches depend on but the epoch, in hexadecimal."""
    digest = hashlib.sha256(repr(astuple(spec)).encode())
    for array in (bucket, bucket_sizes):
        digest.update(repr(array.shape).encode())
        digest.update(array.astype("<i4").tobytes())
    return digest.hexdigest()


def derive_seed(seed: int, *parts: int) -> int:
    """A seed for each tuple of numbers, so that what is drawn with them has nothing in common.

    >>> derive_seed(0) == 0, derive_seed(0, 1, 2) == derive_seed(0, 2, 1)
    (True, False)
    """
    for part in parts:
        seed = int(make_keys(np.array([part], np.int64), seed)[0])
    return seed


def _to_int(name: str, value: SupportsIndex) -> int:
    """A whole number as Python's own, which is told apart from no other."""
    try:
        return index(value)
    except TypeError as error:
        why = "it is no whole number"
        raise ConfigError(f"cannot use {name}", repr(value), why=why) from error


def _validate(spec: BatchSpec) -> None:
    limits = {
        "batch_size": (1, _MOST_PLACES),
        "pixel_budget": (1, 1 << 53),
        "repeats": (0, _MOST_PLACES),
        "world": (1, 1 << 20),
    }
    for name, (least, most) in limits.items():
        value = getattr(spec, name)
        if value is not None and not least <= value <= most:
            why = f"it is at least {least}" if value < least else f"it is at most {most}"
            raise ConfigError(f"cannot use {name}", str(value), why=why)
    if spec.remainder not in get_args(Remainder):
        known = ", ".join(get_args(Remainder))
        raise ConfigError("cannot use remainder", spec.remainder, why=f"it is one of {known}")


def _count_kept(
    wanted: NDArray[np.int64], sizes: NDArray[np.int64], spec: BatchSpec
) -> NDArray[np.int64]:
    """How many places the batches of each bucket have, from samples and whole batches."""
    unit = np.full_like(sizes, spec.world) if spec.remainder == "partial" else sizes
    whole: NDArray[np.int64] = wanted // unit
    if spec.remainder != "drop":
        whole = -(-wanted // unit)
    return whole * unit


def _line_up(
    bucket: NDArray[np.int32],
    members: NDArray[np.int64],
    kept: NDArray[np.int64],
    spec: BatchSpec,
    epoch: int,
) -> NDArray[np.int64]:
    """The samples of bucket after bucket, pass after pass, as many of each bucket as are kept.

    Padding is the last pass once more from its beginning: the last batch, which is the one that is
    padded, has the pass's end.
    """
    of_place = np.repeat(np.arange(len(members)), kept)
    inside, period = _count_up(kept), members[of_place]
    number = np.minimum(inside // period, np.int64(spec.repeats))
    column: NDArray[np.int64] = (np.cumsum(members) - members)[of_place] + (
        inside - number * period
    ) % period
    if not spec.shuffle:
        return np.argsort(bucket, kind="stable")[column]
    passes = np.empty((spec.repeats + 1, len(bucket)), np.int64)
    for one, grouped in enumerate(passes):
        grouped[:] = _shuffle_inside(bucket, len(members), derive_seed(spec.seed, epoch, one + 1))
    lines: NDArray[np.int64] = passes[number, column]
    return lines


def _shuffle_inside(bucket: NDArray[np.int32], count: int, seed: int) -> NDArray[np.int64]:
    """Sample numbers, bucket after bucket, in a random order inside each.

    What is sorted is one word of bucket, key and number, in as many bits as each takes: four
    times as fast as `argsort`. The few samples whose keys begin alike stay in order.
    """
    high = np.uint64(64 - max(count - 1, 1).bit_length())
    low = np.uint64(max(len(bucket) - 1, 1).bit_length())
    numbers = np.arange(len(bucket))
    keys = make_keys(numbers, seed) >> (low + np.uint64(64) - high) << low
    words = bucket.astype(np.uint64) << high | keys | numbers.astype(np.uint64)
    words.sort()
    return (words & ((np.uint64(1) << low) - np.uint64(1))).astype(np.int64)


def _count_up(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """0, 1, ... below each count, one after the other."""
    ends = np.cumsum(counts)
    return np.arange(counts.sum()) - np.repeat(ends - counts, counts)
