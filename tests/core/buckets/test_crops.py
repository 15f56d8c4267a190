import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core.buckets import assign
from hffs.core.buckets.chance import Chance, Purpose
from hffs.core.buckets.spec import BucketSpec, Crop, CropStyle

# Computed anew with Python's numbers, from the definition of SplitMix64.
PLACES = [[121, 75], [0, 15], [1, 1]]
SHARES = [0.18359027390432048, 0.6970998856804957, 0.18805403765572937]


def crop_wide(
    style: CropStyle, focus: list[int] | None = None, count: int = 1
) -> NDArray[np.int32]:
    """Crops of images of 2000 x 1000, resized to 1024 x 512, to squares of 512."""
    spec = BucketSpec("grid", (512,), crop=Crop("square", style))
    sizes = np.tile(np.array([[2000, 1000]], np.int32), (count, 1))
    faces = None if focus is None else np.tile(np.array([focus], np.int32), (count, 1))
    return assign(sizes, spec, np.arange(count, dtype=np.uint64), faces).crop


@pytest.mark.parametrize(
    ("style", "focus", "expected"),
    [
        ("corner", None, [0, 0]),
        ("center", None, [256, 0]),
        ("face", [1000, 500], [256, 0]),
        ("face", [0, 0], [0, 0]),
        ("face", [1999, 999], [512, 0]),
        ("face", [600, 10], [51, 0]),
        ("corner", [1000, 500], [0, 0]),
        ("center", [0, 0], [256, 0]),
    ],
)
def test_a_place_of_each_style(
    style: CropStyle, focus: list[int] | None, expected: list[int]
) -> None:
    assert crop_wide(style, focus).tolist() == [expected]


@pytest.mark.parametrize("focus", [None, [-1, -1]])
def test_where_there_is_no_face_the_place_is_random(focus: list[int] | None) -> None:
    random = crop_wide("random", count=50)
    np.testing.assert_array_equal(crop_wide("face", focus, 50), random)
    assert len(np.unique(random[:, 0])) > 30


def test_random_places_are_even() -> None:
    lefts = crop_wide("random", count=51_300)[:, 0]
    assert (lefts.min(), lefts.max()) == (0, 512)
    np.testing.assert_allclose(np.bincount(lefts, minlength=513), 100, atol=55)


def test_random_numbers_never_change() -> None:
    chance = Chance(np.array([0, 1, 2**64 - 1], np.uint64), 7, 512.0)
    spans = np.array([[512, 512], [0, 100], [3, 1]])
    assert chance.within(spans, Purpose.PLACE).tolist() == PLACES
    assert chance.shares(Purpose.ASPECT).tolist() == SHARES


@given(
    st.lists(st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 2**31)), min_size=1),
    st.integers(),
    st.floats(0.01, 4096),
)
def test_numbers_lie_within(
    keys_spans: list[tuple[int, int]], seed: int, resolution: float
) -> None:
    keys = np.array([key for key, _ in keys_spans], np.uint64)
    spans = np.array([[span, 0] for _, span in keys_spans], np.int64)
    chance = Chance(keys, seed, resolution)
    places = chance.within(spans, Purpose.PLACE)
    assert ((places >= 0) & (places <= spans)).all()
    shares = chance.shares(Purpose.ASPECT)
    assert ((shares >= 0) & (shares < 1)).all()
    some = np.arange(len(keys)) % 2 == 0
    np.testing.assert_array_equal(chance.among(some).shares(Purpose.ASPECT), shares[some])


def test_purposes_are_independent() -> None:
    chance = Chance(np.arange(1000, dtype=np.uint64), 0, 512.0)
    one, other = chance.shares(Purpose.ASPECT), chance.shares(Purpose.PLACE)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.1
