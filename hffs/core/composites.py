"""Where the tiles of a composite lie: an image that is a grid of images, such as four samples.

Owns the arithmetic of grids, tiles and EXIF orientations. Must not know bytes or pixels.
Invariants: a grid divides the image as it is displayed, so a strip that is stored turned is still
a strip; all tiles of a grid have one size; pixels that remain at the right and at the bottom
belong to no tile; numbers of tiles run row by row, from 0.

An orientation is the EXIF tag 274, from 1 (as stored) to 8: a turn of the stored image, by
quarters from 5 on, that displays it. Anything else counts as 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hffs.core.types import Size
from hffs.errors import ConfigError

MOST_TILES = 10_000
"""Refused above, before lists as long as that are made: no grid of images is so fine."""

_ROWS_BY_COLUMNS = re.compile(r"([1-9][0-9]{0,8})x([1-9][0-9]{0,8})", re.ASCII)
_TO_THE_LEFT, _TO_THE_TOP = (2, 3, 7, 8), (3, 4, 6, 7)
_QUARTERS = (5, 6, 7, 8)

Lengths = NDArray[np.int64]


class Box(NamedTuple):
    """A rectangle of an image, in pixels."""

    left: int
    top: int
    width: int
    height: int


class Grid(NamedTuple):
    """How many tiles a composite has from top to bottom and from left to right."""

    rows: int
    columns: int


@dataclass(frozen=True, slots=True)
class Composite:
    """How every image of a view is taken apart; made by `plan_composite`."""

    count: int
    layout: str
    tiles: tuple[int, ...]
    """Those that are shown, ascending."""


def plan_composite(count: int, layout: str, select: Literal["all"] | tuple[int, ...]) -> Composite:
    """A composite by its keys of the configuration; ConfigError where they contradict."""
    if not 1 <= count <= MOST_TILES:
        raise ConfigError("cannot use image_count", str(count), why=f"it is 1 to {MOST_TILES}")
    if layout != "auto":
        _check_layout(count, layout)
    if select == "all":
        return Composite(count, layout, tuple(range(count)))
    if not select:
        raise ConfigError("cannot use select_index", why="it names no tile")
    for tile in select:
        if not 0 <= tile < count:
            why = f"image_count is {count}, so tiles are 0 to {count - 1}"
            raise ConfigError("cannot use select_index", str(tile), why=why)
        if select.count(tile) > 1:
            raise ConfigError("cannot use select_index", str(tile), why="it is there twice")
    return Composite(count, layout, tuple(sorted(select)))


def _check_layout(count: int, layout: str) -> None:
    grid = _fixed_grid(count, layout)
    if grid is None:
        why = "it is horizontal, vertical, auto, or rows x columns such as 2x2"
        raise ConfigError("cannot use layout", layout, why=why)
    if grid.rows * grid.columns != count:
        why = f"layout {layout} has {grid.rows * grid.columns} tiles, image_count is {count}"
        raise ConfigError("cannot use layout", layout, why=why)


def _fixed_grid(count: int, layout: str) -> Grid | None:
    """The grid of a layout that is the same for every image, None for any other text."""
    if layout == "horizontal":
        return Grid(1, count)
    if layout == "vertical":
        return Grid(count, 1)
    match = _ROWS_BY_COLUMNS.fullmatch(layout)
    return Grid(int(match[1]), int(match[2])) if match else None


def grid_of(composite: Composite, size: Size) -> Grid:
    """The grid of an image that is displayed with this size.

    `auto` takes, of all rows x columns, those whose tile is nearest to a square; of two that are
    equally near the one with more columns.
    """
    rows, columns = _grids(composite, *(np.array([length], np.int64) for length in size))
    return Grid(int(rows[0]), int(columns[0]))


def _grids(composite: Composite, width: Lengths, height: Lengths) -> tuple[Lengths, Lengths]:
    """Rows and columns of the grids of many displayed images."""
    fixed = _fixed_grid(composite.count, composite.layout)
    if fixed is not None:
        return np.full_like(width, fixed.rows), np.full_like(width, fixed.columns)
    rows, columns = np.zeros_like(width), np.zeros_like(width)
    nearest = np.full(width.shape, np.inf)
    for grid in _divide(composite.count):
        wide, high = width * grid.rows, height * grid.columns  # of a tile, but for one factor
        # Both are exact as floats, so aspects that are equal are equal here too, and tie.
        far = np.maximum(wide, high) / np.maximum(np.minimum(wide, high), 1)
        better = far < nearest
        nearest[better], rows[better], columns[better] = far[better], grid.rows, grid.columns
    return rows, columns


def _divide(count: int) -> Iterator[Grid]:
    """Every rows x columns of so many tiles, most columns first."""
    return (Grid(rows, count // rows) for rows in range(1, count + 1) if count % rows == 0)


def tile_box(composite: Composite, size: Size, tile: int) -> Box:
    """Where a tile lies in an image that is displayed with this size.

    ValueError for an image that is smaller than its grid.
    """
    grid = grid_of(composite, size)
    width, height = size.width // grid.columns, size.height // grid.rows
    if not width or not height:
        what = f"{size.width} x {size.height} pixels"
        raise ValueError(f"{what}, smaller than a grid of {grid.rows} x {grid.columns}")
    row, column = divmod(tile, grid.columns)
    return Box(column * width, row * height, width, height)


def is_quarter_turn(orientation: int) -> bool:
    """Whether an orientation swaps width and height."""
    return orientation in _QUARTERS


def turn_size(size: Size, orientation: int) -> Size:
    """The displayed size of a stored image, and the other way round."""
    return Size(size.height, size.width) if is_quarter_turn(orientation) else size


def stored_box(box: Box, size: Size, orientation: int) -> Box:
    """Where a box of an image that is displayed with this size lies in it as it is stored."""
    left, top, width, height = box
    stored = turn_size(size, orientation)
    if is_quarter_turn(orientation):
        left, top, width, height = top, left, height, width
    if orientation in _TO_THE_LEFT:
        left = stored.width - left - width
    if orientation in _TO_THE_TOP:
        top = stored.height - top - height
    return Box(left, top, width, height)


def is_turned_whole(size: Size, block: Size, orientation: int) -> bool:
    """Whether turning a stored image upright needs no part of a block to move to the front.

    Blocks begin at the upper left, so the last of a row or column may be cut off; such a block
    cannot become the first. This is what libjpeg calls a perfect transformation.
    """
    across = orientation not in _TO_THE_LEFT or size.width % block.width == 0
    return across and (orientation not in _TO_THE_TOP or size.height % block.height == 0)


def file_sizes(
    composite: Composite | None,
    upright: bool,
    width: NDArray[np.integer],
    height: NDArray[np.integer],
    orientation: NDArray[np.integer],
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Widths and heights of the files of a view, by stored sizes and orientations of its images.

    (0, 0) stands for images without a size and for those that are smaller than their grid.
    """
    quarter = np.isin(orientation, _QUARTERS)
    wide, high = np.asarray(width, np.int64), np.asarray(height, np.int64)
    wide, high = np.where(quarter, high, wide), np.where(quarter, wide, high)
    if composite is not None:
        rows, columns = _grids(composite, wide, high)
        wide, high = wide // columns, high // rows
    none = (wide < 1) | (high < 1)
    wide, high = np.where(none, 0, wide), np.where(none, 0, high)
    if not upright:
        wide, high = np.where(quarter, high, wide), np.where(quarter, wide, high)
    return wide.astype(np.int32), high.astype(np.int32)
