"""The nearest of a few aspect ratios for each of many images."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.spec import Distance


def find_nearest(
    aspects: NDArray[np.float64], choices: Iterable[float], distance: Distance
) -> NDArray[np.int64]:
    """Index of the nearest choice for each aspect ratio; of several, the first.

    One choice after the other, so that memory does not grow with their number.
    """
    among = np.array(list(choices), np.float64)
    if distance == "log":
        aspects, among = np.log(aspects), np.log(among)
    least = np.full(len(aspects), np.inf)
    nearest = np.zeros(len(aspects), np.int64)
    for index, choice in enumerate(among):
        apart = np.abs(choice - aspects)
        nearer = apart < least
        least[nearer], nearest[nearer] = apart[nearer], index
    return nearest
