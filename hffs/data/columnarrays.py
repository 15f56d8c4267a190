"""Columns of a source as numpy arrays, one value a row, read together and once.

Owns numbers, whether a column has them or a JSON text does. It must not know what numbers mean.
Invariant: no text is held longer than the table that it came in.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.data.metadata import ColumnPath, find_column, plain_type, read_tables
from hffs.data.source import Source, is_number, is_text
from hffs.errors import ConfigError

ABSENT, NULL, NUMBER, OTHER = range(4)
"""What a JSON text has at a path, as the kinds of `number_reader` say it."""

Arrays = tuple[NDArray[Any], ...]

_LARGEST = np.iinfo(np.int32).max


@dataclass(frozen=True, slots=True)
class Reader:
    """What to read of a column: from its values to arrays of as many items.

    It is given as many rows as a processor's cache holds, or if `slow_to_ask` many more.
    """

    path: ColumnPath
    read: Callable[[pa.ChunkedArray], Arrays]
    slow_to_ask: bool = False

    def then(self, work: Callable[[Arrays], Arrays]) -> Reader:
        """A reader that goes on with what this one makes, part by part."""
        return replace(self, read=lambda values: work(self.read(values)))


def read_arrays(source: Source, readers: Sequence[Reader]) -> list[Arrays]:
    """What each reader makes of the whole source, in one pass over it."""
    parts: list[list[Arrays]] = [[] for _ in readers]
    for table in read_tables(source, [reader.path for reader in readers]) if readers else ():
        for reader, values, made in zip(readers, table.columns, parts, strict=True):
            chunks = (
                [values]
                if reader.slow_to_ask
                else [pa.chunked_array([chunk]) for chunk in values.chunks]
            )
            made += map(reader.read, chunks)
    return [_join(reader, made) for reader, made in zip(readers, parts, strict=True)]


def _join(reader: Reader, parts: Sequence[Arrays]) -> Arrays:
    # no rows have a type, too
    some = parts or [reader.read(pa.chunked_array([], reader.path.type))]
    return tuple(map(np.concatenate, zip(*some, strict=True)))


def is_json(path: ColumnPath) -> bool:
    """Whether a path goes on inside a text, which then has to be JSON."""
    return bool(path.inner) and is_text(path.type)


def number_reader(path: ColumnPath, keys: Sequence[tuple[str, ...]] = ()) -> Reader:
    """Reader of a column of numbers, or of those at the first of `keys` that a JSON text has.

    It makes one array of float64, NaN for whatever is no number; of JSON texts also one of uint8
    that says what was there. Without `keys` every way to read `path.inner` is tried.
    """
    if not path.inner:
        return Reader(path, _to_numbers)
    ways = tuple(keys) or spell_keys(path.inner)

    def read(texts: pa.ChunkedArray) -> Arrays:
        # Late: without JSON nobody waits for DuckDB to load.
        from hffs.data.jsontext import read_json_numbers

        return read_json_numbers(texts, ways)

    return Reader(path, read, slow_to_ask=True)


def named_reader(source: Source, path: str, key: str) -> Reader:
    """`number_reader` of a column that the configuration's `key` names.

    Raises ConfigError where there is no such column, or it has no numbers.
    """
    column = find_column(source, path, key)
    if not (is_json(column) or (is_number(column.type) and not column.inner)):
        why = f"it holds {column.type}"
        raise ConfigError(f"cannot use {key}", str(column), why=why, fix="name a column of numbers")
    return number_reader(column)


def usual_reader(source: Source, name: str) -> Reader | None:
    """Reader of a column that counts if it has numbers; None where there is none such."""
    index = source.schema.get_field_index(name)
    if index < 0 or not is_number(plain_type(source.schema.field(index).type)):
        return None
    return number_reader(find_column(source, name, name))


def to_counts(arrays: Arrays) -> Arrays:
    """Whole numbers (int32) of numbers in a column; 0 for NaN and what is no number above 0."""
    counts = np.fmin(np.fmax(arrays[0], 0), _LARGEST)  # fmax: NaN to 0
    return (counts.astype(np.int32),)


def spell_keys(parts: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Every way that dotted parts may be keys, the longest first key first; at most 32.

    `a.b.c` may be one key, or `a.b` and `c`, `a` and `b.c`, or three: with more than six parts only
    one key or all parts are tried.
    """
    if len(parts) > 6:
        return ((".".join(parts),), tuple(parts))
    return tuple(_spell(tuple(parts)))


def _spell(parts: tuple[str, ...]) -> list[tuple[str, ...]]:
    if not parts:
        return [()]
    cuts = range(len(parts), 0, -1)
    return [(".".join(parts[:cut]), *rest) for cut in cuts for rest in _spell(parts[cut:])]


def _to_numbers(values: pa.ChunkedArray) -> Arrays:
    numbers = pc.fill_null(values.cast(pa.float64(), safe=False), np.nan)
    return (numbers.to_numpy(),)
