"""What a resolution is in each unit: an edge, an area, megapixels.

Owns the conversions between units. Must not know of images.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hffs.core.buckets.rounding import round_edge
from hffs.core.buckets.spec import BucketSpec, ResolutionType

_PIXELS = 1_000_000
"""Of a megapixel."""

_NOMINAL_EDGES = {0.25: 512, 0.5: 768, 1.0: 1024, 2.0: 1536, 4.0: 2048}
"""Edges that SimpleTuner means by round megapixels (TrainingSample._set_resolution)."""
_NOMINAL_WITHIN = 0.05


@dataclass(frozen=True, slots=True)
class Resolution:
    """One resolution: `value` as it was given, and what that is in pixels.

    `edge_px` and `area_px` are those of the square; `megapixels` is what SimpleTuner computes with.
    """

    value: float
    edge_px: float
    area_px: float
    megapixels: float


def read_resolution(value: float, unit: ResolutionType) -> Resolution:
    """A resolution, or a limit of sizes, in its unit.

    >>> read_resolution(0.25, "area")
    Resolution(value=0.25, edge_px=500.0, area_px=250000.0, megapixels=0.25)
    >>> read_resolution(512, "pixel_area")
    Resolution(value=512, edge_px=512, area_px=262144, megapixels=0.262144)
    """
    if unit == "area":
        area_px = value * _PIXELS
        return Resolution(value, math.sqrt(area_px), area_px, value)
    return Resolution(value, value, value * value, value * value / _PIXELS)


def square_edge_px(resolution: Resolution, spec: BucketSpec) -> int:
    """Edge of SimpleTuner's square bucket, which is not always that of its other buckets.

    Megapixels near a round number mean a usual edge: 0.5 is 768 x 768, but 704 x 704 where another
    shape is computed. Unlike SimpleTuner's, an edge in pixels is rounded to the alignment too.
    """
    if spec.resolution_type == "pixel":
        return round_edge(resolution.value, spec.alignment_px)
    for megapixels, edge_px in _NOMINAL_EDGES.items():
        if abs(resolution.megapixels - megapixels) < _NOMINAL_WITHIN:
            return round_edge(edge_px, spec.alignment_px)
    return round_edge(math.sqrt(resolution.megapixels * _PIXELS), spec.alignment_px)
