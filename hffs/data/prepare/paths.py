"""Paths in a prepared table: relative to the data set's root, so that its folder may be moved.

Owns the rewriting of what `datasets` says. It looks at no file: whether a path leads out of the
root is for `hffs.data.cells.paths` to see.
"""

from __future__ import annotations

import os
from pathlib import Path

import pyarrow as pa

from hffs.data.source import is_binary, is_list, is_text

_CELL_FIELDS = {"bytes", "path"}


def shorten_path(path: str, root: Path) -> str:
    """A path relative to `root` where it begins with it, else as it is; links are not followed.

    >>> shorten_path("/data/cats/1.jpg", Path("/data"))
    'cats/1.jpg'
    >>> shorten_path("zip://1.jpg::/data/cats.zip", Path("/data"))
    'zip://1.jpg::cats.zip'
    """
    head, chain, archive = path.rpartition("::")
    folder = os.path.join(root, "")
    return head + chain + archive.removeprefix(folder) if archive.startswith(folder) else path


def shorten_cells(batch: pa.RecordBatch, root: Path) -> pa.RecordBatch:
    """`shorten_path` of every path in a cell `{bytes, path}`, at any depth."""
    columns = [_shorten(column, root) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _shorten(values: pa.Array, root: Path) -> pa.Array:
    kind = values.type
    if is_list(kind) and not pa.types.is_fixed_size_list(kind):
        inner = _shorten(values.values, root)
        if inner is values.values:
            return values
        # a copy, as pyarrow takes no nulls beside offsets that are a slice
        offsets = pa.array(values.offsets.to_numpy())
        mask = values.is_null() if values.null_count else None
        return type(values).from_arrays(offsets, inner, type=kind, mask=mask)
    if not pa.types.is_struct(kind):
        return values
    fields = [values.field(number) for number in range(kind.num_fields)]
    changed = (
        [_shorten_texts(field, root) for field in fields]
        if _is_cell(kind)
        else [_shorten(field, root) for field in fields]
    )
    if all(new is old for new, old in zip(changed, fields, strict=True)):
        return values
    return pa.StructArray.from_arrays(changed, fields=list(kind), mask=values.is_null())


def _is_cell(kind: pa.StructType) -> bool:
    return {field.name for field in kind} == _CELL_FIELDS and is_binary(kind.field("bytes").type)


def _shorten_texts(texts: pa.Array, root: Path) -> pa.Array:
    if not is_text(texts.type):
        return texts
    found = (text and shorten_path(text, root) for text in texts.to_pylist())
    return pa.array(list(found), texts.type)
