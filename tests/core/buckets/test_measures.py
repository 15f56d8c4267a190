import math

import numpy as np
import pytest

from hffs.core.buckets import assign
from hffs.core.buckets.measures import (
    aspect_error,
    count_by_bucket,
    crop_loss,
    upscale,
)
from hffs.core.buckets.spec import BucketSpec, Crop
from hffs.core.types import Size

SIZES = np.array([[2000, 1000], [0, 0], [512, 256], [256, 256], [300, 400]], np.int32)
MADE = assign(
    SIZES,
    BucketSpec(
        "list",
        (512,),
        buckets=(Size(512, 512), Size(512, 1024)),
        crop=Crop(style="center"),
    ),
    np.arange(5, dtype=np.uint64),
)


def test_buckets_of_the_example() -> None:
    assert MADE.image.tolist() == [0, 2, 3, 4]
    assert MADE.sizes[MADE.bucket].tolist() == [[512, 512]] * 4
    assert MADE.resized.tolist() == [[1024, 512], [1024, 512], [512, 512], [512, 683]]


def test_how_far_the_shape_is() -> None:
    expected = [math.log(2), math.log(2), 0, math.log(4 / 3)]
    assert aspect_error(SIZES, MADE).tolist() == pytest.approx(expected)


def test_what_is_cut_away() -> None:
    assert crop_loss(MADE).tolist() == pytest.approx([0.5, 0.5, 0, 1 - 512 / 683])


def test_how_much_edges_grow() -> None:
    assert upscale(SIZES, MADE).tolist() == pytest.approx([0.512, 2, 2, 683 / 400])


def test_buckets_are_counted() -> None:
    assert count_by_bucket(MADE).tolist() == [4]
    nothing = assign(np.empty((0, 2), np.int32), BucketSpec(), np.empty(0, np.uint64))
    assert count_by_bucket(nothing).tolist() == []


def test_areas_of_huge_images_do_not_overflow() -> None:
    sizes = np.array([[60_000, 50_000]], np.int32)
    spec = BucketSpec("free", (30_000,), alignment_px=8, crop=Crop(style="corner"))
    made = assign(sizes, spec, np.zeros(1, np.uint64))
    assert 0 <= crop_loss(made)[0] < 0.001
    assert aspect_error(sizes, made)[0] < 0.001
