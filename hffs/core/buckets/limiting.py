"""Which images are left out before anything is computed for them, and why."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.assignment import Removal
from hffs.core.buckets.resolutions import read_resolution
from hffs.core.buckets.rounding import round_decimals
from hffs.core.buckets.spec import BucketSpec


def find_removed(sizes: NDArray[np.int64], spec: BucketSpec) -> NDArray[np.uint8]:
    """A `Removal` for each image, the first that applies; UPSCALED is not known here."""
    removed = np.zeros(len(sizes), np.uint8)
    # The last that is written stays, so the first reason comes last.
    known = (sizes > 0).all(axis=1)
    own = np.divide(sizes[:, 0], sizes[:, 1], out=np.ones(len(sizes)), where=known)
    if spec.limits.max_aspect is not None:
        removed[own > spec.limits.max_aspect] = Removal.TOO_WIDE
    if spec.limits.min_aspect is not None:
        removed[own < spec.limits.min_aspect] = Removal.TOO_NARROW
    if spec.generator == "aspect" or spec.limits.downsample_size is not None:
        # No size can be computed from the rounded ratio; SimpleTuner divides by it and fails.
        removed[round_decimals(own, spec.rounding) == 0.0] = Removal.TOO_NARROW
    if spec.limits.minimum_size is not None:
        removed[_find_small(sizes, spec.limits.minimum_size, spec)] = Removal.TOO_SMALL
    removed[~known] = Removal.NO_SIZE
    return removed


def _find_small(sizes: NDArray[np.int64], minimum: float, spec: BucketSpec) -> NDArray[np.bool_]:
    """As SimpleTuner's `meets_resolution_requirements`: by edges, or by area.

    The area of an edge is its square; there it is converted to megapixels and back, by which an
    image of just that size may be found too small.
    """
    if spec.resolution_type == "pixel":
        return _have_edge_below(sizes, minimum)
    area_px = read_resolution(minimum, spec.resolution_type).area_px
    small: NDArray[np.bool_] = sizes[:, 0] * sizes[:, 1] < area_px
    if spec.crop.aspect == "square":
        small |= _have_edge_below(sizes, math.floor(math.sqrt(area_px)))
    return small


def _have_edge_below(sizes: NDArray[np.int64], edge_px: float) -> NDArray[np.bool_]:
    shorter: NDArray[np.int64] = sizes.min(axis=1)
    return shorter < edge_px
