"""Numbers of a plan in the words of a person: what its text and its page have in common.

Pure. Must not know where they are shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

from hffs.cli.drawing.figures import show_number
from hffs.core.batches import BatchSpec
from hffs.core.buckets.spec import BucketSpec
from hffs.core.types import Size
from hffs.train.report.facts import BucketFacts, MeasureFacts, SettingsFacts

_UNITS = {"pixel": " px", "area": " MP", "pixel_area": " px"}
_OF = {
    "pixel": "of the shorter edge",
    "area": "of area",
    "pixel_area": "as the edge of a square of the same area",
}


def show_share(share: float) -> str:
    """A share in percent, with as many digits as tell something.

    >>> show_share(0.1234), show_share(0.00004), show_share(0), show_share(1)
    ('12 %', '<0.1 %', '0 %', '100 %')
    """
    percent = share * 100
    if percent == 0:
        return "0 %"
    if percent < 0.1:
        return "<0.1 %"
    return f"{percent:.1f} %" if percent < 9.95 else f"{percent:.0f} %"


def show_error(error: float) -> str:
    """An aspect error, |log| of a ratio, as by how many percent the ratio is off.

    >>> show_error(0.0953), show_error(0)
    ('10 %', '0 %')
    """
    return show_share(math.expm1(error))


def show_scale(scale: float) -> str:
    """How many times as long an edge becomes.

    >>> show_scale(0.25), show_scale(1.3333)
    ('0.25x', '1.33x')
    """
    return f"{scale:.2f}x"


def show_both(measure: MeasureFacts, kind: Literal["error", "share", "scale"]) -> str:
    """Mean and worst of a measure."""
    one = {"error": show_error, "share": show_share, "scale": show_scale}[kind]
    mean = one(measure.mean).rstrip(" %x")  # the unit of both stands behind the other
    return f"{mean} / {one(measure.max)}"


def show_size(width: int, height: int) -> str:
    """Width and height as they are written of images."""
    return f"{width} x {height}"


def sort_fullest(buckets: Sequence[BucketFacts]) -> list[BucketFacts]:
    """Buckets that have images, the fullest first."""
    return sorted((each for each in buckets if each.images), key=lambda each: -each.images)


def describe_settings(settings: SettingsFacts) -> Iterator[tuple[str, str]]:
    """What was asked for, as names and values."""
    spec = settings.buckets
    unit = _UNITS[spec.resolution_type]
    resolutions = ", ".join(f"{each:g}{unit}" for each in spec.resolutions)
    yield "resolutions", f"{resolutions} {_OF[spec.resolution_type]}"
    yield "buckets", _describe_generator(spec)
    yield "crop", f"{spec.crop.aspect}, {spec.crop.style}"
    limits = _describe_limits(spec, unit)
    if limits:
        yield "limits", limits
    yield "batches", _describe_batches(settings.batches)
    if settings.batches.repeats:
        yield "repeats", show_number(settings.batches.repeats)
    if settings.probability != 1:
        yield "probability", f"{settings.probability:g}"
    yield "orientation", "turned upright as EXIF asks" if settings.upright else "as stored"
    yield "captions", f"files with the extension {settings.caption_extension}"
    yield "seeds", f"{spec.seed} of crops, {settings.batches.seed} of batches"


def _describe_generator(spec: BucketSpec) -> str:
    parts = [f"generator {spec.generator}", f"edges in multiples of {spec.alignment_px} px"]
    if spec.generator == "grid":
        parts.append(f"from {spec.min_edge_px} to {spec.max_edge_px} px")
    if spec.generator == "aspect":
        parts.append(f"aspects rounded to {spec.rounding} decimals")
    if spec.geometric is not None:
        shapes = spec.geometric
        parts.append(f"{shapes.count} aspects from {shapes.least:g} to {shapes.most:g}")
    if spec.buckets:
        named = [
            show_size(*each) if isinstance(each, Size | tuple) else f"{each:g}"
            for each in spec.buckets[:12]
        ]
        more = len(spec.buckets) - len(named)
        parts.append(", ".join(named) + (f" and {more} more" if more else ""))
    return "; ".join(parts)


def _describe_limits(spec: BucketSpec, unit: str) -> str:
    limits = spec.limits
    named = (
        ("at least {}" + unit, limits.minimum_size),
        ("above {}" + unit + " shrunk first", limits.maximum_size),
        ("shrunk to {}" + unit, limits.downsample_size),
        ("width / height at least {}", limits.min_aspect),
        ("width / height at most {}", limits.max_aspect),
        ("edges grow by {} of their length at most", limits.max_upscale),
    )
    return "; ".join(text.format(f"{limit:g}") for text, limit in named if limit is not None)


def _describe_batches(batches: BatchSpec) -> str:
    size = f"{batches.batch_size} images"
    if batches.pixel_budget is not None:
        size = f"as many images as have {show_number(batches.pixel_budget)} pixels"
    ranks = f" on each of {batches.world} ranks" if batches.world > 1 else ""
    rest = {"drop": "dropped", "pad": "padded", "partial": "kept as smaller batches"}
    order = "shuffled" if batches.shuffle else "in order"
    return f"{size}{ranks}; remainders {rest[batches.remainder]}; {order}"
