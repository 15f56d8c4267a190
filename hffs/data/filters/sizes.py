"""The sizes of images: from columns where there are some, else measured; and the limits on them.

Owns which of the two counts for each dimension, and the order of the steps on sizes. It must not
know how an image is measured, or what shapes a view's files (`Filters.shape` does).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.data.columnarrays import Reader, named_reader, read_arrays, to_counts, usual_reader
from hffs.data.filters.terms import Filters, Measure, Measured, Selection, Sizes
from hffs.data.source import Source

SIZE_MISSING = "size is missing"
"""Step that removes images whose size columns are null, or say what no image has (0, NaN)."""

SIZE_NOT_MEASURED = "size could not be measured"
"""Step that removes images whose own bytes do not tell their size."""

SMALLER_THAN_GRID = "composite is smaller than its grid"
"""Step that removes composites with a tile that has no pixel."""

_DIMENSIONS = ("width", "height")
_BLOCK = 1 << 16  # sizes that the processor's cache holds


@dataclass(frozen=True, slots=True, eq=False)
class SourceSizes:
    """Sizes of source images as far as columns or headers tell them; int32, 0 for unknown.

    `columns` and `measured` are what came from where, by dimension.
    """

    columns: Mapping[str, NDArray[np.int32]]
    measured: Measured | None

    def shape(self, filters: Filters, cells: int) -> Sizes:
        """Sizes of a view's files; 0 where one of the source image's is not known."""
        measured = self.measured or _nothing_measured(cells)
        if self.columns and self.measured is not None:
            measured = measured.displayed()  # what a column tells of the other side
        width = self.columns.get("width", measured.width)
        height = self.columns.get("height", measured.height)
        if filters.shape is None:
            return width, height
        # A column tells the size of an image as it is to be seen.
        orientation = np.ones(cells, np.uint8) if self.columns else measured.orientation
        known = (width > 0) & (height > 0)
        shaped = filters.shape(width, height, orientation)
        return np.where(known, shaped[0], 0), np.where(known, shaped[1], 0)


def size_readers(source: Source, filters: Filters, needed: list[str]) -> dict[str, Reader]:
    """Readers of the needed dimensions that a column tells; raises ConfigError for one that cannot.

    The usual columns count where they hold numbers, those that `filters` name always.
    """
    found = {of: _size_reader(source, filters, of) for of in needed}
    return {of: reader for of, reader in found.items() if reader is not None}


def needed_dimensions(filters: Filters) -> list[str]:
    """Dimensions that the limits need, in a fixed order."""
    limits = filters.sizes.set_limits()
    is_all = filters.composite or (bool(limits) and filters.shape is not None)
    return [
        of for of in _DIMENSIONS if is_all or any(of in name or "aspect" in name for name in limits)
    ]


def size_steps(
    filters: Filters, columns: Mapping[str, NDArray[np.int32]], chosen: Selection, measure: Measure
) -> Selection:
    """Remove images of unknown size, then those outside the limits.

    `columns` are sizes of all cells. Only what is kept by then is measured, if anything is.
    """
    needed = needed_dimensions(filters)
    if columns:
        known = np.logical_and.reduce([size > 0 for size in columns.values()])
        chosen = chosen.after(SIZE_MISSING, known)
    measured = None
    if len(columns) < len(needed):
        measured = measure(chosen.keep)
        known = (measured.width > 0) & (measured.height > 0)
        chosen = chosen.after(SIZE_NOT_MEASURED, known)
    width, height = SourceSizes(columns, measured).shape(filters, len(chosen.reasons))
    if filters.composite:
        chosen = chosen.after(SMALLER_THAN_GRID, (width > 0) & (height > 0))
    for step, passes in limit_steps(filters.sizes.set_limits(), width, height):
        chosen = chosen.after(step, passes)
    return chosen


def read_sizes(
    source: Source,
    filters: Filters,
    cell_rows: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    measure: Measure,
) -> Sizes:
    """Sizes of the view's files for the wanted cells, with or without limits on them.

    From columns where these tell both dimensions, else measured; int32, 0 where not known. What is
    told of other cells means nothing.
    """
    readers = size_readers(source, filters, list(_DIMENSIONS))
    arrays = read_arrays(source, list(readers.values()))
    columns = {of: pixels[cell_rows] for of, (pixels,) in zip(readers, arrays, strict=True)}
    measured = None if len(columns) == len(_DIMENSIONS) else measure(wanted)
    return SourceSizes(columns, measured).shape(filters, len(cell_rows))


def limit_steps(
    limits: Mapping[str, float], width: NDArray[np.int32], height: NDArray[np.int32]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Which cells are within each limit, inclusively; without both sizes known it means nothing."""
    for name, limit in limits.items():
        bound, of = name.split("_")
        compare = np.greater_equal if bound == "min" else np.less_equal
        passes = np.empty(len(width), np.bool_)
        for start in range(0, len(width), _BLOCK):
            part = slice(start, start + _BLOCK)
            sizes = {"width": width, "height": height}
            values = _aspects(width[part], height[part]) if of == "aspect" else sizes[of][part]
            compare(values, limit, out=passes[part])
        yield name, passes


def _aspects(width: NDArray[np.int32], height: NDArray[np.int32]) -> NDArray[np.float64]:
    with np.errstate(divide="ignore", invalid="ignore"):  # cells without a size are gone by now
        aspects: NDArray[np.float64] = width / height
    return aspects


def _nothing_measured(cells: int) -> Measured:
    nothing = np.zeros(cells, np.int32)
    return Measured(nothing, nothing, nothing.astype(np.uint8))


def _size_reader(source: Source, filters: Filters, of: str) -> Reader | None:
    """Reader of one dimension; None where images have to be measured."""
    named = filters.width_column if of == "width" else filters.height_column
    if named is None:
        reader = usual_reader(source, of)
    else:
        reader = named_reader(source, named, f"{of}_column")
    return None if reader is None else reader.then(to_counts)
