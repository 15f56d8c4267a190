"""The filter on quality metrics: where each metric is found, and which rows reach its minimum.

Owns the order in which a metric is looked up: inside the quality column, else as a column of its
own. It must not know other filters, or what becomes of the rows.
Invariant: a metric that no row could have is an error, never a filter that removes everything.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.columnarrays import (
    NUMBER,
    OTHER,
    Arrays,
    Reader,
    number_reader,
    spell_keys,
)
from hffs.data.metadata import ColumnPath, find_column, find_field, metadata_columns
from hffs.data.source import Source, is_number, is_text
from hffs.errors import ConfigError

DEFAULT_COLUMN = "quality_assessment"
"""Where metrics are looked up, if it exists and no other column is named."""

_KEY = "quality_thresholds"
_COLUMN_KEY = "quality_column"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric and what has to be read for it: the first reader that finds it anywhere counts."""

    name: str
    readers: tuple[Reader, ...]


def plan_metrics(
    source: Source, thresholds: Mapping[str, float], quality_column: str | None
) -> list[Metric]:
    """Find each metric; raises ConfigError for one that cannot be there, or is no number."""
    quality = _find_quality(source, quality_column) if thresholds else None
    return [
        Metric(name, tuple(_judged(reader, at) for reader in _find_metric(source, quality, name)))
        for name, at in thresholds.items()
    ]


def metric_steps(
    source: Source, metric: Metric, arrays: Sequence[Arrays]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Which rows have the metric, then which reach its minimum, by what its readers made."""
    present, reaches = _choose(source, metric, arrays)
    yield f"{metric.name} is missing", present
    yield f"{_KEY} {metric.name}", reaches


def _find_quality(source: Source, named: str | None) -> ColumnPath | None:
    if named is None and DEFAULT_COLUMN not in metadata_columns(source):
        return None
    column = find_column(source, named or DEFAULT_COLUMN, _COLUMN_KEY)
    if pa.types.is_struct(column.type) or is_text(column.type):
        return column
    if named is None:
        return None
    why = f"it leads to {column.type}"
    raise ConfigError(f"cannot use {_COLUMN_KEY}", named, why=why, fix="name a struct or JSON text")


def _find_metric(source: Source, quality: ColumnPath | None, name: str) -> Iterator[Reader]:
    parts = tuple(name.split("."))
    inside = None if quality is None else _look_inside(quality, parts)
    if inside is not None:
        yield inside
    if inside is None or inside.path.inner:
        own = _own_column(source, name)
        if own is not None:
            yield number_reader(own)
        elif inside is None:
            raise _not_found(source, quality, name)


def _look_inside(quality: ColumnPath, parts: tuple[str, ...]) -> Reader | None:
    """Reader of a metric in the quality column; None where the structs there have no such field."""
    kind, fields = quality.type, quality.fields
    while parts and pa.types.is_struct(kind):
        cut = find_field(kind, parts)
        if not cut:
            return None
        fields, parts = (*fields, ".".join(parts[:cut])), parts[cut:]
        kind = kind.field(fields[-1]).type
    path = ColumnPath(quality.column, kind, fields, quality.inner + parts)
    _require_numbers(path)
    if not path.inner:
        return number_reader(path)
    outer = spell_keys(quality.inner)
    return number_reader(path, [keys + own for keys in outer for own in spell_keys(parts)])


def _own_column(source: Source, name: str) -> ColumnPath | None:
    """A metric's own column, by its path; None where no column has the name that it begins with."""
    parts = name.split(".")
    columns = metadata_columns(source)
    if not any(".".join(parts[:cut]) in columns for cut in range(len(parts), 0, -1)):
        return None
    path = find_column(source, name, _KEY)
    _require_numbers(path)
    return path


def _require_numbers(path: ColumnPath) -> None:
    """Raise ConfigError unless a path leads to numbers, or into a text that may be JSON."""
    is_plain = is_number(path.type) or pa.types.is_null(path.type)
    if not (is_text(path.type) if path.inner else is_plain):
        why = f"it leads to {path.type}"
        raise ConfigError(f"cannot use {_KEY}", str(path), why=why, fix="name a metric of numbers")


def _judged(reader: Reader, minimum: float) -> Reader:
    """Whether there is a number, whether it reaches the minimum; of JSON texts also the kinds."""
    # In the column's own precision: 0.7 kept as float32 is a little less than 0.7, and reaches it.
    limit = minimum
    if pa.types.is_float16(reader.path.type) or pa.types.is_float32(reader.path.type):
        limit = float(reader.path.type.to_pandas_dtype()(minimum))

    def judge(arrays: Arrays) -> Arrays:
        numbers, *kinds = arrays
        return (~np.isnan(numbers), numbers >= limit, *kinds)

    return reader.then(judge)


def _choose(source: Source, metric: Metric, arrays: Sequence[Arrays]) -> Arrays:
    """What the first reader made that found the metric in any row."""
    for present, reaches, *kinds in arrays:
        if not kinds or not len(present):
            return present, reaches
        if OTHER in kinds[0] and NUMBER not in kinds[0]:
            why = f"{metric.readers[0].path} is a number in no row"
            fix = "name a metric of numbers"
            raise ConfigError(f"cannot use {_KEY}", metric.name, why=why, fix=fix)
        if kinds[0].any():
            return present, reaches
    raise _not_found(source, metric.readers[0].path, metric.name)


def _not_found(source: Source, quality: ColumnPath | None, name: str) -> ConfigError:
    fields: list[str] = []
    why = "there is no such metric"
    if quality is not None and pa.types.is_struct(quality.type):
        fields = list(_leaves(quality.type))
    elif quality is not None:
        why = f"no row has it in the JSON texts of {quality.column}"
    columns = metadata_columns(source)
    near = difflib.get_close_matches(name, [*fields, *columns], 1)
    fix = f"did you mean {near[0]}? " if near else ""
    if fields:
        fix += f"fields of {quality}: {', '.join(fields)}; "
    return ConfigError(
        f"cannot use {_KEY}", name, why=why, fix=f"{fix}columns: {', '.join(columns)}"
    )


def _leaves(kind: pa.StructType, above: str = "") -> Iterator[str]:
    for field in kind:
        if pa.types.is_struct(field.type):
            yield from _leaves(field.type, f"{above}{field.name}.")
        else:
            yield above + field.name
