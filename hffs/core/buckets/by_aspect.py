"""The generator `aspect`: a bucket for every rounded aspect ratio that images have.

As SimpleTuner has it (helpers/multiaspect/image.py and image_manipulation/training_sample.py, at
bc8e6ab): arithmetic in its order, so that results are equal bit for bit. Of all sizes whose aspect
ratio rounds to the same, the first that is seen is the bucket of all; images are seen in the order
of their index, whereas there several threads race.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.fitted import Fitted, Images
from hffs.core.buckets.resolutions import Resolution, square_edge_px
from hffs.core.buckets.rounding import round_decimals, round_edge, round_to_multiple
from hffs.core.buckets.spec import BucketSpec


def fit_aspects(images: Images, resolution: Resolution, spec: BucketSpec) -> Fitted:
    """Bucket and size before the crop of each image (`calculate_target_size`)."""
    fitted = compute_sizes(images, resolution, spec)
    square_px = square_edge_px(resolution, spec)
    square = round_decimals(_divide(fitted.buckets), spec.rounding) == 1.0
    small = square & (fitted.resized[:, 0] < square_px)
    buckets = np.where(square[:, None], square_px, fitted.buckets)
    return Fitted(buckets, np.where(small[:, None], square_px, fitted.resized))


def compute_sizes(images: Images, resolution: Resolution, spec: BucketSpec) -> Fitted:
    """Sizes before squares are corrected (`calculate_new_size_by_pixel_edge` and `_area`)."""
    aspects = images.wanted
    if aspects is None:
        aspects = round_decimals(images.own, spec.rounding)
    if spec.resolution_type == "pixel":
        return _by_edge(images, aspects, int(resolution.value), spec)
    return _by_area(images, aspects, resolution, spec)


def _by_edge(
    images: Images, aspects: NDArray[np.float64], edge_px: int, spec: BucketSpec
) -> Fitted:
    """The shorter edge of the image becomes `edge_px`, the other as long as the shape asks."""
    portrait = images.sizes[:, 0] < images.sizes[:, 1]
    targets = np.empty_like(images.sizes)
    targets[:, 0] = np.where(portrait, edge_px, edge_px * aspects)
    targets[:, 1] = np.where(portrait, edge_px / aspects, edge_px)
    buckets = round_to_multiple(targets.astype(np.float64), spec.alignment_px)
    # From here on the shorter edge comes first, so that both orientations are one case.
    turned = np.where(portrait, 0, 1)
    rows = np.arange(len(turned))
    least, other = buckets[rows, turned], buckets[rows, 1 - turned]
    first = np.maximum(least, targets[rows, turned])
    second = _lengthen(first, images.own, portrait)
    lacking = second < other
    second = np.where(lacking, other, second)
    first = np.where(lacking, _lengthen(other, images.own, ~portrait), first)
    resized = np.empty_like(buckets)
    resized[rows, turned], resized[rows, 1 - turned] = first, second
    return Fitted(buckets, resized)


def _by_area(
    images: Images, aspects: NDArray[np.float64], resolution: Resolution, spec: BucketSpec
) -> Fitted:
    """The bucket has about the area of the resolution, and the aspect ratio that is wanted."""
    edge_px = round_edge(int(math.sqrt(resolution.megapixels * 1e6)), spec.alignment_px)
    square = (aspects == 1.0) & (images.sizes[:, 0] == images.sizes[:, 1])
    distinct, places = np.unique(aspects, return_inverse=True)
    roots = np.sqrt(distinct)
    exact = np.stack([edge_px * roots, edge_px / roots], axis=1)
    targets = round_to_multiple(exact, spec.alignment_px)
    named = _share_names(targets, _find_first(places, len(distinct), ~square), spec.rounding)
    resized = _enlarge(_keep_shape(targets[places], images.own), named[places], images.own)
    whole = square[:, None]
    return Fitted(np.where(whole, edge_px, named[places]), np.where(whole, edge_px, resized))


def _find_first(
    places: NDArray[np.intp], count: int, counted: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Index of the first image of each shape, (count,); past the last where none is counted."""
    first = np.full(count, len(places), np.int64)
    np.minimum.at(first, places[counted], np.flatnonzero(counted))
    return first


def _share_names(
    targets: NDArray[np.int64], first: NDArray[np.int64], decimals: int
) -> NDArray[np.int64]:
    """Of the targets whose aspect ratio rounds to the same, the first one seen for all."""
    order = np.argsort(first, kind="stable")
    seen = targets[order]
    names = round_decimals(_divide(seen), decimals)
    _, winners, places = np.unique(names, return_index=True, return_inverse=True)
    shared = np.empty_like(targets)
    shared[order] = seen[winners[places]]
    return shared


def _keep_shape(targets: NDArray[np.int64], own: NDArray[np.float64]) -> NDArray[np.int64]:
    """The shorter edge of the target, and the other that an image of this shape then has."""
    width, height = targets[:, 0], targets[:, 1]
    upright = width < height
    resized = np.empty_like(targets)
    resized[:, 0] = np.where(upright, width, height * own)
    resized[:, 1] = np.where(upright, width / own, height)
    return resized


def _enlarge(
    resized: NDArray[np.int64], targets: NDArray[np.int64], own: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Add what lacks of the width, else of the height, and to the other edge in proportion."""
    lacking = targets - resized
    widen = lacking[:, 0] > 0
    heighten = ~widen & (lacking[:, 1] > 0)
    added = np.zeros_like(resized)
    added[:, 0] = np.where(widen, lacking[:, 0], np.where(heighten, lacking[:, 1] * own, 0))
    added[:, 1] = np.where(heighten, lacking[:, 1], np.where(widen, lacking[:, 0] / own, 0))
    return resized + added


def _lengthen(
    edges: NDArray[np.int64], own: NDArray[np.float64], widths: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Heights that belong to widths, and where `widths` is False, widths to heights; truncated."""
    return np.where(widths, edges / own, edges * own).astype(np.int64)


def _divide(sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    ratios: NDArray[np.float64] = sizes[:, 0] / sizes[:, 1]
    return ratios
