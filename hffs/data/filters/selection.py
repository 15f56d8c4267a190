"""Which images of a source a view keeps, decided on metadata columns and image sizes alone.

Owns the order of the steps and the count of what each removes. It must not know how a term is
evaluated: each kind has a module of its own, imported here.

The order is fixed: `collection`; for each metric of `quality_thresholds`, images without it, then
those below its minimum; `where`; then, if a term needs sizes, images whose size is not known,
composites smaller than their grid, and `min_width`, `min_height`, `max_width`, `max_height`,
`min_aspect`, `max_aspect`; then, if a term needs them, videos whose frames are not known,
`min_frames`, `max_frames`, and clips whose duration is not known, `min_duration_s`,
`max_duration_s`. A step counts only images that every step before it kept. All limits
are inclusive; aspect is width / height.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hffs.data.columnarrays import Arrays, Reader, read_arrays
from hffs.data.filters.clips import (
    DURATION_MISSING,
    FRAMES_MISSING,
    NOT_PROBED,
    clip_readers,
    clip_steps,
)
from hffs.data.filters.collection import collection_reader
from hffs.data.filters.quality import metric_steps, plan_metrics
from hffs.data.filters.sizes import (
    SIZE_MISSING,
    SIZE_NOT_MEASURED,
    SMALLER_THAN_GRID,
    needed_dimensions,
    read_sizes,
    size_readers,
    size_steps,
)
from hffs.data.filters.terms import (
    ClipTerms,
    Filters,
    Measure,
    Measured,
    Probe,
    Probed,
    Removed,
    Selection,
    Shape,
    Sizes,
    SizeTerms,
    select_all,
)
from hffs.data.source import Source
from hffs.errors import ConfigError

__all__ = [
    "DURATION_MISSING",
    "FRAMES_MISSING",
    "NOT_PROBED",
    "SIZE_MISSING",
    "SIZE_NOT_MEASURED",
    "SMALLER_THAN_GRID",
    "ClipTerms",
    "Filters",
    "Measure",
    "Measured",
    "Probe",
    "Probed",
    "Removed",
    "Selection",
    "Shape",
    "SizeTerms",
    "Sizes",
    "read_sizes",
    "select",
]

Step = tuple[str, NDArray[np.bool_]]
"""A step's name and which rows of the source pass it."""

_T = TypeVar("_T", bound=np.generic)


def _probe_nothing(wanted: NDArray[np.bool_]) -> Probed:
    why = "the files are no videos and no sounds"
    raise ConfigError("cannot use", "limits of frames and durations", why=why)


def select(
    source: Source,
    filters: Filters,
    cell_rows: NDArray[np.int64],
    measure: Measure,
    probe: Probe = _probe_nothing,
) -> Selection:
    """Decide for each cell, `cell_rows[i]` being the source row of cell i; rows ascend.

    `measure` and `probe` are called at most once, only where a term has no column to look at, and
    with the cells that are kept by then. Raises ConfigError for a filter that this source cannot
    answer.
    """
    of_sizes = size_readers(source, filters, needed_dimensions(filters))
    of_clips = clip_readers(source, filters)
    steps, made = _read_steps(source, filters, [*of_sizes.values(), *of_clips.values()])
    is_plain = _is_each_row(cell_rows, source.rows)

    def of_cells(rows: NDArray[_T]) -> NDArray[_T]:
        return rows if is_plain else rows[cell_rows]

    chosen = select_all(len(cell_rows))
    for step, passes in (*steps, *_where_steps(source, filters)):
        chosen = chosen.after(step, of_cells(passes))
    values = [of_cells(each) for (each,) in made]
    sizes = dict(zip(of_sizes, values, strict=False))
    chosen = size_steps(filters, sizes, chosen, measure)
    clips = dict(zip(of_clips, values[len(sizes) :], strict=True))
    return clip_steps(filters, clips, chosen, probe)
    # a step that needs more than columns and headers comes behind these


def _is_each_row(cell_rows: NDArray[np.int64], rows: int) -> bool:
    """Whether cell i is of row i. Rows ascend, so it is enough that as many are all different."""
    return len(cell_rows) == rows and bool((cell_rows[1:] != cell_rows[:-1]).all())


def _read_steps(
    source: Source, filters: Filters, others: Sequence[Reader]
) -> tuple[list[Step], list[Arrays]]:
    """Steps on columns that need no condition, and what other readers made in the same pass."""
    metrics = plan_metrics(source, filters.quality_thresholds, filters.quality_column)
    readers = [reader for metric in metrics for reader in metric.readers]
    if filters.collection:
        readers.append(collection_reader(source, filters.collection, filters.collection_column))
    made = iter(read_arrays(source, [*readers, *others]))
    of_metrics = [[next(made) for _ in metric.readers] for metric in metrics]
    steps: list[Step] = [("collection", next(made)[0])] if filters.collection else []
    for metric, arrays in zip(metrics, of_metrics, strict=True):
        steps += metric_steps(source, metric, arrays)
    return steps, list(made)


def _where_steps(source: Source, filters: Filters) -> Iterator[Step]:
    if filters.where is not None:
        # Late: without a condition nobody waits for DuckDB to load.
        from hffs.data.filters.where import evaluate_where

        yield "where", evaluate_where(source, filters.where)
