"""The generator `free`: each image its own bucket, as large as it is up to a resolution.

As ai-toolkit has it (toolkit/buckets.py `get_bucket_for_image_size` and
toolkit/dataloader_mixins.py `setup_buckets`, at 27a03a9), bit for bit where images keep their
shape. Where another is wanted, the bucket has as many pixels and that shape.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.fitted import Fitted, Images
from hffs.core.buckets.resolutions import Resolution
from hffs.core.buckets.spec import BucketSpec

_DOUBT = 1e-12
"""Of an edge in steps: far more than a square root may be off."""


def fit_free(images: Images, resolution: Resolution, spec: BucketSpec) -> Fitted:
    """Bucket and size before the crop of each image."""
    step = spec.alignment_px
    total = images.sizes.prod(axis=1).astype(np.float64)
    goal = np.minimum(total, resolution.area_px)
    if images.wanted is None:
        steps = _shrink(images.sizes, total, goal, step)
    else:
        exact = [np.sqrt(goal * images.wanted), np.sqrt(goal / images.wanted)]
        steps = np.stack(exact, axis=1) / step
    buckets = _choose(steps, goal, resolution.area_px, step)
    scales = (buckets / images.sizes).max(axis=1, keepdims=True)
    return Fitted(buckets, np.ceil(images.sizes * scales).astype(np.int64))


def _shrink(
    sizes: NDArray[np.int64], total: NDArray[np.float64], goal: NDArray[np.float64], step: int
) -> NDArray[np.float64]:
    """Edges of each image in steps, (m, 2), after it was shrunk to its goal of pixels.

    ai-toolkit takes roots by Python's `** 0.5`, which may be off by one unit in the last place
    where numpy's root is not. Near whole steps, where that decides, Python's is taken.
    """
    shares = goal / total
    steps = sizes * np.sqrt(shares)[:, None] / step
    doubtful = (np.abs(steps - np.rint(steps)) <= steps * _DOUBT).any(axis=1) & (shares < 1.0)
    distinct, places = np.unique(shares[doubtful], return_inverse=True)
    roots = np.array([share**0.5 for share in distinct.tolist()], np.float64)[places]
    steps[doubtful] = sizes[doubtful] * roots[:, None] / step
    return steps


def _choose(
    steps: NDArray[np.float64], goal: NDArray[np.float64], most: float, step: int
) -> NDArray[np.int64]:
    """Of the four sizes around each, the one nearest to its goal of pixels that has no more."""
    low, high = np.floor(steps).astype(np.int64) * step, np.ceil(steps).astype(np.int64) * step
    buckets = np.maximum(low, step)
    least = np.full(len(goal), np.inf)
    for width, height in ((low, low), (low, high), (high, low), (high, high)):
        size = np.stack([width[:, 0], height[:, 1]], axis=1)
        area = size.prod(axis=1)
        apart = np.where((area > 0) & (area <= most), np.abs(area - goal), np.inf)
        nearer = apart < least
        least[nearer], buckets[nearer] = apart[nearer], size[nearer]
    return buckets
