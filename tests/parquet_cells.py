"""Random cells of an image column, and the slots that Parquet makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa
from hypothesis import strategies as st

Slot = tuple[int, int, int, bytes | None]
"""Row, item, definition level and bytes."""

Cell: TypeAlias = "bytes | dict[str, Cell] | list[Cell] | None"


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind))


def shred(field: pa.Field, cell: Any, level: int = 0) -> Iterator[tuple[int, bytes | None]]:
    """Definition level and value of each slot of a cell, from the definition in the Dremel paper.

    Follows the first field of a struct.
    """
    if field.nullable:
        if cell is None:
            yield level, None
            return
        level += 1
    if _is_list(field.type):
        if not cell:
            yield level, None
        for item in cell:
            yield from shred(field.type.value_field, item, level + 1)
    elif pa.types.is_struct(field.type):
        yield from shred(field.type.field(0), cell[field.type.field(0).name], level)
    else:
        yield level, cell.encode() if isinstance(cell, str) else cell


def expected(field: pa.Field, rows: Sequence[Any]) -> list[Slot]:
    return [
        (number, item, level, value)
        for number, cell in enumerate(rows)
        for item, (level, value) in enumerate(shred(field, cell))
    ]


def image_type(nullable: bool) -> pa.DataType:
    return pa.struct([pa.field("bytes", pa.binary(), nullable), pa.field("path", pa.string())])


def cells(field: pa.Field) -> st.SearchStrategy[Any]:
    """Random cells of a field; null only where that is allowed."""
    if _is_list(field.type):
        own: st.SearchStrategy[Any] = st.lists(cells(field.type.value_field), max_size=4)
    elif pa.types.is_struct(field.type):
        own = st.fixed_dictionaries({each.name: cells(each) for each in field.type})
    elif pa.types.is_string(field.type):
        own = st.just("a.jpg")
    else:
        own = st.binary(max_size=12)
    return st.none() | own if field.nullable else own


def types(*more: pa.DataType) -> st.SearchStrategy[pa.DataType]:
    """Types whose first leaf is bytes, alone or in lists; `more` are other leaves."""
    leaf = st.sampled_from([pa.binary(), image_type(True), image_type(False), *more])
    item = st.builds(pa.field, st.just("element"), leaf, nullable=st.booleans())
    lists = item.map(pa.list_)
    outer = st.builds(pa.field, st.just("element"), lists, nullable=st.booleans())
    return st.one_of(leaf, lists, outer.map(pa.list_))
