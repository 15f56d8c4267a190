"""Why images are not in a view: each step in words, with examples of what it left out.

Owns the words and what of a row mattered to a step. It must not know how a step decides
(`hffs.data.filters.selection`), nor how what it tells is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.config import Config
from hffs.core.captions import lookup
from hffs.data.captions import DEFAULT_COLUMNS
from hffs.data.filters.clips import read_clips
from hffs.data.filters.selection import (
    DURATION_MISSING,
    FRAMES_MISSING,
    NOT_PROBED,
    SIZE_MISSING,
    SIZE_NOT_MEASURED,
    SMALLER_THAN_GRID,
    read_sizes,
)
from hffs.data.metadata import ColumnPath, find_column, metadata_columns, read_rows
from hffs.data.source import Source
from hffs.errors import ConfigError
from hffs.view.choosing import NO_CAPTION, NO_GROUP, PYTHON, SAMPLE, map_filters
from hffs.view.codecs import Reshape
from hffs.view.deciding import UNASKED, Examined
from hffs.view.inspection.facts import Example, StepFacts
from hffs.view.inspection.picking import pick_spread

MOST_EXAMPLES = 12
"""Images that are shown of each step."""

_MOST_COLUMNS = 4
_MOST_CHARACTERS = 120
_QUALITY, _MISSING = "quality_thresholds ", " is missing"
_LIMITS = {
    "min_width": "narrower than {} px",
    "min_height": "lower than {} px",
    "max_width": "wider than {} px",
    "max_height": "higher than {} px",
    "min_aspect": "width / height below {}",
    "max_aspect": "width / height above {}",
}
_FRAME_LIMITS = {"min_frames": "fewer than {} frames", "max_frames": "more than {} frames"}
_DURATION_LIMITS = {"min_duration_s": "shorter than {} s", "max_duration_s": "longer than {} s"}
_OF_SIZE = {*_LIMITS, SIZE_MISSING, SIZE_NOT_MEASURED, SMALLER_THAN_GRID}
_OF_FRAMES = {*_FRAME_LIMITS, FRAMES_MISSING, NOT_PROBED}
_OF_DURATION = {*_DURATION_LIMITS, DURATION_MISSING}


_WORDS_OF_LIMITS = _LIMITS | _FRAME_LIMITS | _DURATION_LIMITS


@dataclass(frozen=True, slots=True)
class _Step:
    """One step that was taken: its words, its examples' cells, the columns that it looked at."""

    name: str
    count: int
    cells: NDArray[np.int64]
    columns: tuple[ColumnPath, ...]


def describe_steps(config: Config, examined: Examined) -> tuple[StepFacts, ...]:
    """Every step in order, also those that left nothing out."""
    steps = [
        _find_step(config, examined, number, name)
        for number, name in enumerate(examined.choice.selection.steps, 1)
    ]
    values = _read_values(examined.inputs.source, np.asarray(examined.inputs.index.row), steps)
    numbers = _read_sizes(examined, steps), *_read_clips(examined, steps)
    return tuple(
        StepFacts(
            step=step.name,
            count=step.count,
            why=explain(config, step.name),
            asked=step.name not in UNASKED,
            examples=tuple(_make_examples(examined, step, values, numbers)),
        )
        for step in steps
    )


def find_cell(examined: Examined, example: Example) -> int:
    """The cell of an example."""
    index = examined.inputs.index
    first, end = np.searchsorted(index.row, (example.row, example.row + 1)).tolist()
    return int(first + np.searchsorted(index.item[first:end], example.item))


def explain(config: Config, step: str) -> str:
    """Why a step leaves an image out, in a few words."""
    terms = config.filter_func
    if step in _WORDS_OF_LIMITS:
        return _WORDS_OF_LIMITS[step].format(f"{_find_limits(config)[step]:g}")
    metric = step.removeprefix(_QUALITY)
    if metric in terms.quality_thresholds and metric != step:
        return f"{metric} below {terms.quality_thresholds[metric]:g}"
    if step.removesuffix(_MISSING) in terms.quality_thresholds:
        return "the row has no such number"
    words = {
        "collection": f"{terms.collection_column} is not {_list_values(terms.collection)}",
        "where": f"not true, or null: {terms.where}",
        PYTHON: f"{terms.python} returned False",
        NO_CAPTION: "its caption is null or blank",
        NO_GROUP: f"{config.group_by} is null",
        SAMPLE: f"not among the {config.max_num_samples} rows drawn with seed {config.seed}",
        SIZE_MISSING: "a size column is null, or holds no size",
        SIZE_NOT_MEASURED: "its header cannot be read",
        SMALLER_THAN_GRID: "a tile would have no pixel",
        FRAMES_MISSING: "its column is null, or has no number above 0",
        NOT_PROBED: "its header cannot be read, or tells no frames",
        DURATION_MISSING: "its column is null, or its header tells none",
    }
    return words.get(step, "")


def _find_limits(config: Config) -> Mapping[str, float]:
    """All limits that are set, by their steps."""
    filters = map_filters(config, Reshape())
    clips = filters.clips
    limits = (
        filters.sizes.set_limits(),
        clips.set_limits("frames"),
        clips.set_limits("duration_s"),
    )
    return {step: limit for some in limits for step, limit in some.items()}


def _list_values(values: tuple[str | int, ...]) -> str:
    return " or ".join(map(str, values))


def _find_step(config: Config, examined: Examined, number: int, name: str) -> _Step:
    cells = np.flatnonzero(examined.choice.selection.reasons == number)
    picked = cells[pick_spread(examined.inputs.index, cells, MOST_EXAMPLES)]
    columns = tuple(_find_columns(config, examined.inputs.source, name)) if len(picked) else ()
    return _Step(name, len(cells), picked, columns)


def _find_columns(config: Config, source: Source, step: str) -> Iterator[ColumnPath]:
    """Columns that a step looked at, as far as they can be told."""
    terms = config.filter_func
    known = metadata_columns(source)
    metric = step.removeprefix(_QUALITY).removesuffix(_MISSING)
    paths: list[str] = []
    if metric != step and metric in terms.quality_thresholds:
        inside = terms.quality_column.split(".")[0] in known
        paths = [f"{terms.quality_column}.{metric}", metric] if inside else [metric]
        yield from _first_of(source, paths)
        return
    if step == "collection":
        paths = [terms.collection_column]
    elif step == "where":
        words = {word.lower() for word in re.findall(r"\w+", terms.where or "")}
        paths = [name for name in known if name.lower() in words][:_MOST_COLUMNS]
    elif step == PYTHON:
        paths = known[:_MOST_COLUMNS]
    elif step == NO_GROUP and config.group_by is not None:
        paths = [config.group_by]
    elif step == NO_CAPTION:
        paths = list(config.caption_column)
        paths = paths or [name for name in DEFAULT_COLUMNS if name in known][:1]
    for path in paths:
        yield from _first_of(source, [path])


def _first_of(source: Source, paths: list[str]) -> Iterator[ColumnPath]:
    """The first of these paths that leads anywhere."""
    for path in paths:
        try:
            yield find_column(source, path, "")
        except ConfigError:
            continue
        return


_Values = Mapping[tuple[int, str], str]
"""What a path leads to in a row, as text; by row and path."""


def _read_values(source: Source, rows: NDArray[np.int64], steps: list[_Step]) -> _Values:
    """All values of all examples, in one pass over the columns that any step looked at."""
    asked = [step for step in steps if step.columns]
    if not asked:
        return {}
    paths = list({str(path): path for step in asked for path in step.columns}.values())
    wanted = np.unique(np.concatenate([rows[step.cells] for step in asked]))
    names = sorted({path.column for path in paths})
    values = {}
    for start, batch in read_rows(source, names, wanted):
        for path in paths:
            found = path.take_from(batch)
            for place, row in enumerate(wanted[start : start + batch.num_rows].tolist()):
                values[row, str(path)] = _show(found[place], path.inner)
    return values


def _show(scalar: pa.Scalar, inner: tuple[str, ...]) -> str:
    """A value of a column in one short text."""
    try:
        if pa.types.is_large_string(scalar.type):
            scalar = scalar.cast(pa.large_binary())  # a shard's text need not be UTF-8
        value = lookup(scalar.as_py(), inner)
    except (ValueError, OverflowError):  # such as a time that Python has no value for
        return "unreadable"
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, default=str)
    text = "null" if value is None else str(value)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[: _MOST_CHARACTERS - 1]}…"


_Numbers = Mapping[int, str]
"""What was looked at of a cell, in words."""


def _read_sizes(examined: Examined, steps: list[_Step]) -> _Numbers:
    """Sizes of the examples of steps on sizes, by cell."""
    asked = [step.cells for step in steps if step.name in _OF_SIZE and len(step.cells)]
    if not asked:
        return {}
    cells = np.concatenate(asked)
    inputs = examined.inputs
    wanted = inputs.mark(cells)
    filters, rows = examined.choice.filters, np.asarray(inputs.index.row)
    width, height = read_sizes(inputs.source, filters, rows, wanted, inputs.measure)
    return {
        cell: f"{width[cell]} x {height[cell]}" if width[cell] and height[cell] else "not known"
        for cell in cells.tolist()
    }


def _read_clips(examined: Examined, steps: list[_Step]) -> tuple[_Numbers, _Numbers]:
    """Frames and durations of the examples of steps on these, by cell."""
    names = _OF_FRAMES | _OF_DURATION
    asked = [step.cells for step in steps if step.name in names and len(step.cells)]
    if not asked:
        return {}, {}
    cells, inputs = np.concatenate(asked), examined.inputs
    rows, wanted = np.asarray(inputs.index.row), inputs.mark(cells)
    found = read_clips(inputs.source, examined.choice.filters, rows, wanted, inputs.probe)
    of_cells = zip(
        cells.tolist(), found.frames[cells].tolist(), found.duration_s[cells].tolist(), strict=True
    )
    told = [
        (cell, str(frames or "not known"), f"{lasts:.4g} s" if lasts else "not known")
        for cell, frames, lasts in of_cells
    ]
    return {cell: frames for cell, frames, _ in told}, {cell: lasts for cell, _, lasts in told}


def _make_examples(
    examined: Examined, step: _Step, values: _Values, numbers: tuple[_Numbers, _Numbers, _Numbers]
) -> Iterator[Example]:
    index = examined.inputs.index
    kinds = (("size", _OF_SIZE), ("frames", _OF_FRAMES), ("duration", _OF_DURATION))
    for cell in step.cells.tolist():
        row, item = int(index.row[cell]), int(index.item[cell])
        found = {str(path): values[row, str(path)] for path in step.columns}
        for (kind, names), told in zip(kinds, numbers, strict=True):
            if step.name in names:
                found[kind] = told[cell]
        yield Example(row, item, found)
