"""A seeded sample of rows: which of them are in it.

Pure: row numbers in, a mask out. Every row has a key that depends on it and the seed alone; the
rows with the smallest keys are the sample. So a sample is part of every larger one of the same
seed, and a row that a filter takes away changes no other row's place, but lets the next one in.
Invariant: the keys never change, whatever release of numpy computes them: they are SplitMix64
(Steele, Lea, Flood: Fast splittable pseudorandom number generators, OOPSLA 2014), not a Generator,
whose stream numpy may change (NEP 19).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_STEP = np.uint64(0x9E3779B97F4A7C15)
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_WORD = (1 << 64) - 1


def sample_rows(rows: NDArray[np.int64], count: int, seed: int) -> NDArray[np.bool_]:
    """Which of these rows (in any order, repeats allowed) are among the `count` of the sample.

    All repeats of a row are in it, or none; with no more than `count` different rows, all are.
    """
    distinct, places = np.unique(rows, return_inverse=True)
    if count >= len(distinct):
        return np.ones(len(rows), np.bool_)
    chosen = np.zeros(len(distinct), np.bool_)
    # No two rows have the same key, so which are the smallest does not depend on the algorithm.
    chosen[np.argpartition(make_keys(distinct, seed), count)[:count]] = True
    return chosen[places]


def make_keys(rows: NDArray[np.int64], seed: int) -> NDArray[np.uint64]:
    """Key of each row: output number `row` of a SplitMix64 that begins at `seed`.

    Different rows have different keys: each step below can be undone.
    """
    state = (rows.astype(np.uint64) + np.uint64(1)) * _STEP + np.uint64(seed & _WORD)
    state = (state ^ (state >> np.uint64(30))) * _FIRST
    state = (state ^ (state >> np.uint64(27))) * _SECOND
    return state ^ (state >> np.uint64(31))
