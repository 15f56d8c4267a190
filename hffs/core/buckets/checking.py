"""What of a spec makes no sense, said before anything is computed.

Invariant: a spec that passes gives every image of a known size a bucket or a reason why not, and
all edges of buckets are multiples of the alignment.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

from hffs.core.buckets.listed import DECIMALS
from hffs.core.buckets.resolutions import read_resolution
from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size
from hffs.errors import ConfigError

_MOST_MEGAPIXELS = 100
_MOST_EDGE_PX = 32_768
_MOST_DECIMALS = 9
_MOST_BUCKETS = 10_000
_LEAST_ASPECT = 10.0**-DECIMALS


def validate(spec: BucketSpec) -> None:
    """Raise ConfigError for the first thing that makes no sense."""
    if spec.alignment_px < 1:
        _refuse(f"alignment {spec.alignment_px}", "edges are multiples of it", "give 1 or more")
    if not 0 <= spec.rounding <= _MOST_DECIMALS:
        why = f"aspect ratios are rounded to 0 to {_MOST_DECIMALS} decimals"
        _refuse(f"rounding {spec.rounding}", why, "give 2")
    _check_resolutions(spec)
    if spec.generator == "grid":
        _check_grid(spec)
    if spec.generator == "list":
        _check_list(spec)
    else:
        _check_unlisted(spec)
    _check_crop(spec.crop)
    _check_sizes_of_images(spec)
    _check_shapes_of_images(spec.limits)


def _check_resolutions(spec: BucketSpec) -> None:
    if not spec.resolutions:
        _refuse("no resolution", "images have to become some size", "give one")
    for value in spec.resolutions:
        which = f"resolution {value:g}"
        _check_size(which, value, spec)
        if read_resolution(value, spec.resolution_type).edge_px < spec.alignment_px:
            hint = "its unit is pixels" if spec.resolution_type != "area" else "use more megapixels"
            _refuse(which, f"edges are multiples of {spec.alignment_px} pixels", hint)
        if spec.resolution_type != "area" and value > _MOST_EDGE_PX:
            _refuse(which, f"it is an edge, of at most {_MOST_EDGE_PX} pixels", "give no area")
        if spec.resolutions.count(value) > 1:
            _refuse(which, "it is there twice", "leave one of them out")


def _check_size(which: str, value: float, spec: BucketSpec) -> None:
    """That a size makes sense in its unit."""
    if not (value > 0 and math.isfinite(value)):
        _refuse(which, "it is no size", "give a positive number")
    if spec.resolution_type != "area":
        if value != int(value):
            _refuse(which, "pixels are whole", "for megapixels take resolution type area")
    elif value > _MOST_MEGAPIXELS:
        why = "with resolution type area it is in megapixels"
        _refuse(which, why, "take resolution type pixel_area for edges in pixels")


def _check_grid(spec: BucketSpec) -> None:
    least, most, step = spec.min_edge_px, spec.max_edge_px, spec.alignment_px
    if least > most:
        _refuse(f"edges from {least} to {most}", "the least is more than the most", "swap them")
    if (most - least) // step >= _MOST_BUCKETS:
        why = f"it has more than {_MOST_BUCKETS} steps of {step}"
        _refuse(f"grid from {least} to {most}", why, "give a larger alignment")
    for which, edge in (("least edge", least), ("most edge", most)):
        if edge < step or edge % step:
            fix = f"give {max(step, edge - edge % step)}"
            _refuse(f"{which} {edge}", f"it is no multiple of the alignment {step}", fix)
    for value in spec.resolutions:
        edge_px = read_resolution(value, spec.resolution_type).edge_px
        if edge_px > most:
            fix = "raise that edge, or lower the resolution"
            _refuse(f"resolution {value:g}", f"no edge may be longer than {most}", fix)
        if edge_px < least:
            fix = "lower that edge, or raise the resolution"
            _refuse(f"resolution {value:g}", f"no edge may be shorter than {least}", fix)


def _check_list(spec: BucketSpec) -> None:
    if spec.geometric is not None and spec.buckets:
        _refuse("generator list", "it has both buckets and a geometric row", "leave one out")
    if spec.geometric is not None:
        _check_geometric(spec.geometric)
        return
    if not spec.buckets:
        _refuse("generator list", "it has no buckets", "give buckets, or a geometric row")
    sizes = [bucket for bucket in spec.buckets if isinstance(bucket, Size)]
    if not sizes:
        _check_aspects("bucket", (b for b in spec.buckets if not isinstance(b, Size)))
        return
    if len(sizes) < len(spec.buckets):
        _refuse("generator list", "some buckets are sizes, some aspect ratios", "give one kind")
    if len(spec.resolutions) > 1:
        _refuse("several resolutions", "the buckets are sizes already", "give one resolution")
    _check_sizes(sizes, spec.alignment_px)


def _check_geometric(row: Geometric) -> None:
    which = f"geometric row of {row.count} from {row.least:g} to {row.most:g}"
    _check_aspects(which, (row.least, row.most))
    if row.least > row.most:
        _refuse(which, "the least is more than the most", "swap them")
    if not 1 <= row.count <= _MOST_BUCKETS:
        _refuse(which, f"it has 1 to {_MOST_BUCKETS} of them", "give as many as trainers have, 7")


def _check_sizes(sizes: list[Size], alignment_px: int) -> None:
    taken: dict[float, Size] = {}
    for size in sizes:
        which = f"bucket {size.width}x{size.height}"
        for edge in size:
            if edge < 1 or edge % alignment_px:
                why = f"its edges are no multiples of the alignment {alignment_px}"
                _refuse(which, why, "give others, or another alignment")
        same = taken.setdefault(round(size.width / size.height, DECIMALS), size)
        if same is not size:
            why = f"{same.width}x{same.height} has its aspect ratio, and would take all its images"
            _refuse(which, why, "leave one of them out")


def _check_unlisted(spec: BucketSpec) -> None:
    """That nothing is asked of a generator that it would ignore."""
    if spec.buckets or spec.geometric is not None:
        _refuse("buckets", f"generator {spec.generator} makes its own", "take generator list")
    if spec.distance is not None and spec.generator != "grid":
        why = f"generator {spec.generator} makes a bucket for each image"
        _refuse(f"distance {spec.distance}", why, "take generator grid or list")


def _check_crop(crop: Crop) -> None:
    if crop.aspect in ("closest", "random") and not crop.aspects:
        _refuse(f"crop aspect {crop.aspect}", "there is none to choose from", "give crop aspects")
    _check_aspects("crop aspect", crop.aspects)
    if crop.weights and len(crop.weights) != len(crop.aspects):
        why = f"there are {len(crop.aspects)} crop aspects"
        _refuse(f"{len(crop.weights)} weights", why, "give each one weight")
    for weight in crop.weights:
        if not (weight > 0 and math.isfinite(weight)):
            _refuse(f"weight {weight:g}", "it is not positive", "leave its aspect ratio out")


def _check_aspects(which: str, aspects: Iterable[float]) -> None:
    for aspect in aspects:
        if not _LEAST_ASPECT <= aspect <= 1 / _LEAST_ASPECT:
            why = f"{aspect:g} is no aspect ratio"
            _refuse(which, why, "give width / height, from 0.001 to 1000")


def _check_sizes_of_images(spec: BucketSpec) -> None:
    limits = spec.limits
    for which in ("minimum_size", "maximum_size", "downsample_size"):
        value = getattr(limits, which)
        if value is not None:
            _check_size(f"{which.replace('_', ' ')} {value:g}", value, spec)
    most, goal = limits.maximum_size, limits.downsample_size
    if (most is None) != (goal is None):
        why = "images larger than the maximum size become the downsample size"
        _refuse("one of both sizes", why, "give both, or none")
    if most is not None and goal is not None and goal > most:
        why = f"it is more than the maximum size {most:g}"
        _refuse(f"downsample size {goal:g}", why, "lower it")


def _check_shapes_of_images(limits: Limits) -> None:
    least, most = limits.min_aspect, limits.max_aspect
    for which, value in (("min aspect", least), ("max aspect", most)):
        if value is not None and not value > 0:
            _refuse(f"{which} {value:g}", "it is no aspect ratio", "give width / height")
    if least is not None and most is not None and least > most:
        _refuse(f"aspects from {least:g} to {most:g}", "no image has such a one", "swap them")
    if limits.max_upscale is not None and not limits.max_upscale >= 0:
        why = "0 allows no image to be enlarged"
        _refuse(f"max upscale {limits.max_upscale:g}", why, "give 0 or more")


def _refuse(which: str, why: str, fix: str) -> None:
    raise ConfigError("cannot use", which, why=why, fix=fix)
