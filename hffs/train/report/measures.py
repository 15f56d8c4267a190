"""What bucketing does to each sample, as numbers.

Pure. Owns how far a shape is changed, how much is cut away, and how much is enlarged.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.assignment import Assignment


def measure_aspect_error(sizes: NDArray[np.int32], assignment: Assignment) -> NDArray[np.float64]:
    """For each sample |log| of its bucket's aspect by its image's; `sizes`: (n, 2) of images."""
    bucket, image = assignment.sizes[assignment.bucket], sizes[assignment.image]
    ratio = (bucket[:, 0] / bucket[:, 1]) / (image[:, 0] / image[:, 1])
    error: NDArray[np.float64] = np.abs(np.log(ratio))
    return error


def measure_crop_loss(assignment: Assignment) -> NDArray[np.float64]:
    """For each sample the share of the resized image that is cut away."""
    kept = assignment.sizes[assignment.bucket].prod(axis=1, dtype=np.int64)
    loss: NDArray[np.float64] = 1 - kept / assignment.resized.prod(axis=1, dtype=np.int64)
    return loss


def measure_upscale(sizes: NDArray[np.int32], assignment: Assignment) -> NDArray[np.float64]:
    """For each sample how many times as long an edge becomes; of the two, the more."""
    scale: NDArray[np.float64] = (assignment.resized / sizes[assignment.image]).max(axis=1)
    return scale
