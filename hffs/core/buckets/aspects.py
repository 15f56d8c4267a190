"""Which aspect ratio is wanted of each image: its own, or one of those that crops may have."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.chance import Chance, Purpose
from hffs.core.buckets.fitted import Images
from hffs.core.buckets.fitting import exceeds, fit
from hffs.core.buckets.nearest import find_nearest
from hffs.core.buckets.resolutions import Resolution
from hffs.core.buckets.rounding import round_decimals
from hffs.core.buckets.spec import BucketSpec


def want_aspects(
    sizes: NDArray[np.int64], resolution: Resolution, spec: BucketSpec, chance: Chance
) -> Images:
    """The images, each with the aspect ratio that its crop should have."""
    if spec.crop.aspect == "preserve":
        return Images(sizes)
    if spec.crop.aspect == "square":
        return Images(sizes, np.ones(len(sizes)))
    aspects = np.array(spec.crop.aspects, np.float64)
    if spec.crop.aspect == "closest":
        own = round_decimals(Images(sizes).own, spec.rounding)
        return Images(sizes, aspects[find_nearest(own, aspects, "linear")])
    chosen = _choose(_find_fitting(sizes, resolution, spec), spec, chance)
    return Images(sizes, np.append(aspects, 1.0)[chosen])


def _find_fitting(
    sizes: NDArray[np.int64], resolution: Resolution, spec: BucketSpec
) -> NDArray[np.bool_]:
    """Which aspect ratios enlarge which images by no more than is allowed, (aspects, m)."""
    fitting = np.ones((len(spec.crop.aspects), len(sizes)), np.bool_)
    if spec.limits.max_upscale is not None:
        for index, aspect in enumerate(spec.crop.aspects):
            wanted = Images(sizes, np.full(len(sizes), aspect))
            resized = fit(wanted, resolution, spec).resized
            fitting[index] = ~exceeds(sizes, resized, spec.limits.max_upscale)
    return fitting


def _choose(fitting: NDArray[np.bool_], spec: BucketSpec, chance: Chance) -> NDArray[np.intp]:
    """Index of an aspect ratio for each image, by weight; one past the last where none fits."""
    weights = np.array(spec.crop.weights or [1.0] * len(fitting), np.float64)
    total = np.zeros(fitting.shape[1])
    for index, weight in enumerate(weights):
        total += fitting[index] * weight
    left = chance.shares(Purpose.ASPECT) * total
    passed = np.zeros(fitting.shape[1])
    chosen = np.full(fitting.shape[1], len(fitting), np.intp)
    # The last that fits stays, whatever adding up has rounded.
    undecided = np.ones(fitting.shape[1], np.bool_)
    for index, weight in enumerate(weights):
        passed += fitting[index] * weight
        chosen[undecided & fitting[index]] = index
        undecided &= left >= passed
    return chosen
