"""What bucketing answers: for each sample its bucket, its size before the crop, and the crop.

Owns the arrays and what is told of them. A sample is an image at one resolution. Must not know how
they were computed, nor names of files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray


class Removal(IntEnum):
    """Why an image has no sample at a resolution."""

    KEPT = 0
    NO_SIZE = 1
    TOO_SMALL = 2
    TOO_NARROW = 3
    TOO_WIDE = 4
    UPSCALED = 5


@dataclass(frozen=True, slots=True)
class Assignment:
    """Samples in the order of resolutions, then of images; all arrays are read-only.

    `sizes`: (b, 2) int32, width and height of each bucket in pixels, sorted, none twice.
    `aspects`: (b,) float64, its aspect ratio as the generator names it, rounded.
    `image`: (s,) int64, which image a sample is of. `bucket`: (s,) int32, index into `sizes`.
    `resolution`: (s,) int16, index into the spec's resolutions.
    `resized`: (s, 2) int32, width and height that the whole image is resized to.
    `crop`: (s, 2) int32, left and top of the bucket's box in the resized image; it lies inside.
    `removed`: (n, r) uint8, a `Removal` for each image and resolution.
    """

    sizes: NDArray[np.int32]
    aspects: NDArray[np.float64]
    image: NDArray[np.int64]
    bucket: NDArray[np.int32]
    resolution: NDArray[np.int16]
    resized: NDArray[np.int32]
    crop: NDArray[np.int32]
    removed: NDArray[np.uint8]
