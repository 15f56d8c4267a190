from dataclasses import replace
from typing import Any

import pytest

from hffs.core.buckets import validate
from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size
from hffs.errors import ConfigError

ASPECT = BucketSpec()
AREA = BucketSpec(resolutions=(1.0,), resolution_type="area")
GRID = BucketSpec("grid")
LIST = BucketSpec("list", buckets=(1.0, 1.5))
SIZES = BucketSpec("list", buckets=(Size(512, 768), Size(768, 512)))
FREE = BucketSpec("free")
ROW = BucketSpec("list", geometric=Geometric(0.5, 2.0, 7))


@pytest.mark.parametrize(
    "spec",
    [
        ASPECT, AREA, GRID, LIST, SIZES, FREE, ROW,
        replace(ASPECT, resolutions=(512, 1024), rounding=0, alignment_px=1),
        replace(AREA, resolutions=(0.25, 100.0)),
        replace(ASPECT, resolution_type="pixel", resolutions=(512,)),
        replace(GRID, distance="log", min_edge_px=1024),
        replace(LIST, distance="linear"),
        replace(ROW, geometric=Geometric(1.0, 1.0, 1)),
        replace(ASPECT, crop=Crop("random", "face", (1.0, 0.5), (3, 1))),
        replace(ASPECT, crop=Crop("closest", "corner", (1.0,))),
        replace(ASPECT, limits=Limits(64, 2048, 1536, 0.5, 2.0, 0.0)),
        replace(AREA, limits=Limits(0.1, 2.0, 2.0)),
    ],
)  # fmt: skip
def test_what_makes_sense_passes(spec: BucketSpec) -> None:
    validate(spec)


@pytest.mark.parametrize(
    ("spec", "changes", "words"),
    [
        (ASPECT, {"alignment_px": 0}, "alignment 0"),
        (ASPECT, {"rounding": -1}, "rounding -1"),
        (ASPECT, {"rounding": 10}, "rounding 10"),
        (ASPECT, {"resolutions": ()}, "no resolution"),
        (ASPECT, {"resolutions": (0,)}, "resolution 0: it is no size"),
        (ASPECT, {"resolutions": (512, -1)}, "resolution -1"),
        (ASPECT, {"resolutions": (float("nan"),)}, "resolution nan"),
        (ASPECT, {"resolutions": (float("inf"),)}, "resolution inf"),
        (ASPECT, {"resolutions": (512.5,)}, "resolution 512.5: pixels are whole"),
        (ASPECT, {"resolutions": (1.0,)}, "resolution 1: .* its unit is pixels"),
        (ASPECT, {"resolutions": (512, 512)}, "resolution 512: it is there twice"),
        (AREA, {"resolutions": (1024.0,)}, "resolution 1024: .*megapixels; take .*pixel_area"),
        (AREA, {"resolutions": (0.001,)}, "resolution 0.001: .* use more megapixels"),
        (AREA, {"limits": Limits(minimum_size=512)}, "minimum size 512: .*megapixels"),
        (ASPECT, {"limits": Limits(minimum_size=0)}, "minimum size 0"),
        (ASPECT, {"limits": Limits(maximum_size=512)}, "one of both sizes"),
        (ASPECT, {"limits": Limits(downsample_size=512)}, "one of both sizes"),
        (ASPECT, {"limits": Limits(None, 512, 1024)}, "downsample size 1024"),
        (ASPECT, {"limits": Limits(min_aspect=0)}, "min aspect 0"),
        (ASPECT, {"limits": Limits(max_aspect=-1)}, "max aspect -1"),
        (ASPECT, {"limits": Limits(min_aspect=2, max_aspect=1)}, "aspects from 2 to 1"),
        (ASPECT, {"limits": Limits(max_upscale=-0.1)}, "max upscale -0.1"),
        (ASPECT, {"buckets": (1.0,)}, "buckets: generator aspect makes its own"),
        (FREE, {"geometric": Geometric(1, 2, 3)}, "buckets: generator free makes its own"),
        (FREE, {"distance": "log"}, "distance log: generator free"),
        (GRID, {"min_edge_px": 1088}, "edges from 1088 to 1024"),
        (GRID, {"min_edge_px": 100}, "least edge 100: .* give 64"),
        (GRID, {"min_edge_px": 0}, "least edge 0: .* give 64"),
        (GRID, {"max_edge_px": 1050}, "most edge 1050: .* give 1024"),
        (GRID, {"resolutions": (1088,)}, "resolution 1088: no edge may be longer than 1024"),
        (GRID, {"resolutions": (128,)}, "resolution 128: no edge may be shorter than 256"),
        (LIST, {"buckets": ()}, "generator list: it has no buckets"),
        (LIST, {"geometric": Geometric(1, 2, 3)}, "generator list: it has both"),
        (LIST, {"buckets": (1.0, Size(512, 512))}, "generator list: some buckets are sizes"),
        (LIST, {"buckets": (1.0, 0.0)}, "bucket: 0 is no aspect ratio"),
        (ROW, {"geometric": Geometric(0, 2, 3)}, "geometric row of 3 from 0 to 2"),
        (ROW, {"geometric": Geometric(2, 1, 3)}, "geometric row .* swap them"),
        (ROW, {"geometric": Geometric(1, 2, 0)}, "geometric row .* it has 1 to 10000 of them"),
        (ROW, {"geometric": Geometric(1, 2, 10**10)}, "geometric row .* it has 1 to 10000"),
        (ASPECT, {"resolutions": (1048576.0,)}, "resolution 1.04858e.06: it is an edge"),
        (GRID, {"alignment_px": 1, "max_edge_px": 10**8}, "grid .* more than 10000 steps of 1"),
        (SIZES, {"resolutions": (512, 1024)}, "several resolutions"),
        (SIZES, {"buckets": (Size(512, 500),)}, "bucket 512x500: its edges"),
        (SIZES, {"buckets": (Size(0, 512),)}, "bucket 0x512: its edges"),
        (SIZES, {"buckets": (Size(512, 512), Size(64, 64))}, "bucket 64x64: 512x512 has its"),
        (ASPECT, {"crop": Crop("closest")}, "crop aspect closest: there is none"),
        (ASPECT, {"crop": Crop("random")}, "crop aspect random: there is none"),
        (ASPECT, {"crop": Crop("random", aspects=(-1.0,))}, "crop aspect: -1 is no aspect"),
        (ASPECT, {"crop": Crop("random", aspects=(1.0,), weights=(1, 2))}, "2 weights"),
        (ASPECT, {"crop": Crop("random", aspects=(1.0,), weights=(0,))}, "weight 0"),
    ],
)
def test_what_makes_none_is_refused_in_one_line(
    spec: BucketSpec, changes: dict[str, Any], words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as refused:
        validate(replace(spec, **changes))
    assert str(refused.value).startswith("cannot use ")
    assert "\n" not in str(refused.value)
