"""Which images of a source a view keeps, decided on metadata columns and image sizes alone.

Owns the order of the steps and the count of what each removes. It must not know how a condition is
evaluated (`hffs.data.where`) or an image measured.

The order is fixed: `where`; then images whose size is not known, if any size term is set; then
`min_width`, `min_height`, `max_width`, `max_height`, `min_aspect`, `max_aspect`. A step counts only
images that every step before it kept. All limits are inclusive; aspect is width / height.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.data.metadata import ColumnPath, find_column, plain_type, read_columns
from hffs.data.source import Source
from hffs.errors import ConfigError

Measure = Callable[[], tuple[NDArray[np.int32], NDArray[np.int32]]]
"""Widths and heights of all cells, from their headers; 0 where a cell could not be measured."""

SIZE_MISSING = "size is missing"
"""Step that removes images whose size columns are null, or say what no image has (0, NaN)."""

SIZE_NOT_MEASURED = "size could not be measured"
"""Step that removes images whose own bytes do not tell their size."""

_DIMENSIONS = ("width", "height")
_LIMITS = ("min_width", "min_height", "max_width", "max_height", "min_aspect", "max_aspect")


@dataclass(frozen=True, slots=True)
class SizeTerms:
    """Inclusive limits in pixels, and of width / height; None where there is no limit."""

    min_width: float | None = None
    min_height: float | None = None
    max_width: float | None = None
    max_height: float | None = None
    min_aspect: float | None = None
    max_aspect: float | None = None

    def __post_init__(self) -> None:
        for of in ("width", "height", "aspect"):
            least, most = getattr(self, f"min_{of}"), getattr(self, f"max_{of}")
            if least is not None and most is not None and least > most:
                why = f"it is above max_{of} {most}, so that no image would be kept"
                raise ConfigError("cannot use", f"min_{of} {least}", why=why)

    def set_limits(self) -> dict[str, float]:
        """The limits that are set, in the order of their steps."""
        limits = {name: getattr(self, name) for name in _LIMITS}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class Filters:
    """What a view keeps; sizes come from the named columns (paths into structs are allowed)."""

    where: str | None = None
    sizes: SizeTerms = field(default_factory=SizeTerms)
    width_column: str | None = None
    height_column: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """How many images one step removed that the steps before it had kept."""

    step: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which cells are kept, and one entry a step that was taken, in order."""

    keep: NDArray[np.bool_]
    removed: tuple[Removed, ...]


def select(
    source: Source, filters: Filters, cell_rows: NDArray[np.int64], measure: Measure
) -> Selection:
    """Decide for each cell, `cell_rows[i]` being the source row of cell i.

    `measure` is called at most once, and only where a size term has no column to look at. Raises
    ConfigError for a filter that this source cannot answer.
    """
    keep = np.ones(len(cell_rows), np.bool_)
    removed = []
    for step, passes in _steps(source, filters, cell_rows, measure):
        removed.append(Removed(step, int(np.count_nonzero(keep & ~passes))))
        keep &= passes
    return Selection(keep, tuple(removed))


def _steps(
    source: Source, filters: Filters, cell_rows: NDArray[np.int64], measure: Measure
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if filters.where is not None:
        # Late: without a condition nobody waits for DuckDB to load.
        from hffs.data.where import evaluate_where

        yield "where", evaluate_where(source, filters.where)[cell_rows]
    yield from _size_steps(source, filters, cell_rows, measure)


def _size_steps(
    source: Source, filters: Filters, cell_rows: NDArray[np.int64], measure: Measure
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    limits = filters.sizes.set_limits()
    needed = [of for of in _DIMENSIONS if any(of in name or "aspect" in name for name in limits)]
    columns = {of: _size_column(source, filters, of) for of in needed}
    sizes = {
        of: _read_numbers(source, column)[cell_rows]
        for of, column in columns.items()
        if column is not None
    }
    if sizes:
        yield SIZE_MISSING, np.logical_and.reduce([size > 0 for size in sizes.values()])
    if len(sizes) < len(needed):
        measured = dict(zip(_DIMENSIONS, measure(), strict=True))
        yield SIZE_NOT_MEASURED, (measured["width"] > 0) & (measured["height"] > 0)
        sizes = {of: measured[of].astype(np.float64) for of in needed} | sizes
    yield from _limit_steps(limits, sizes)


def _limit_steps(
    limits: dict[str, float], sizes: dict[str, NDArray[np.float64]]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    if len(sizes) == len(_DIMENSIONS):
        with np.errstate(divide="ignore", invalid="ignore"):  # such cells are gone by now
            sizes["aspect"] = sizes["width"] / sizes["height"]
    for name, limit in limits.items():
        bound, of = name.split("_")
        yield name, sizes[of] >= limit if bound == "min" else sizes[of] <= limit


def _size_column(source: Source, filters: Filters, of: str) -> ColumnPath | None:
    """Column to look at for one dimension; None where images have to be measured."""
    key = f"{of}_column"
    named = getattr(filters, key)
    if named is None:
        index = source.schema.get_field_index(of)
        if index < 0 or not _is_number(source.schema.field(index).type):
            return None
    column = find_column(source, named or of, key)
    if column.inner or not _is_number(column.type):
        why = f"it holds {column.type}"
        fix = "name a column of numbers"
        raise ConfigError(f"cannot use {key}", str(column), why=why, fix=fix)
    return column


def _is_number(kind: pa.DataType) -> bool:
    plain = plain_type(kind)
    return bool(pa.types.is_integer(plain) or pa.types.is_floating(plain))


def _read_numbers(source: Source, column: ColumnPath) -> NDArray[np.float64]:
    """One number a source row; NaN for null."""
    values = column.take_from(read_columns(source, [column.column])).cast(pa.float64(), safe=False)
    numbers: NDArray[np.float64] = pc.fill_null(values, np.nan).to_numpy()
    return numbers
