"""What a page draws of a plan: places and lengths in the units of each drawing.

Pure. Owns scales, and which of many buckets are drawn. Must not know how the page is written.
Invariant: a bucket has the same colour wherever it is drawn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from hffs.cli.bucketing.figures import sort_fullest
from hffs.train.report.facts import BucketFacts, CropFacts, PlanFacts

MOST_BARS = 40

BAR_PX = 180
_GLYPH_PX = 12

EDGE_PX, LEFT_PX, BELOW_PX = 400, 42, 34
"""Of the scatter: its edge, and the room beside it for numbers of the axes."""

_AROUND_PX = 12
_FIRST_HUE, _LAST_HUE = 15, 285


@dataclass(frozen=True, slots=True)
class BucketBar:
    """A bucket, how long its bar is, and a rectangle of its shape."""

    bucket: BucketFacts
    colour: str
    length: float
    glyph_width: float
    glyph_height: float


@dataclass(frozen=True, slots=True)
class Dots:
    """Images of one bucket as a path of dots."""

    bucket: BucketFacts
    colour: str
    path: str


@dataclass(frozen=True, slots=True)
class Mark:
    """A bucket's own size."""

    bucket: BucketFacts
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Tick:
    """A number on both axes: `x` on the one, `y` on the other."""

    label: str
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """Images by their width and height, both in logs and to the same scale."""

    ticks: tuple[Tick, ...]
    dots: tuple[Dots, ...]
    left_out: str
    marks: tuple[Mark, ...]


def draw_buckets(facts: PlanFacts) -> list[BucketBar]:
    """Bars of the fullest buckets, from the narrowest to the widest."""
    shown = sort_fullest(facts.buckets)[:MOST_BARS]
    colours = _choose_colours(facts.buckets)
    most = max((bucket.images for bucket in shown), default=1)
    shown.sort(key=lambda bucket: (bucket.width / bucket.height, bucket.width))
    return [
        BucketBar(
            bucket,
            colours[bucket],
            max(round(bucket.images / most * BAR_PX, 1), 2),
            round(_GLYPH_PX * bucket.width / max(bucket.width, bucket.height), 1),
            round(_GLYPH_PX * bucket.height / max(bucket.width, bucket.height), 1),
        )
        for bucket in shown
    ]


def _choose_colours(buckets: Iterable[BucketFacts]) -> Mapping[BucketFacts, str]:
    """Hues along the shapes: what is hard to tell apart is alike."""
    used = [bucket for bucket in buckets if bucket.images]
    aspects = sorted({round(bucket.width / bucket.height, 3) for bucket in used})
    step = (_LAST_HUE - _FIRST_HUE) / max(len(aspects) - 1, 1)
    hues = {aspect: round(_FIRST_HUE + step * place) for place, aspect in enumerate(aspects)}
    return {
        bucket: f"hsl({hues[round(bucket.width / bucket.height, 3)]} 62% 52%)" for bucket in used
    }


@dataclass(frozen=True, slots=True)
class _Scale:
    """From pixels of an image to places in the drawing; `low` and `high` are logs to base 2."""

    low: float
    high: float

    def x(self, width: float) -> float:
        room = EDGE_PX - LEFT_PX - _AROUND_PX
        return round(LEFT_PX + room * (math.log2(width) - self.low) / (self.high - self.low), 1)

    def y(self, height: float) -> float:
        room = EDGE_PX - BELOW_PX - _AROUND_PX
        place = (math.log2(height) - self.low) / (self.high - self.low)
        return round(EDGE_PX - BELOW_PX - room * place, 1)


def draw_scatter(facts: PlanFacts) -> Scatter | None:
    """The sizes of images; None where no size is known."""
    points = [
        point
        for point in zip(
            facts.scatter.width, facts.scatter.height, facts.scatter.bucket, strict=True
        )
        if point[0] > 0 and point[1] > 0
    ]
    if not points:
        return None
    used = [bucket for bucket in facts.buckets if bucket.images]
    edges = [edge for bucket in used for edge in (bucket.width, bucket.height)]
    edges += [edge for width, height, _ in points for edge in (width, height)]
    scale = _Scale(math.log2(min(edges)) - 0.3, math.log2(max(edges)) + 0.3)
    return Scatter(
        ticks=tuple(_draw_ticks(scale)),
        dots=tuple(_draw_dots(facts, points, scale)),
        left_out="".join(
            f"M{scale.x(width) - 2:.1f} {scale.y(height) - 2:.1f}l4 4m0-4l-4 4"
            for width, height, bucket in points
            if bucket < 0
        ),
        marks=tuple(Mark(each, scale.x(each.width), scale.y(each.height)) for each in used),
    )


def _draw_ticks(scale: _Scale) -> Iterator[Tick]:
    """Powers of two; of many every other one."""
    powers = range(math.ceil(scale.low), math.floor(scale.high) + 1)
    for power in powers[:: 1 + len(powers) // 9]:
        yield Tick(f"{2**power:,}", scale.x(2**power), scale.y(2**power))


def _draw_dots(
    facts: PlanFacts, points: Sequence[tuple[int, int, int]], scale: _Scale
) -> Iterator[Dots]:
    paths: dict[int, list[str]] = {}
    for width, height, number in points:
        if number >= 0:
            paths.setdefault(number, []).append(f"M{scale.x(width)} {scale.y(height)}h0")
    colours = _choose_colours(facts.buckets)
    for number, path in sorted(paths.items()):
        bucket = facts.buckets[number]
        yield Dots(bucket, colours[bucket], "".join(path))


def draw_shade(crop: CropFacts) -> str:
    """All of the resized image but the box, as a path to be filled by the even-odd rule."""
    whole = f"M0 0H{crop.resized_width}V{crop.resized_height}H0Z"
    box = f"M{crop.left} {crop.top}h{crop.crop_width}v{crop.crop_height}h-{crop.crop_width}Z"
    return whole + box
