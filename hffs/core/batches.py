"""Batches of one epoch: the same on every rank, from a seed and a number.

Pure: bucket of each sample in, order of samples out. Invariants: a batch is of one bucket; a sample
is in as many batches as it has repeats, unless remainders are dropped or padded; all ranks have as
many batches, and of each as many samples. The order never changes, whatever release of numpy
computes it (keys of `hffs.core.sampling`, no Generator).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Remainder = Literal["drop", "pad", "partial"]


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
