"""Rounding as trainers round: aspect ratios to decimals, edges to multiples.

Pure arithmetic on arrays. Invariant: equal, bit for bit, to Python's own `round`, which trainers
call for one image after the other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_DOUBT = 2.0**-50
"""Of a scaled value, eight times what multiplying may have changed in it."""


def round_decimals(values: NDArray[np.float64], decimals: int) -> NDArray[np.float64]:
    """Python's `round(value, decimals)` of each; `decimals` 0 to 9.

    numpy rounds the product with a power of ten, which may fall on the other side of a half than
    the value itself. Only those near a half are therefore rounded one by one.
    """
    scale = 10.0**decimals
    scaled = values * scale
    rounded = np.rint(scaled) / scale
    doubtful = np.abs(scaled - np.floor(scaled) - 0.5) <= scaled * _DOUBT
    distinct, places = np.unique(values[doubtful], return_inverse=True)
    rounded[doubtful] = np.array([round(v, decimals) for v in distinct.tolist()], float)[places]
    return rounded


def round_to_multiple(values: NDArray[np.float64], multiple: int) -> NDArray[np.int64]:
    """The nearest multiple of each, halves to the even one, and never 0."""
    return np.maximum(np.rint(values / multiple).astype(np.int64) * multiple, multiple)


def round_edge(value: float, multiple: int) -> int:
    """The nearest multiple of one edge, as `round_to_multiple` has it."""
    return max(round(value / multiple) * multiple, multiple)
