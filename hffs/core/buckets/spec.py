"""What may be asked of bucketing: the generator of sizes, crops, and limits of images.

Owns the words and their defaults. Must not know how anything is computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hffs.core.types import Size

Generator = Literal["aspect", "grid", "list", "free"]
ResolutionType = Literal["pixel", "area", "pixel_area"]
Distance = Literal["log", "linear"]
CropAspect = Literal["preserve", "square", "closest", "random"]
CropStyle = Literal["center", "random", "corner", "face"]


@dataclass(frozen=True, slots=True)
class Geometric:
    """`count` aspect ratios (width / height) from `least` to `most`, evenly spaced in their log."""

    least: float
    most: float
    count: int


@dataclass(frozen=True, slots=True)
class Crop:
    """Which shape is cut out of an image, and where.

    `aspects` are the ratios that `closest` and `random` choose from, `weights` how often the latter
    takes each (empty: all alike). `preserve` keeps the image's own shape, as near as buckets allow.
    """

    aspect: CropAspect = "preserve"
    style: CropStyle = "random"
    aspects: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Which images are left out; None is no limit.

    Sizes are in the unit of the resolution type; those larger than `maximum_size` are shrunk to
    `downsample_size` before they are cropped. `max_upscale` 0.2 allows edges 1.2 times as long.
    """

    minimum_size: float | None = None
    maximum_size: float | None = None
    downsample_size: float | None = None
    min_aspect: float | None = None
    max_aspect: float | None = None
    max_upscale: float | None = None


@dataclass(frozen=True, slots=True)
class BucketSpec:
    """How images become buckets.

    `resolutions` are in the unit of `resolution_type`: the shorter edge in pixels, megapixels, or
    the edge of a square of that area; of each image there is a sample at every one of them.
    `rounding` is decimals of aspect ratios, `alignment_px` what edges are multiples of. `buckets`
    (aspect ratios, or sizes) or else `geometric` belong to the generator `list`; the edges to
    `grid`. `distance` None is the generator's own: linear of `grid`, else log.
    """

    generator: Generator = "aspect"
    resolutions: tuple[float, ...] = (1024.0,)
    resolution_type: ResolutionType = "pixel_area"
    rounding: int = 2
    alignment_px: int = 64
    buckets: tuple[float | Size, ...] = ()
    geometric: Geometric | None = None
    min_edge_px: int = 256
    max_edge_px: int = 1024
    distance: Distance | None = None
    crop: Crop = Crop()
    limits: Limits = Limits()
    seed: int = 0
