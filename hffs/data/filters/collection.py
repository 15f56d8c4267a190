"""The filter on a column of names, classes or tags: which rows have one of the wanted values.

Owns what a value means to each kind of column, and the refusal of those that none can have. It
must not know other filters, or what becomes of the rows.
Invariants: null has no value; a list has each of its items'.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.data.columnarrays import Arrays, Reader, is_json, spell_keys
from hffs.data.metadata import ColumnPath, find_column, label_names
from hffs.data.source import Source, is_text
from hffs.errors import ConfigError

_KEY = "collection"
_COLUMN_KEY = "collection_column"

Value = str | int


def collection_reader(source: Source, wanted: Sequence[Value], path: str) -> Reader:
    """Reader of whether each row has one of these values: an array of bool.

    A class is wanted by its name or number. Text that is a whole number stands for it where the
    column has numbers: a flag can write it no other way. Raises ConfigError.
    """
    column = find_column(source, path, _COLUMN_KEY)
    if is_json(column):
        return _json_reader(column, wanted)
    kind = column.type
    if pa.types.is_large_list(kind) and not column.inner:
        kind = kind.value_type
    names = label_names(source.schema, column)
    if column.inner or not (is_text(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind)):
        why = f"it leads to {column.type}"
        fix = "name a column of text, whole numbers or classes"
        raise ConfigError(f"cannot use {_COLUMN_KEY}", path, why=why, fix=fix)
    if is_text(kind):
        values = [_require_text(value, path) for value in wanted]
        return Reader(column, _matcher(pa.array(values, pa.large_string())))
    if pa.types.is_null(kind):
        return Reader(column, lambda nulls: (np.zeros(len(nulls), np.bool_),))
    numbers = [_require_number(value, path, names) for value in wanted]
    return Reader(column, _matcher(_fitting(numbers, kind)))


def _require_text(value: Value, path: str) -> str:
    if isinstance(value, int):
        why = f"it is a number, and {path} holds text"
        raise ConfigError(f"cannot use {_KEY}", str(value), why=why, fix=f'write it as "{value}"')
    return value


def _require_number(value: Value, path: str, names: tuple[str, ...] | None) -> int:
    if isinstance(value, int):
        return value
    if names is not None and value in names:
        return names.index(value)
    if _is_whole(value):
        return int(value)
    why = f"it is text, and {path} holds whole numbers"
    if names is None:
        raise ConfigError(f"cannot use {_KEY}", value, why=why, fix="name a column of text")
    near = difflib.get_close_matches(value, names, 1)
    hint = f"did you mean {near[0]}? " if near else ""
    fix = f"{hint}classes: {', '.join(names)}"
    raise ConfigError(f"cannot use {_KEY}", value, why=f"{path} has no such class", fix=fix)


def _is_whole(text: str) -> bool:
    """Whether a text is a number of at most 64 bits as it would be written, no `05` or `+5`."""
    digits = text.removeprefix("-")
    return len(digits) < 20 and digits.isascii() and digits.isdigit() and str(int(text)) == text


def _fitting(numbers: Sequence[int], kind: pa.DataType) -> pa.Array:
    """Those of these numbers that the type can hold, as it holds them."""
    bits = kind.bit_width - pa.types.is_signed_integer(kind)
    least = -(1 << bits) if pa.types.is_signed_integer(kind) else 0
    return pa.array([number for number in numbers if least <= number < 1 << bits], kind)


def _json_reader(column: ColumnPath, wanted: Sequence[Value]) -> Reader:
    numbers = {f"n{value}" for value in wanted if isinstance(value, int) or _is_whole(value)}
    texts = {f"t{value}" for value in wanted if isinstance(value, str)}
    match = _matcher(pa.array(sorted(numbers | texts), pa.large_string()))
    ways = spell_keys(column.inner)

    def read(values: pa.ChunkedArray) -> Arrays:
        # Late: without JSON nobody waits for DuckDB to load.
        from hffs.data.jsontext import read_json_scalars

        tagged = read_json_scalars(values, ways)
        return match(tagged.cast(pa.large_list(pa.large_string())))

    return Reader(column, read, slow_to_ask=True)


def _matcher(wanted: pa.Array) -> Callable[[pa.ChunkedArray], Arrays]:
    """Whether each value of an array, or an item of each of its lists, is one of `wanted`."""

    def match(values: pa.ChunkedArray) -> Arrays:
        found = [_match(chunk, wanted) for chunk in values.chunks]
        return (np.concatenate([np.zeros(0, np.bool_), *found]),)

    return match


def _match(values: pa.Array, wanted: pa.Array) -> NDArray[np.bool_]:
    if pa.types.is_large_list(values.type):
        return _any_item(values, _match(values.values, wanted))
    found: NDArray[np.bool_]
    if pa.types.is_dictionary(values.type):
        among: NDArray[np.bool_] = np.append(_match(values.dictionary, wanted), False)
        found = among[values.indices.cast(pa.int64()).fill_null(len(among) - 1).to_numpy()]
        return found
    same = wanted.cast(values.type)
    found = pc.is_in(values, value_set=same).to_numpy(zero_copy_only=False)
    return found


def _any_item(lists: pa.Array, matches: NDArray[np.bool_]) -> NDArray[np.bool_]:
    before = np.append(0, np.cumsum(matches))
    bounds = lists.offsets.to_numpy()
    valid = lists.is_valid().to_numpy(zero_copy_only=False)
    found: NDArray[np.bool_] = (before[bounds[1:]] > before[bounds[:-1]]) & valid
    return found
