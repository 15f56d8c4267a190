"""Which one Arrow type many JSON values fit, found without building an array of them.

Owns the rules by which values join: those of pyarrow's inference, but bounded, whatever the values.
Knows nothing of where the values come from.
Invariant: `Shape.arrow_type` is either a type that `pa.array` takes every added value for, and that
Parquet can hold, or None.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pyarrow as pa

_MAX_NODES = 512
"""Fields and lists of a column: objects whose keys are data, not names, have no end of them."""

_MAX_DEPTH = 16
_INT64_MAX = (1 << 63) - 1
_FLOAT_EXACT = 1 << 53
"""Whole numbers beyond this are not all floats, so they do not join with any."""

_NUMBERS = {"int", "wide", "float"}


@dataclass(slots=True)
class _Node:
    kinds: set[str] = field(default_factory=set)
    fields: dict[str, _Node] = field(default_factory=dict)
    items: _Node | None = None


class Shape:
    """What all JSON values that were added have in common."""

    def __init__(self) -> None:
        self._root = _Node()
        self._nodes = 0
        self._fits = True

    def add(self, value: object) -> None:
        """Take one more value, as `json.loads` gives it."""
        # once there is no type there never will be: later values cost nothing
        self._fits = self._fits and self._join(self._root, value, _MAX_DEPTH)

    def arrow_type(self) -> pa.DataType | None:
        """The type of all values (of null if there is none); None where no type holds them."""
        return _find_type(self._root) if self._fits else None

    def _join(self, node: _Node, value: object, depth: int) -> bool:
        if value is None:
            return True
        node.kinds.add(_kind_of(value))
        if "none" in node.kinds or (len(node.kinds) > 1 and not node.kinds <= _NUMBERS):
            return False
        if isinstance(value, dict):
            return all(self._join_field(node, key, value[key], depth) for key in value)
        if isinstance(value, list):
            if node.items is None:
                node.items = self._make_node()
            items = node.items
            is_free = depth > 0 and self._nodes <= _MAX_NODES
            return is_free and all(self._join(items, item, depth - 1) for item in value)
        return True

    def _join_field(self, node: _Node, key: str, value: object, depth: int) -> bool:
        if key not in node.fields:
            node.fields[key] = self._make_node()
            if self._nodes > _MAX_NODES or not depth or not key or not _is_text(key):
                return False
        return self._join(node.fields[key], value, depth - 1)

    def _make_node(self) -> _Node:
        self._nodes += 1
        return _Node()


def _kind_of(value: object) -> str:
    if isinstance(value, dict):
        return "object"
    if isinstance(value, list):
        return "list"
    if isinstance(value, str):
        return "text" if _is_text(value) else "none"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return "float"
    if isinstance(value, int) and abs(value) <= _INT64_MAX:
        return "int" if abs(value) <= _FLOAT_EXACT else "wide"
    return "none"


def _is_text(text: str) -> bool:
    """Whether it can be written: JSON may hold half of a surrogate pair."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)


def _find_type(node: _Node) -> pa.DataType | None:
    if not node.kinds:
        return pa.null()
    if "object" in node.kinds:
        found = {name: _find_type(inner) for name, inner in node.fields.items()}
        # Parquet has no struct without fields
        return pa.struct(found) if found and None not in found.values() else None
    if "list" in node.kinds:
        items = pa.null() if node.items is None else _find_type(node.items)
        return None if items is None else pa.list_(items)
    if node.kinds <= _NUMBERS:
        if "float" not in node.kinds:
            return pa.int64()
        return None if "wide" in node.kinds else pa.float64()
    return pa.bool_() if "bool" in node.kinds else pa.string()
