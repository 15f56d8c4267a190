"""Several entries in one stream: which of them each step takes its batch from.

Pure: probabilities and numbers of batches in, arrays out. Must not know what an entry is.
Invariant: step k depends on the seed, the epoch and k alone, so that every rank draws the same; the
keys are those of `hffs.core.sampling` and never change. Memory is that of a block of steps, however
many there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from hffs.core.batches import derive_seed
from hffs.core.sampling import make_keys
from hffs.errors import ConfigError

Stop = Literal["first", "longest"]

BLOCK_STEPS = 1 << 16
"""Steps that are drawn at a time."""

_LEAST_SHARE = 1e-6
"""Of all draws: what is drawn more rarely would make an epoch of millions of steps."""

_STREAM = -1
"""Apart from those that batches of the same seed and epoch are shuffled by."""


@dataclass(frozen=True, slots=True)
class Mix:
    """Entries to be mixed, each by its number of batches and how often it is drawn.

    Probabilities need not add up to 1; one of 0 leaves the entry out. An epoch ends with `first`
    before the first step that would take from an entry that has nothing left; with `longest` when
    every entry was through at least once, and those that were through earlier begin another round.
    Raises ConfigError for what cannot be drawn.
    """

    lengths: tuple[int, ...]
    probabilities: tuple[float, ...]
    seed: int = 0
    stop: Stop = "longest"

    def __post_init__(self) -> None:
        ends = cumulate(self.probabilities)
        shares = np.diff(ends, prepend=0.0)
        for probability, share in zip(self.probabilities, shares, strict=True):
            if probability > 0 and share < _LEAST_SHARE:
                why = f"less than {_LEAST_SHARE:g} of all is waited for for ever"
                which = f"probability {probability:g}"
                raise ConfigError("cannot use", which, why=why, fix="give 0")
        if self.stop not in get_args(Stop):
            known = ", ".join(get_args(Stop))
            raise ConfigError("cannot use stop", self.stop, why=f"it is one of {known}")
        for number, drawn in enumerate(zip(self.lengths, self.probabilities, strict=True)):
            if drawn[1] > 0 and drawn[0] < 1:
                raise ConfigError("cannot mix", f"entry {number}", why="it has no batch")


@dataclass(frozen=True, slots=True)
class Steps:
    """Consecutive steps, `first` being the number of the first in its epoch.

    `entry`: (k,) int16. `number`: (k,) int64, which of the entry's batches. `round`: (k,) int64,
    how often the entry was through before, in this epoch.
    """

    first: int
    entry: NDArray[np.int16]
    number: NDArray[np.int64]
    round: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.entry)


def cumulate(probabilities: Sequence[float]) -> NDArray[np.float64]:
    """Where each entry's part of [0, 1) ends, (e,); ConfigError if there is nothing to draw."""
    parts = np.array(probabilities, np.float64)
    wrong = np.flatnonzero(~(np.isfinite(parts) & (parts >= 0)))
    if len(wrong):
        why = "it is a number, 0 or more"
        raise ConfigError("cannot use probability", str(probabilities[wrong[0]]), why=why)
    if not parts.any():
        raise ConfigError("cannot mix entries", why="no entry has a probability above 0")
    parts /= parts.max()  # so that the sum of huge ones is a number
    ends = np.cumsum(parts)
    ends /= ends[-1]
    return ends


def draw(
    probabilities: Sequence[float], seed: int, epoch: int, first: int, count: int
) -> NDArray[np.int16]:
    """The entry of each of `count` steps from number `first` on, (count,)."""
    steps = np.arange(first, first + count)
    keys = make_keys(steps, derive_seed(seed, epoch, _STREAM))
    uniform = (keys >> np.uint64(11)) * 2.0**-53
    return np.searchsorted(cumulate(probabilities), uniform, side="right").astype(np.int16)


def plan_mix(mix: Mix, epoch: int) -> Iterator[Steps]:
    """The steps of an epoch, block after block; none is empty."""
    lengths = np.array(mix.lengths, np.int64)
    taken = np.zeros(len(lengths), np.int64)
    first, end = 0, None
    while end is None:
        entry = draw(mix.probabilities, mix.seed, epoch, first, BLOCK_STEPS)
        before = taken[entry] + _count_earlier(entry)
        waited_for = int(((taken < lengths) & (np.array(mix.probabilities) > 0)).sum())
        end = _find_end(mix.stop, before - lengths[entry], waited_for)
        entry, before = entry[:end], before[:end]
        if len(entry):
            yield Steps(first, entry, before % lengths[entry], before // lengths[entry])
        taken += np.bincount(entry, minlength=len(lengths))
        first += len(entry)


def count_steps(mix: Mix, epoch: int) -> int:
    """How many steps an epoch has."""
    return sum(len(steps) for steps in plan_mix(mix, epoch))


def _count_earlier(entry: NDArray[np.int16]) -> NDArray[np.int64]:
    """How many steps before each have the same entry, (k,)."""
    grouped = np.argsort(entry, kind="stable")
    counts = np.bincount(entry)
    earlier = np.empty(len(entry), np.int64)
    earlier[grouped] = np.arange(len(entry)) - np.repeat(np.cumsum(counts) - counts, counts)
    return earlier


def _find_end(stop: Stop, beyond: NDArray[np.int64], waited_for: int) -> int | None:
    """How many steps of a block still belong to the epoch; None if it goes on after them.

    `beyond` is, for each step, how many of its entry came before less all that the entry has;
    `waited_for` counts entries that were not through before the block.
    """
    if stop == "first":
        over = np.flatnonzero(beyond >= 0)
        return int(over[0]) if len(over) else None
    last_ones = np.flatnonzero(beyond == -1)
    return int(last_ones[-1]) + 1 if len(last_ones) == waited_for else None
