"""The column that puts each row into a folder: one label a row, as text.

Owns which columns can name folders and how their values read; what a folder is called is
`hffs.core.foldernames`. It must not know positions or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.data.metadata import find_column, label_names, read_columns
from hffs.data.source import Source
from hffs.errors import ConfigError

MAX_GROUPS = 1 << 16
"""Folders of one view; a column with more values is hardly one of classes."""

_KEY = "group_by"


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """`labels[codes[i]]` is the label of row i of the source; code -1 where it has none (null)."""

    labels: tuple[str, ...]
    codes: NDArray[np.int32]


def read_groups(source: Source, path: str) -> Groups:
    """Labels of all rows, in the order of the text; ConfigError for a column that has none."""
    column = find_column(source, path, _KEY)
    if column.inner or not _can_label(column.type):
        fix = "name a ClassLabel or a column of text"
        raise ConfigError(f"cannot use {_KEY}", path, why=f"it holds {column.type}", fix=fix)
    values = column.take_from(read_columns(source, [column.column])).combine_chunks()
    names = label_names(source.schema, column)
    if names is not None:
        values = _name_labels(values, names)
    encoded = pc.dictionary_encode(values.cast(pa.large_string()))
    if len(encoded.dictionary) > MAX_GROUPS:
        why = f"it has {len(encoded.dictionary)} values, and a view at most {MAX_GROUPS} folders"
        raise ConfigError(f"cannot use {_KEY}", path, why=why, fix="name a column of classes")
    return _sort(encoded)


def _can_label(kind: pa.DataType) -> bool:
    checks = (pa.types.is_large_string, pa.types.is_integer, pa.types.is_boolean)
    return any(check(kind) for check in checks)


def _name_labels(values: pa.Array, names: tuple[str, ...]) -> pa.Array:
    """Names of a ClassLabel's numbers; a number that has none (`datasets` writes -1) is null."""
    known = pc.and_(pc.greater_equal(values, 0), pc.less(values, len(names)))
    places = pc.if_else(known, values, None)
    return pa.array(names, pa.large_string()).take(places)


def _sort(encoded: pa.DictionaryArray) -> Groups:
    labels = [_read_text(label) for label in encoded.dictionary.cast(pa.large_binary()).to_pylist()]
    # Texts that are no UTF-8 may read alike: they are one label.
    distinct = sorted(set(labels))
    places = {label: place for place, label in enumerate(distinct)}
    ranks = np.array([*(places[label] for label in labels), -1], np.int32)
    codes = pc.fill_null(encoded.indices, len(labels)).to_numpy(zero_copy_only=False)
    return Groups(tuple(distinct), ranks[codes])


def _read_text(label: bytes) -> str:
    return label.decode("utf-8", "replace")  # a shard's text need not be UTF-8
