"""Grids, tiles and orientations, against tables and against what Pillow does to pixels."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from hffs.core.composites import (
    MOST_TILES,
    Box,
    Composite,
    Grid,
    file_sizes,
    grid_of,
    is_quarter_turn,
    is_turned_whole,
    plan_composite,
    stored_box,
    tile_box,
    turn_size,
)  # fmt: skip
from hffs.core.types import Size
from hffs.errors import ConfigError

Select = Literal["all"] | tuple[int, ...]

ORIENTATIONS = st.integers(0, 9)


def whole(count: int, layout: str = "auto") -> Composite:
    return plan_composite(count, layout, "all")


# Plans


@pytest.mark.parametrize(
    ("count", "layout", "select", "tiles"),
    [
        (4, "auto", "all", (0, 1, 2, 3)),
        (4, "2x2", (0,), (0,)),
        (4, "4x1", (3, 1), (1, 3)),
        (3, "horizontal", (2,), (2,)),
        (3, "vertical", "all", (0, 1, 2)),
        (1, "1x1", (0,), (0,)),
        (7, "7x1", "all", tuple(range(7))),
        (MOST_TILES, "100x100", (MOST_TILES - 1,), (MOST_TILES - 1,)),
    ],
)
def test_a_plan_keeps_its_keys_and_sorts_its_tiles(
    count: int, layout: str, select: Select, tiles: tuple[int, ...]
) -> None:
    assert plan_composite(count, layout, select) == Composite(count, layout, tiles)


@pytest.mark.parametrize(
    ("count", "layout", "select", "line"),
    [
        (4, "2x3", "all", "layout 2x3 has 6 tiles, image_count is 4"),
        (4, "99999999x1", "all", "has 99999999 tiles"),
        (4, "2x", "all", "cannot use layout 2x: it is horizontal, vertical, auto, or rows x col"),
        (4, "0x4", "all", "cannot use layout 0x4"),
        (4, "2X2", "all", "cannot use layout 2X2"),
        (4, "٢x2", "all", "cannot use layout ٢x2"),
        (4, "auto", (4,), "cannot use select_index 4: image_count is 4, so tiles are 0 to 3"),
        (4, "auto", (0, -1), "cannot use select_index -1"),
        (4, "auto", (2, 0, 2), "cannot use select_index 2: it is there twice"),
        (4, "auto", (), "cannot use select_index: it names no tile"),
        (0, "auto", "all", "cannot use image_count 0: it is 1 to 10000"),
        (MOST_TILES + 1, "auto", "all", "cannot use image_count 10001"),
    ],
)
def test_a_contradictory_plan_is_one_line(
    count: int, layout: str, select: Select, line: str
) -> None:
    with pytest.raises(ConfigError) as raised:
        plan_composite(count, layout, select)
    assert line in str(raised.value)
    assert "\n" not in str(raised.value)


# Grids


@pytest.mark.parametrize(
    ("count", "size", "grid"),
    [
        # Pairs and strips: along the longer side, a square in columns.
        (2, (1024, 512), (1, 2)), (2, (512, 1024), (2, 1)), (2, (512, 512), (1, 2)),
        (3, (1536, 512), (1, 3)), (3, (512, 1536), (3, 1)), (3, (512, 512), (1, 3)),
        (4, (1024, 1024), (2, 2)), (4, (2048, 512), (1, 4)), (4, (512, 2048), (4, 1)),
        (4, (1536, 1024), (2, 2)), (4, (1024, 1536), (2, 2)),
        # At 2:1 a tile of 2x2 is 2:1 and one of 1x4 is 1:2, which is as near: more columns win.
        (4, (2048, 1024), (1, 4)), (4, (2047, 1024), (2, 2)), (4, (1024, 2048), (2, 2)),
        (6, (600, 600), (2, 3)), (6, (900, 600), (2, 3)),
        (6, (600, 900), (3, 2)), (6, (2400, 400), (1, 6)), (6, (400, 2400), (6, 1)),
        (5, (500, 500), (1, 5)), (5, (500, 501), (5, 1)), (7, (700, 100), (1, 7)),
        (9, (900, 900), (3, 3)), (9, (9000, 900), (1, 9)), (9, (2000, 1000), (3, 3)),
        (12, (400, 300), (3, 4)), (12, (300, 400), (4, 3)), (12, (600, 600), (3, 4)),
        (12, (1200, 300), (2, 6)), (12, (1200, 100), (1, 12)),
        (1, (7, 5), (1, 1)),
    ],
)  # fmt: skip
def test_auto_takes_the_tile_nearest_to_a_square(
    count: int, size: tuple[int, int], grid: tuple[int, int]
) -> None:
    assert grid_of(whole(count), Size(*size)) == Grid(*grid)


def test_a_tie_goes_to_more_columns() -> None:
    for count in (2, 3, 6, 8, 12):
        grid = grid_of(whole(count), Size(840, 840))
        assert grid.columns > grid.rows


@pytest.mark.parametrize(
    ("layout", "grid"),
    [("horizontal", (1, 6)), ("vertical", (6, 1)), ("2x3", (2, 3)), ("3x2", (3, 2))],
)
def test_a_fixed_layout_is_the_same_for_every_image(layout: str, grid: tuple[int, int]) -> None:
    for size in (Size(600, 600), Size(6, 600), Size(0, 0)):
        assert grid_of(whole(6, layout), size) == Grid(*grid)


# Tiles


@pytest.mark.parametrize(
    ("count", "layout", "size", "tile", "box"),
    [
        (2, "horizontal", (1024, 512), 1, (512, 0, 512, 512)),
        (2, "horizontal", (1025, 513), 1, (512, 0, 512, 513)),
        (4, "2x2", (1024, 1024), 2, (0, 512, 512, 512)),
        (4, "2x2", (1023, 1021), 3, (511, 510, 511, 510)),
        (4, "vertical", (256, 1027), 3, (0, 768, 256, 256)),
        (9, "3x3", (100, 100), 4, (33, 33, 33, 33)),
        (9, "3x3", (3, 3), 8, (2, 2, 1, 1)),
        (6, "2x3", (640, 480), 5, (426, 240, 213, 240)),
    ],
)
def test_where_tiles_lie(
    count: int, layout: str, size: tuple[int, int], tile: int, box: tuple[int, ...]
) -> None:
    assert tile_box(whole(count, layout), Size(*size), tile) == box


@pytest.mark.parametrize("size", [(1, 512), (512, 1), (0, 0), (1, 1)])
def test_an_image_smaller_than_its_grid_has_no_tiles(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="pixels, smaller than a grid of 2 x 2"):
        tile_box(whole(4, "2x2"), Size(*size), 0)


@st.composite
def composites(draw: st.DrawFn) -> Composite:
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    count = rows * columns
    layout = draw(st.sampled_from([f"{rows}x{columns}", "auto", "horizontal", "vertical"]))
    return whole(count, layout)


@given(composites(), st.integers(36, 200), st.integers(36, 200))
def test_tiles_are_equal_disjoint_and_leave_only_the_remainder(
    composite: Composite, width: int, height: int
) -> None:
    size = Size(width, height)
    grid = grid_of(composite, size)
    assert grid.rows * grid.columns == composite.count
    boxes = [tile_box(composite, size, tile) for tile in range(composite.count)]
    times = np.zeros((height, width), int)
    for left, top, wide, high in boxes:
        assert (wide, high) == (width // grid.columns, height // grid.rows)
        assert left + wide <= width
        assert top + high <= height
        times[top : top + high, left : left + wide] += 1
    used = times[: height - height % grid.rows, : width - width % grid.columns]
    assert (used == 1).all()
    assert times.sum() == used.size
    places = [(box.top, box.left) for box in boxes]
    assert all(before < after for before, after in pairwise(places))  # row by row


# Orientations


def orient(stored: NDArray[np.uint8], orientation: int) -> NDArray[np.uint8]:
    """The displayed pixels, as Pillow shows them."""
    image = Image.fromarray(stored)
    image.getexif()[ExifTags.Base.Orientation] = orientation
    return np.asarray(ImageOps.exif_transpose(image))


def cut(pixels: NDArray[np.uint8], box: Box) -> NDArray[np.uint8]:
    return pixels[box.top : box.top + box.height, box.left : box.left + box.width]


@given(st.integers(1, 12), st.integers(1, 12), ORIENTATIONS, st.data())
def test_a_stored_box_holds_the_pixels_of_the_displayed_one(
    width: int, height: int, orientation: int, data: st.DataObject
) -> None:
    stored = np.arange(width * height, dtype=np.uint8).reshape(height, width)
    shown = orient(stored, orientation)
    size = Size(shown.shape[1], shown.shape[0])
    assert turn_size(Size(width, height), orientation) == size
    assert turn_size(size, orientation) == Size(width, height)
    assert is_quarter_turn(orientation) == (orientation in (5, 6, 7, 8))
    left, top = (data.draw(st.integers(0, side - 1)) for side in size)
    wide, high = (
        data.draw(st.integers(1, s - at)) for s, at in zip(size, (left, top), strict=True)
    )
    box = Box(left, top, wide, high)
    part = cut(stored, stored_box(box, size, orientation))
    assert np.array_equal(orient(part, orientation), cut(shown, box))


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(32, 24), (33, 24), (32, 25), (33, 25)])
def test_a_turn_is_whole_where_no_partial_block_comes_to_the_front(
    orientation: int, size: tuple[int, int]
) -> None:
    width, height = size
    partial = np.zeros((height, width), np.uint8)
    partial[height - height % 8 :] = partial[:, width - width % 8 :] = 1
    shown = orient(partial, orientation)
    front = bool(shown[0].all() or shown[:, 0].all())
    assert is_turned_whole(Size(*size), Size(8, 8), orientation) != front


# Sizes of files


@given(
    st.none() | composites(),
    st.booleans(),
    st.lists(
        st.tuples(st.integers(0, 70), st.integers(0, 70), ORIENTATIONS), min_size=1, max_size=20
    ),
)
@example(whole(36, "36x1"), False, [(36, 1, 6), (1, 36, 6), (36, 1, 1)])
def test_sizes_of_many_files_are_those_of_each(
    composite: Composite | None, upright: bool, images: list[tuple[int, int, int]]
) -> None:
    width, height, orientation = (
        np.array(column, np.int32) for column in zip(*images, strict=True)
    )
    wide, high = file_sizes(composite, upright, width, height, orientation)
    assert wide.dtype == high.dtype == np.int32
    for at, (w, h, turn) in enumerate(images):
        assert Size(wide[at], high[at]) == _file_size(composite, upright, Size(w, h), turn)


def _file_size(composite: Composite | None, upright: bool, stored: Size, turn: int) -> Size:
    size = turn_size(stored, turn)
    if composite is not None:
        try:
            _, _, *sides = tile_box(composite, size, 0)
        except ValueError:
            return Size(0, 0)
        size = Size(*sides)
    if not all(size):
        return Size(0, 0)
    return size if upright else turn_size(size, turn)


def test_sizes_of_large_images_do_not_overflow() -> None:
    side = np.array([2**31 - 1], np.int32)
    wide, high = file_sizes(whole(MOST_TILES), True, side, side, np.array([6], np.uint8))
    assert (wide[0], high[0]) == ((2**31 - 1) // 100, (2**31 - 1) // 100)
