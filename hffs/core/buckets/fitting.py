"""From an image and the shape that is wanted of it to its bucket and its size before the crop.

Chooses the generator and does what all have in common: images too large are shrunk to a size of
their own, and no bucket reaches out of the resized image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.by_aspect import compute_sizes, fit_aspects
from hffs.core.buckets.fitted import Fitted, Images
from hffs.core.buckets.free import fit_free
from hffs.core.buckets.grid import fit_grid
from hffs.core.buckets.listed import fit_listed
from hffs.core.buckets.resolutions import Resolution, read_resolution
from hffs.core.buckets.spec import BucketSpec, Generator

_GENERATORS: Mapping[Generator, Callable[[Images, Resolution, BucketSpec], Fitted]] = {
    "aspect": fit_aspects,
    "grid": fit_grid,
    "list": fit_listed,
    "free": fit_free,
}

_EXCESS = 1e-9
"""By which an edge may be longer than allowed, since the limit is no exact number either."""


def fit(images: Images, resolution: Resolution, spec: BucketSpec) -> Fitted:
    """Bucket and size before the crop of each image; the bucket lies inside."""
    fitted = _GENERATORS[spec.generator](images, resolution, spec)
    return Fitted(fitted.buckets, _cover(_downsample(images, fitted, spec), fitted.buckets))


def measure_upscale(sizes: NDArray[np.int64], resized: NDArray[np.int64]) -> NDArray[np.float64]:
    """How many times as long edges become, the longer answer of both; (m,)."""
    upscale: NDArray[np.float64] = (resized / sizes).max(axis=1)
    return upscale


def exceeds(
    sizes: NDArray[np.int64], resized: NDArray[np.int64], max_upscale: float
) -> NDArray[np.bool_]:
    """Which images are enlarged by more than is allowed."""
    return measure_upscale(sizes, resized) > 1.0 + max_upscale + _EXCESS


def _downsample(images: Images, fitted: Fitted, spec: BucketSpec) -> NDArray[np.int64]:
    """Resized sizes, of images larger than the limit that of `downsample_size`.

    SimpleTuner computes it so (`_calculate_target_downsample_size`), but resizes all images to it,
    also those that are not too large.
    """
    limits = spec.limits
    if limits.maximum_size is None or limits.downsample_size is None:
        return fitted.resized
    if spec.resolution_type == "pixel":
        large = (images.sizes > limits.maximum_size).any(axis=1)
    else:
        most = read_resolution(limits.maximum_size, spec.resolution_type).area_px
        large = images.sizes.prod(axis=1) > most
    goal = read_resolution(limits.downsample_size, spec.resolution_type)
    shrunk = compute_sizes(Images(images.sizes[large]), goal, spec).resized
    resized = fitted.resized.copy()
    resized[large] = _reach(shrunk, fitted.buckets[large])
    return resized


def _reach(resized: NDArray[np.int64], buckets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Enlarge, in proportion, what is narrower than its bucket, else what is lower; truncated."""
    narrow = resized[:, 0] < buckets[:, 0]
    low = ~narrow & (resized[:, 1] < buckets[:, 1])
    scales = buckets / resized
    width, height = resized[:, 0], resized[:, 1]
    reached = np.empty_like(resized)
    reached[:, 0] = np.where(low, width * scales[:, 1], np.where(narrow, buckets[:, 0], width))
    reached[:, 1] = np.where(narrow, height * scales[:, 0], np.where(low, buckets[:, 1], height))
    return reached


def _cover(resized: NDArray[np.int64], buckets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Let each bucket lie inside its resized image.

    A pixel that truncating took is added; where more lacks (SimpleTuner's squares of 768 pixels in
    images of 704), the image is enlarged in proportion.
    """
    covering = np.maximum(resized, buckets)
    far = (buckets - resized > 1).any(axis=1)
    scales = (buckets[far] / resized[far]).max(axis=1, keepdims=True)
    covering[far] = np.maximum(np.rint(resized[far] * scales).astype(np.int64), buckets[far])
    return covering
