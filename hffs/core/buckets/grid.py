"""The generator `grid`: all sizes of no more than an area, the nearest aspect ratio for each image.

As kohya's sd-scripts have it (library/model_util.py `make_bucket_resolutions` and
library/train_util.py `BucketManager.select_bucket` with upscaling, at 48d368f), bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.fitted import Fitted, Images
from hffs.core.buckets.nearest import find_nearest
from hffs.core.buckets.resolutions import Resolution
from hffs.core.buckets.spec import BucketSpec

_CODE = 1 << 32


def fit_grid(images: Images, resolution: Resolution, spec: BucketSpec) -> Fitted:
    """Bucket and size before the crop of each image; one that is as large as a bucket keeps it."""
    grid = list_sizes(resolution, spec)
    ratios = grid[:, 0] / grid[:, 1]
    nearest = find_nearest(images.aspects, ratios, spec.distance or "linear")
    if images.wanted is None:
        codes, own = _encode(grid), _encode(images.sizes)
        found = np.minimum(np.searchsorted(codes, own), len(codes) - 1)
        nearest = np.where(codes[found] == own, found, nearest)
    buckets = grid[nearest]
    wide = images.own > ratios[nearest]
    edges = np.where(wide[:, None], buckets[:, 1:], buckets[:, :1])
    scales = edges / np.where(wide[:, None], images.sizes[:, 1:], images.sizes[:, :1])
    return Fitted(buckets, (images.sizes * scales + 0.5).astype(np.int64))


def list_sizes(resolution: Resolution, spec: BucketSpec) -> NDArray[np.int64]:
    """All buckets of a resolution, (k, 2), sorted by width and height."""
    step, least, most = spec.alignment_px, spec.min_edge_px, spec.max_edge_px
    square = int(math.sqrt(resolution.area_px) // step) * step
    sizes = {(square, square)}
    for width in range(least, most + 1, step):
        height = min(most, int((resolution.area_px // width) // step) * step)
        if height >= least:
            sizes |= {(width, height), (height, width)}
    return np.array(sorted(sizes), np.int64)


def _encode(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """A number for each size, in the order of width and height."""
    return sizes[:, 0] * _CODE + sizes[:, 1]
