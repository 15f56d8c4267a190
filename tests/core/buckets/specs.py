"""Specs, sizes and keys for properties of all generators."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size

ASPECTS = (1.0, 0.5, 0.75, 1.5, 2.35)

crops = st.builds(
    Crop,
    aspect=st.sampled_from(("preserve", "square", "closest", "random")),
    style=st.sampled_from(("center", "random", "corner", "face")),
    aspects=st.just(ASPECTS),
    weights=st.sampled_from(((), (1.0, 2.0, 0.5, 1.0, 3.0))),
)

# A pair of each, in edges of pixels; (None, None) is no limit.
_shrinkings = st.sampled_from(((None, None), (1024, 640), (3000, 3000)))


@st.composite
def specs(draw: st.DrawFn) -> BucketSpec:
    """A spec that passes `validate`."""
    generator: Any = draw(st.sampled_from(("aspect", "grid", "list", "free")))
    unit: Any = draw(st.sampled_from(("pixel", "area", "pixel_area")))
    alignment_px = draw(st.sampled_from((1, 8, 32, 64)))
    resolutions = draw(st.lists(st.integers(256, 1024), min_size=1, max_size=2, unique=True))
    changes: dict[str, Any] = {}
    if generator in ("grid", "list"):
        changes["distance"] = draw(st.sampled_from((None, "log", "linear")))
    if generator == "list":
        changes |= draw(st.sampled_from((
            {"geometric": Geometric(0.4, 2.5, 6)},
            {"buckets": (1.5, 1.0, 0.6)},
            {"buckets": (Size(640, 384), Size(512, 512), Size(384, 640))},
        )))  # fmt: skip
        if isinstance(changes.get("buckets", (1.0,))[0], Size):
            resolutions = resolutions[:1]
    most, goal = draw(_shrinkings)
    limits = Limits(
        minimum_size=_convert(draw(st.sampled_from((None, 300))), unit),
        maximum_size=_convert(most, unit),
        downsample_size=_convert(goal, unit),
        min_aspect=draw(st.sampled_from((None, 0.5))),
        max_aspect=draw(st.sampled_from((None, 2.0))),
        max_upscale=draw(st.sampled_from((None, 0.0, 0.5))),
    )
    return BucketSpec(
        generator,
        tuple(_convert(edge, unit) or 0 for edge in resolutions),
        unit,
        rounding=draw(st.integers(0, 4)),
        alignment_px=alignment_px,
        crop=draw(crops),
        limits=limits,
        seed=draw(st.integers(-(2**70), 2**70)),
        **changes,
    )


def _convert(edge_px: int | None, unit: str) -> float | None:
    return edge_px if edge_px is None or unit != "area" else edge_px * edge_px / 1_000_000


@st.composite
def folders(draw: st.DrawFn) -> tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int32]]:
    """Sizes (some unknown, some extreme), different keys, and faces (of some none)."""
    edges = st.one_of(st.integers(1, 3000), st.integers(0, 60_000), st.sampled_from((512, 1024)))
    sizes = draw(st.lists(st.tuples(edges, edges), min_size=1, max_size=12))
    count = len(sizes)
    keys = draw(st.lists(st.integers(0, 2**64 - 1), min_size=count, max_size=count, unique=True))
    faces = [
        draw(st.one_of(st.just((-1, -1)), st.tuples(st.integers(0, w), st.integers(0, h))))
        for w, h in sizes
    ]
    return np.array(sizes, np.int32), np.array(keys, np.uint64), np.array(faces, np.int32)
