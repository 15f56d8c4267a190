"""How numbers are spread: counts between edges that people know.

Pure: numbers in, counts out. Must not know what is counted, nor how it is drawn.
Invariants: the counts add up to the numbers given; edges ascend, and there is one more of them than
of counts; a bin has its lower edge and not its upper one; no bin at an end is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIZE_EDGES = (
    0, 64, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536, 2048, 3072, 4096, 6144, 8192, 16384,
    32768, 65536,
)  # fmt: skip
"""Pixels: the sizes that models are trained at, and those between."""

ASPECT_EDGES = (
    0, 0.25, 0.33, 0.4, 0.5, 0.6, 0.7, 0.8, 0.95, 1.05, 1.25, 1.45, 1.7, 2, 2.5, 3, 4, 8, 16, 64,
)  # fmt: skip
"""Width / height: squares in the middle, and each shape lying as well as standing."""

MEGAPIXEL_EDGES = (
    0, 0.05, 0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 36, 50, 100, 200,
)  # fmt: skip
"""Areas of images: those of models, then those of cameras."""

LENGTH_EDGES = (
    0, 1, 10, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 5000, 10**4, 10**5,
    10**6,
)  # fmt: skip
"""Characters of captions."""

SECONDS_EDGES = (
    0, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 300, 600, 1200, 1800,
    3600, 7200,
)  # fmt: skip
"""Durations: of clips that models are trained on, of songs, of films."""

FRAMES_EDGES = (
    0, 2, 17, 25, 33, 49, 65, 81, 97, 121, 161, 201, 257, 401, 601, 1001, 2001, 5001, 10_001,
    100_001,
)  # fmt: skip
"""Frames of a video: as models take them, in fours and one more."""

Number = int | float


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[i]` numbers are at least `edges[i]` and below `edges[i + 1]`.

    Edges of whole numbers are int, those of others float.
    """

    edges: tuple[Number, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Spread:
    """The least, the middle and the greatest of some numbers, and how many are where between."""

    min: Number
    median: Number
    max: Number
    histogram: Histogram


def describe_spread(numbers: NDArray[Any], edges: Sequence[Number]) -> Spread | None:
    """The spread of finite numbers, none below the first edge; None of no numbers."""
    if not len(numbers):
        return None
    most = numbers.max().item()
    return Spread(
        min=numbers.min().item(),
        median=_tidy(float(np.median(numbers))),
        max=most,
        histogram=_count(numbers, edges, most),
    )


def _count(numbers: NDArray[Any], edges: Sequence[Number], most: Number) -> Histogram:
    edges = list(edges)
    while edges[-1] <= most:
        edges.append(edges[-1] * 10)
    if numbers.dtype.kind == "f":  # 2 would be read as all there is below 3
        edges = list(map(float, edges))
    counts, _ = np.histogram(numbers, edges)
    used = np.flatnonzero(counts)
    first, last = int(used[0]), int(used[-1]) + 1
    return Histogram(tuple(edges[first : last + 1]), tuple(counts[first:last].tolist()))


def _tidy(number: float) -> Number:
    """A whole number without its fraction of zero."""
    return int(number) if number.is_integer() else number
