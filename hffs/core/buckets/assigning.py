"""From sizes to samples: limits, shapes, buckets and crops, one resolution after the other.

Invariants: an image has a sample at a resolution, or a reason why not; the box of a sample lies in
its resized image; but for shapes that generator `aspect` shares, no image changes another's sample.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.aspects import want_aspects
from hffs.core.buckets.assignment import Assignment, Removal
from hffs.core.buckets.chance import Chance
from hffs.core.buckets.checking import validate
from hffs.core.buckets.crops import place_crops
from hffs.core.buckets.fitted import Fitted
from hffs.core.buckets.fitting import exceeds, fit
from hffs.core.buckets.limiting import find_removed
from hffs.core.buckets.resolutions import Resolution, read_resolution
from hffs.core.buckets.rounding import round_decimals
from hffs.core.buckets.spec import BucketSpec

_LONGEST = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class _Part:
    """The samples of one resolution; sizes are (s, 2) int32. `removed`: (n,) uint8."""

    image: NDArray[np.int64]
    buckets: NDArray[np.int32]
    resized: NDArray[np.int32]
    crop: NDArray[np.int32]
    removed: NDArray[np.uint8]


def assign(
    sizes: NDArray[np.int32],
    spec: BucketSpec,
    keys: NDArray[np.uint64],
    focus: NDArray[np.int32] | None = None,
) -> Assignment:
    """Give each image a bucket at every resolution, or a reason why it has none.

    `sizes`: (n, 2), width and height; 0 or less where they are not known. `keys`: (n,), of each
    image a number that names it wherever it stands; all that is random comes from it and the seed.
    `focus`: (n, 2), centre of the face in pixels of `sizes`, -1 where there is none. ConfigError
    where the spec makes no sense.
    """
    validate(spec)
    wide = sizes.astype(np.int64)
    removed = find_removed(wide, spec)
    parts = []
    for value in spec.resolutions:
        resolution = read_resolution(value, spec.resolution_type)
        parts.append(_assign_one(wide, removed, (keys, focus), resolution, spec))
    return _join(parts, spec)


def _assign_one(
    sizes: NDArray[np.int64],
    removed: NDArray[np.uint8],
    named: tuple[NDArray[np.uint64], NDArray[np.int32] | None],
    resolution: Resolution,
    spec: BucketSpec,
) -> _Part:
    """`named` is keys and focus of all images."""
    keys, focus = named
    image = np.flatnonzero(removed == Removal.KEPT)
    chance = Chance(keys[image], spec.seed, resolution.value)
    fitted = fit(want_aspects(sizes[image], resolution, spec, chance), resolution, spec)
    reasons = _find_unfit(sizes[image], fitted, spec)
    removed = removed.copy()
    removed[image] = reasons
    kept = reasons == Removal.KEPT
    image, fitted = image[kept], Fitted(fitted.buckets[kept], fitted.resized[kept])
    # Negative where there is no face.
    centres = None if focus is None else focus[image] / sizes[image]
    crop = place_crops(fitted, spec.crop.style, chance.among(kept), centres)
    return _Part(
        image=image,
        buckets=fitted.buckets.astype(np.int32),
        resized=fitted.resized.astype(np.int32),
        crop=crop.astype(np.int32),
        removed=removed,
    )


def _find_unfit(sizes: NDArray[np.int64], fitted: Fitted, spec: BucketSpec) -> NDArray[np.uint8]:
    """A `Removal` for each image whose resized size is too large, for it or for any image."""
    reasons = np.zeros(len(sizes), np.uint8)
    if spec.limits.max_upscale is not None:
        reasons[exceeds(sizes, fitted.resized, spec.limits.max_upscale)] = Removal.UPSCALED
    endless = fitted.resized.max(axis=1) > _LONGEST
    narrow = sizes[:, 0] < sizes[:, 1]
    reasons[endless & narrow] = Removal.TOO_NARROW
    reasons[endless & ~narrow] = Removal.TOO_WIDE
    return reasons


def _join(parts: list[_Part], spec: BucketSpec) -> Assignment:
    """One assignment of all resolutions, whose buckets are those that are taken."""
    buckets = np.concatenate([part.buckets for part in parts]).astype(np.int64)
    codes, bucket = np.unique(buckets[:, 0] << 32 | buckets[:, 1], return_inverse=True)
    sizes = np.stack([codes >> 32, codes & 0xFFFFFFFF], axis=1).astype(np.int32)
    assignment = Assignment(
        sizes=sizes,
        aspects=round_decimals(sizes[:, 0] / sizes[:, 1], spec.rounding),
        image=np.concatenate([part.image for part in parts]),
        bucket=bucket.astype(np.int32),
        resolution=np.repeat(np.arange(len(parts), dtype=np.int16), [len(p.image) for p in parts]),
        resized=np.concatenate([part.resized for part in parts]),
        crop=np.concatenate([part.crop for part in parts]),
        removed=np.stack([part.removed for part in parts], axis=1),
    )
    for name in Assignment.__slots__:
        getattr(assignment, name).setflags(write=False)
    return assignment
