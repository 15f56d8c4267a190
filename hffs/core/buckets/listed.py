"""The generator `list`: aspect ratios, or sizes, that someone chose.

As diffusion-pipe has it (utils/dataset.py, at 8f83dbf), with two differences. Sizes may be listed
in any order; there they have to rise by aspect ratio, or another is taken than the nearest. A
bucket so narrow that an edge rounds to 0 gets an edge of the alignment. How large an image is
before the crop is no copy: there it is cropped first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.fitted import Fitted, Images
from hffs.core.buckets.nearest import find_nearest
from hffs.core.buckets.resolutions import Resolution
from hffs.core.buckets.rounding import round_to_multiple
from hffs.core.buckets.spec import BucketSpec
from hffs.core.types import Size

DECIMALS = 3
"""Of the aspect ratios of buckets."""


def fit_listed(images: Images, resolution: Resolution, spec: BucketSpec) -> Fitted:
    """Bucket and size before the crop of each image, its shape kept."""
    sizes = [bucket for bucket in spec.buckets if isinstance(bucket, Size)]
    if sizes:
        listed = np.array(sizes, np.int64)
        ratios = np.round(listed[:, 0] / listed[:, 1], DECIMALS)
    else:
        ratios = list_aspects(spec)
        listed = _size(ratios, resolution, spec.alignment_px)
    buckets = listed[find_nearest(images.aspects, ratios, spec.distance or "log")]
    scales = (buckets / images.sizes).max(axis=1, keepdims=True)
    resized = np.rint(images.sizes * scales).astype(np.int64)
    return Fitted(buckets, np.maximum(resized, buckets))


def list_aspects(spec: BucketSpec) -> NDArray[np.float64]:
    """The aspect ratios of all buckets, sorted."""
    if spec.geometric is None:
        chosen = [float(bucket) for bucket in spec.buckets if not isinstance(bucket, Size)]
        return np.unique([round(aspect, DECIMALS) for aspect in chosen])
    spaced = np.geomspace(spec.geometric.least, spec.geometric.most, spec.geometric.count)
    # These are numpy's numbers, whose `round` is not that of Python's.
    return np.unique(np.round(spaced, DECIMALS))


def _size(
    aspects: NDArray[np.float64], resolution: Resolution, alignment_px: int
) -> NDArray[np.int64]:
    widths = np.sqrt(resolution.area_px * aspects)
    sizes = np.stack([widths, resolution.area_px / widths], axis=1)
    return round_to_multiple(sizes, alignment_px)
