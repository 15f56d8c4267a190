from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from numpy.typing import NDArray

from hffs.core.buckets import assign, validate
from hffs.core.buckets.assignment import Assignment, Removal
from hffs.core.buckets.measures import upscale
from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size
from hffs.errors import ConfigError
from tests.core.buckets.specs import folders, specs

Folder = tuple[NDArray[np.int32], NDArray[np.uint64], NDArray[np.int32]]


def assign_sizes(spec: BucketSpec, *sizes: tuple[int, int]) -> Assignment:
    return assign(np.array(sizes, np.int32), spec, np.arange(len(sizes), dtype=np.uint64))


def list_buckets(spec: BucketSpec, *sizes: tuple[int, int]) -> list[tuple[int, int]]:
    """The bucket of each sample."""
    made = assign_sizes(spec, *sizes)
    return [(w, h) for w, h in made.sizes[made.bucket].tolist()]


def list_removed(spec: BucketSpec, *sizes: tuple[int, int]) -> list[str]:
    return [Removal(code).name for code in assign_sizes(spec, *sizes).removed[:, 0]]


def assert_equal(one: Assignment, other: Assignment) -> None:
    for name in Assignment.__slots__:
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


@given(specs(), folders())
def test_what_holds_for_every_assignment(spec: BucketSpec, folder: Folder) -> None:
    validate(spec)
    sizes, keys, faces = folder
    made = assign(sizes, spec, keys, faces)
    count = len(made.image)
    # Each image at each resolution has one sample or a reason; in their order.
    assert made.removed.shape == (len(sizes), len(spec.resolutions))
    kept = np.argwhere(made.removed.T == Removal.KEPT).reshape(-1, 2)
    assert kept.tolist() == np.stack([made.resolution, made.image], axis=1).tolist()
    # Buckets are sorted, different, all taken, and multiples of the alignment.
    listed = [tuple(size) for size in made.sizes.tolist()]
    assert listed == sorted(set(listed))
    assert set(made.bucket.tolist()) == set(range(len(listed)))
    assert (made.sizes > 0).all()
    assert (made.sizes % spec.alignment_px == 0).all()
    assert made.aspects.tolist() == [round(w / h, spec.rounding) for w, h in listed]
    # Crops lie inside.
    buckets = made.sizes[made.bucket]
    assert made.crop.shape == made.resized.shape == buckets.shape == (count, 2)
    assert (made.crop >= 0).all()
    assert (made.crop + buckets <= made.resized).all()
    if spec.limits.max_upscale is not None:
        assert (upscale(sizes, made) <= 1 + spec.limits.max_upscale + 1e-9).all()
    types = {name: getattr(made, name).dtype for name in Assignment.__slots__}
    assert types == {
        "sizes": np.int32, "aspects": np.float64, "image": np.int64, "bucket": np.int32,
        "resolution": np.int16, "resized": np.int32, "crop": np.int32, "removed": np.uint8,
    }  # fmt: skip
    assert not any(getattr(made, name).flags.writeable for name in Assignment.__slots__)


@given(specs(), folders())
def test_the_same_is_asked_and_answered_twice(spec: BucketSpec, folder: Folder) -> None:
    sizes, keys, faces = folder
    assert_equal(assign(sizes, spec, keys, faces), assign(sizes, spec, keys, faces))


@settings(max_examples=30)  # each assigns a dozen times
@given(specs(), folders())
def test_an_image_does_not_depend_on_others_but_by_shared_shapes(
    spec: BucketSpec, folder: Folder
) -> None:
    assume(spec.generator != "aspect" and spec.limits.downsample_size is None)
    sizes, keys, faces = folder
    together = assign(sizes, spec, keys, faces)
    for index in range(len(sizes)):
        one = slice(index, index + 1)
        alone = assign(sizes[one], spec, keys[one], faces[one])
        of_it = together.image == index
        np.testing.assert_array_equal(alone.removed, together.removed[one])
        np.testing.assert_array_equal(alone.crop, together.crop[of_it])
        np.testing.assert_array_equal(alone.resized, together.resized[of_it])
        np.testing.assert_array_equal(
            alone.sizes[alone.bucket], together.sizes[together.bucket[of_it]]
        )


def test_nothing_makes_nothing() -> None:
    made = assign(np.empty((0, 2), np.int32), BucketSpec(), np.empty(0, np.uint64))
    assert made.sizes.shape == (0, 2)
    assert made.removed.shape == (0, 1)
    assert len(made.image) == 0


def test_nonsense_is_refused_before_anything_is_made() -> None:
    with pytest.raises(ConfigError):
        assign_sizes(BucketSpec(resolutions=()), (512, 512))


def test_samples_are_in_the_order_of_resolutions_then_of_images() -> None:
    made = assign_sizes(BucketSpec(resolutions=(1024, 512)), (600, 600), (0, 9), (900, 600))
    assert made.resolution.tolist() == [0, 0, 1, 1]
    assert made.image.tolist() == [0, 2, 0, 2]
    assert made.sizes.tolist() == [[512, 512], [640, 448], [1024, 1024], [1280, 832]]
    assert made.aspects.tolist() == [1.0, 1.43, 1.0, 1.54]
    assert made.bucket.tolist() == [2, 3, 0, 1]


def test_of_sizes_with_one_rounded_shape_the_first_is_the_bucket_of_all() -> None:
    spec = BucketSpec(rounding=1)
    wide, wider = (1700, 1000), (1900, 1000)
    assert list_buckets(spec, wide) == [(1344, 768)]
    assert list_buckets(spec, wider) == [(1408, 768)]
    # Both buckets are 1.8 times as wide as high, but for decimals.
    assert list_buckets(spec, wide, wider) == [(1344, 768)] * 2
    assert list_buckets(spec, wider, wide) == [(1408, 768)] * 2
    assert list_buckets(spec, (1024, 1024), wider, wide) == [(1024, 1024), *[(1408, 768)] * 2]


def test_what_is_left_out_names_no_bucket() -> None:
    spec = BucketSpec(rounding=1, limits=Limits(minimum_size=1024))
    assert list_buckets(spec, (170, 100), (1900, 1000)) == [(1408, 768)]


def test_removals_come_in_their_order() -> None:
    limits = Limits(minimum_size=512, min_aspect=0.5, max_aspect=2.0, max_upscale=0.1)
    spec = BucketSpec(resolution_type="pixel", limits=limits)
    sizes = ((-1, 900), (900, 0), (10, 900), (900, 10), (600, 1300), (1300, 600), (1000, 1000))
    assert list_removed(spec, *sizes, (600, 600)) == [
        "NO_SIZE", "NO_SIZE", "TOO_SMALL", "TOO_SMALL", "TOO_NARROW", "TOO_WIDE", "KEPT", "UPSCALED"
    ]  # fmt: skip


def test_limits_of_shapes_are_inclusive() -> None:
    spec = BucketSpec(limits=Limits(min_aspect=0.5, max_aspect=2.0))
    sizes = ((500, 1000), (499, 1000), (1000, 500), (1000, 499))
    assert list_removed(spec, *sizes) == ["KEPT", "TOO_NARROW", "KEPT", "TOO_WIDE"]


@pytest.mark.parametrize("crop", [Crop(), Crop("square")])
def test_the_least_size_is_an_area_and_of_squares_an_edge_too(crop: Crop) -> None:
    sizes = ((512, 512), (511, 512), (2048, 256))
    long = "KEPT" if crop.aspect == "preserve" else "TOO_SMALL"
    by_edge = BucketSpec(limits=Limits(minimum_size=512), crop=crop)
    assert list_removed(by_edge, *sizes) == ["KEPT", "TOO_SMALL", long]
    by_area = replace(by_edge, resolution_type="area", resolutions=(1,), limits=Limits(0.262144))
    assert list_removed(by_area, *sizes) == ["KEPT", "TOO_SMALL", long]


def test_shapes_of_which_no_size_can_be_computed_are_removed() -> None:
    assert list_removed(BucketSpec(), (10, 4000)) == ["TOO_NARROW"]
    grid = BucketSpec("grid", limits=Limits(maximum_size=1024, downsample_size=1024))
    assert list_removed(grid, (10, 4000)) == ["TOO_NARROW"]
    assert list_removed(BucketSpec("grid"), (10, 4000)) == ["KEPT"]


def test_images_that_would_become_endless_are_removed() -> None:
    spec = BucketSpec("grid")
    sizes = ((1, 9_000_000), (9_000_000, 1), (1, 1_000_000))
    assert list_removed(spec, *sizes) == ["TOO_NARROW", "TOO_WIDE", "KEPT"]


@pytest.mark.parametrize(
    ("spec", "size", "expected"),
    [
        (BucketSpec("grid", resolutions=(512,)), (700, 500), (576, 448)),
        (BucketSpec("grid", resolutions=(512,)), (320, 768), (320, 768)),
        (BucketSpec("list", (512,), geometric=Geometric(0.5, 2, 3)), (1500, 1000), (704, 384)),
        (
            BucketSpec("list", (512,), geometric=Geometric(0.5, 2, 3), distance="linear"),
            (1500, 1000),
            (512, 512),
        ),
        (BucketSpec("list", buckets=(Size(640, 640), Size(1280, 640))), (900, 500), (1280, 640)),
        (BucketSpec("free", (512,)), (300, 300), (256, 320)),
        (BucketSpec("free", (512,)), (40, 3000), (64, 2944)),
        (BucketSpec("free", (512,), crop=Crop("square")), (1024, 256), (512, 512)),
        (BucketSpec("free", (512,), crop=Crop("square")), (512, 128), (256, 256)),
    ],
)
def test_a_bucket_of_each_generator(
    spec: BucketSpec, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    assert list_buckets(spec, size) == [expected]


def test_a_grid_has_no_edges_below_the_least() -> None:
    spec = BucketSpec("grid", (512,), min_edge_px=512)
    assert list_buckets(spec, (2000, 500), (500, 2000)) == [(512, 512)] * 2


def test_the_same_shape_may_be_nearer_in_log_or_not() -> None:
    # 1.5 is as far from 1 as from 2 in steps, and nearer to 2 in their log.
    linear = BucketSpec("list", buckets=(1.0, 2.0), distance="linear")
    assert list_buckets(linear, (1490, 1000)) == [(1024, 1024)]
    assert list_buckets(replace(linear, distance="log"), (1490, 1000)) == [(1472, 704)]


def test_crops_of_the_closest_shape() -> None:
    spec = BucketSpec(crop=Crop("closest", "center", (0.5, 1.0, 2.0)))
    assert list_buckets(spec, (1000, 1800), (1000, 1300), (1000, 600), (1000, 400)) == [
        (704, 1472), (1024, 1024), (1472, 704), (1472, 704)
    ]  # fmt: skip


def test_random_shapes_are_as_frequent_as_their_weights() -> None:
    count = 20_000
    sizes = np.full((count, 2), 2000, np.int32)
    keys = np.arange(count, dtype=np.uint64)
    crop = Crop("random", "center", (0.5, 1.0, 2.0), (1.0, 2.0, 5.0))
    made = assign(sizes, BucketSpec(crop=crop), keys)
    assert made.aspects.tolist() == [0.48, 1.0, 2.09]
    np.testing.assert_allclose(np.bincount(made.bucket) / count, [0.125, 0.25, 0.625], atol=0.02)
    alike = assign(sizes, BucketSpec(crop=replace(crop, weights=())), keys)
    np.testing.assert_allclose(np.bincount(alike.bucket) / count, [1 / 3] * 3, atol=0.02)


def test_random_shapes_depend_on_seed_and_resolution_alone() -> None:
    sizes = np.full((200, 2), 2000, np.int32)
    keys = np.arange(200, dtype=np.uint64) * np.uint64(2**40)
    spec = BucketSpec(
        "list", (512,), buckets=(0.5, 1.0, 2.0), crop=Crop("random", aspects=(0.5, 1.0, 2.0))
    )
    one = assign(sizes, spec, keys)
    more = assign(sizes, replace(spec, resolutions=(1024, 512)), keys)
    np.testing.assert_array_equal(one.crop, more.crop[200:])
    assert (one.crop != more.crop[:200]).any()
    other = assign(sizes, replace(spec, seed=1), keys)
    assert (one.bucket != other.bucket).any()
    np.testing.assert_array_equal(one.bucket[::-1], assign(sizes, spec, keys[::-1]).bucket)


def test_random_shapes_are_those_that_enlarge_no_more_than_allowed() -> None:
    crop = Crop("random", "center", (0.5, 1.0, 2.0))
    spec = BucketSpec(crop=crop, limits=Limits(max_upscale=0.0))
    count = 300
    keys = np.arange(count, dtype=np.uint64)
    wide = assign(np.tile(np.array([[1600, 1100]], np.int32), (count, 1)), spec, keys)
    assert wide.sizes.tolist() == [[1024, 1024], [1472, 704]]
    # None fits: a square, which then is removed for the same reason.
    assert list_removed(spec, (600, 600)) == ["UPSCALED"]


def test_large_images_alone_are_shrunk_before_they_are_cropped() -> None:
    crop = Crop("square", "center")
    limits = Limits(maximum_size=2000, downsample_size=1024)
    spec = BucketSpec(resolutions=(512,), crop=crop, limits=limits)
    made = assign_sizes(spec, (3000, 2000), (1500, 1000), (2000, 2000))
    assert made.sizes.tolist() == [[512, 512]]
    assert made.resized.tolist() == [[1280, 853], [768, 512], [512, 512]]
    by_edge = replace(spec, resolution_type="pixel")
    made = assign_sizes(by_edge, (3000, 1000), (2000, 2000))
    assert made.resized.tolist() == [[3072, 1024], [512, 512]]


@pytest.mark.parametrize(
    ("size", "expected"), [((4000, 1000), [2048, 512]), ((1000, 4000), [512, 2048])]
)
def test_what_is_shrunk_still_covers_its_bucket(size: tuple[int, int], expected: list[int]) -> None:
    limits = Limits(maximum_size=1000, downsample_size=64)
    spec = BucketSpec(resolutions=(512,), crop=Crop("square", "center"), limits=limits)
    made = assign_sizes(spec, size)
    assert made.resized.tolist() == [expected]


def test_the_square_of_half_a_megapixel_is_768_pixels_though_others_are_of_704() -> None:
    spec = BucketSpec(resolutions=(0.5,), resolution_type="area", crop=Crop("square", "center"))
    made = assign_sizes(spec, (1500, 1000), (1000, 1500), (1000, 1000))
    assert made.sizes.tolist() == [[768, 768]]
    assert made.resized.tolist() == [[1152, 768], [768, 768], [768, 768]]


def test_a_square_edge_in_pixels_is_a_multiple_too() -> None:
    spec = BucketSpec(resolutions=(500,), resolution_type="pixel")
    assert list_buckets(spec, (900, 900), (900, 600)) == [(512, 512), (768, 512)]
