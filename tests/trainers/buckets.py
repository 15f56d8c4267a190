"""Settings of trainers for buckets, and what they are in hffs's words: both must give the same.

Only what the words of both say is here; which sizes are asked, and how answers are compared, is of
the tests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size

CENTER = Crop(style="center")


@dataclass(frozen=True, slots=True)
class Case:
    """`settings` are what the driver `bucketing` takes for `trainer`, `spec` what `assign` does."""

    name: str
    trainer: str
    settings: dict[str, Any]
    spec: BucketSpec


def _simpletuner(name: str, spec: BucketSpec) -> Case:
    """Its pages: pixel_area is converted to megapixels before anything else reads it."""
    by_edge = spec.resolution_type == "pixel_area"

    def read(value: float | None) -> float | None:
        return value * value / 1_000_000 if by_edge and value is not None else value

    backend: dict[str, Any] = {
        "resolution": read(spec.resolutions[0]),
        "resolution_type": "area" if by_edge else spec.resolution_type,
        "crop": True,
        "crop_aspect": spec.crop.aspect,
        "crop_style": spec.crop.style,
        "crop_aspect_buckets": list(spec.crop.aspects),
        "maximum_image_size": read(spec.limits.maximum_size),
        "target_downsample_size": read(spec.limits.downsample_size),
    }
    arguments = {
        "aspect_bucket_alignment": spec.alignment_px,
        "aspect_bucket_rounding": spec.rounding,
    }
    return Case(name, "SimpleTuner", {"arguments": arguments, "backend": backend}, spec)


def _kohya(name: str, spec: BucketSpec) -> Case:
    edge = int(spec.resolutions[0])
    settings = {
        "max_reso": [edge, edge],
        "min_size": spec.min_edge_px,
        "max_size": spec.max_edge_px,
        "reso_steps": spec.alignment_px,
    }
    return Case(name, "sd-scripts", settings, spec)


def _diffusion_pipe(name: str, spec: BucketSpec) -> Case:
    directory: dict[str, Any] = {"enable_ar_bucket": True, "resolutions": list(spec.resolutions)}
    if spec.geometric:
        row = spec.geometric
        directory |= {"min_ar": row.least, "max_ar": row.most, "num_ar_buckets": row.count}
    elif isinstance(spec.buckets[0], Size):
        directory["size_buckets"] = [[*bucket, 1] for bucket in spec.buckets]  # type: ignore[misc]
    else:
        directory["ar_buckets"] = list(spec.buckets)
    settings = {"directory": directory, "multiple": spec.alignment_px}
    return Case(name, "diffusion-pipe", settings, spec)


def _ai_toolkit(name: str, spec: BucketSpec) -> Case:
    settings = {"resolution": int(spec.resolutions[0]), "bucket_tolerance": spec.alignment_px}
    return Case(name, "ai-toolkit", settings, spec)


def _aspect(resolution: float, *, crop: Crop = CENTER, **changes: Any) -> BucketSpec:
    return BucketSpec(resolutions=(resolution,), crop=crop, **changes)


def _other(generator: Any, resolution: float, alignment_px: int, **changes: Any) -> BucketSpec:
    return BucketSpec(generator, (resolution,), alignment_px=alignment_px, crop=CENTER, **changes)


_CLOSEST = Crop("closest", "center", (1.0, 0.75, 1.5, 0.5))
_SQUARE = Crop("square", "center")
_SIZES = ((512, 1024), (640, 896), (768, 768), (1024, 576), (1280, 512))

CASES = (
    _simpletuner("pixel_area 1024", _aspect(1024)),
    _simpletuner("pixel_area 768, 3 decimals", _aspect(768, rounding=3, alignment_px=8)),
    _simpletuner("pixel_area 1024, corner", _aspect(1024, crop=Crop(style="corner"))),
    _simpletuner("area 1", _aspect(1.0, resolution_type="area")),
    _simpletuner("area 0.5", _aspect(0.5, resolution_type="area")),
    _simpletuner("area 0.25", _aspect(0.25, resolution_type="area", alignment_px=32)),
    _simpletuner(
        "area 0.7, 1 decimal", _aspect(0.7, resolution_type="area", rounding=1, alignment_px=16)
    ),
    _simpletuner("area 0.5, square", _aspect(0.5, resolution_type="area", crop=_SQUARE)),
    _simpletuner("area 1, closest", _aspect(1.0, resolution_type="area", crop=_CLOSEST)),
    _simpletuner("pixel 512", _aspect(512, resolution_type="pixel")),
    _simpletuner("pixel 1024, 8", _aspect(1024, resolution_type="pixel", alignment_px=8)),
    _simpletuner("pixel 768, square", _aspect(768, resolution_type="pixel", crop=_SQUARE)),
    _simpletuner("pixel 768, closest", _aspect(768, resolution_type="pixel", crop=_CLOSEST)),
    _simpletuner(
        "area 0.25, square, downsampled",
        _aspect(
            0.25,
            resolution_type="area",
            crop=_SQUARE,
            limits=Limits(maximum_size=1.5, downsample_size=1.0),
        ),
    ),
    _simpletuner(
        "pixel 512, closest, downsampled",
        _aspect(
            512,
            resolution_type="pixel",
            crop=_CLOSEST,
            limits=Limits(maximum_size=1500, downsample_size=600),
        ),
    ),
    _kohya("512", _other("grid", 512, 64)),
    _kohya("1024", _other("grid", 1024, 64, max_edge_px=2048)),
    _kohya("1024, 32", _other("grid", 1024, 32, min_edge_px=512, max_edge_px=1536)),
    _kohya("768, 8", _other("grid", 768, 8)),
    _diffusion_pipe("7 of 512", _other("list", 512, 32, geometric=Geometric(0.5, 2.0, 7))),
    _diffusion_pipe("9 of 1024", _other("list", 1024, 16, geometric=Geometric(0.25, 4.0, 9))),
    _diffusion_pipe("ratios", _other("list", 768, 64, buckets=(1.7778, 1.0, 0.5, 0.66666))),
    _diffusion_pipe(
        "sizes", _other("list", 512, 64, buckets=tuple(Size(*size) for size in _SIZES))
    ),
    _ai_toolkit("512, 8", _other("free", 512, 8)),
    _ai_toolkit("1024, 64", _other("free", 1024, 64)),
    _ai_toolkit("768, 32", _other("free", 768, 32)),
)  # fmt: skip
