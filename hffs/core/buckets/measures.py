"""What bucketing costs: shapes changed, borders cut away, images enlarged.

Pure figures of an `Assignment`, each (s,) float64 in the order of its samples. `sizes` are those of
the images that it was made of, (n, 2), width and height.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.assignment import Assignment
from hffs.core.buckets.fitting import measure_upscale


def aspect_error(sizes: NDArray[np.int32], assignment: Assignment) -> NDArray[np.float64]:
    """How far the bucket's aspect ratio is from the image's: |log(bucket / image)|."""
    bucket, own = assignment.sizes[assignment.bucket], sizes[assignment.image].astype(np.int64)
    error: NDArray[np.float64] = np.abs(
        np.log(bucket[:, 0] * own[:, 1] / (bucket[:, 1] * own[:, 0]))
    )
    return error


def crop_loss(assignment: Assignment) -> NDArray[np.float64]:
    """Share of the resized image's area that is cut away."""
    whole = assignment.resized.prod(axis=1, dtype=np.float64)
    kept = assignment.sizes.prod(axis=1, dtype=np.float64)[assignment.bucket]
    loss: NDArray[np.float64] = 1.0 - kept / whole
    return loss


def upscale(sizes: NDArray[np.int32], assignment: Assignment) -> NDArray[np.float64]:
    """How many times as long edges become, the longer answer of both; less than 1 is shrunk."""
    own = sizes[assignment.image].astype(np.int64)
    return measure_upscale(own, assignment.resized.astype(np.int64))


def count_by_bucket(assignment: Assignment) -> NDArray[np.int64]:
    """How many samples each bucket has, (b,)."""
    return np.bincount(assignment.bucket, minlength=len(assignment.sizes)).astype(np.int64)
