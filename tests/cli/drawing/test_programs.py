"""Facts as JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass

from hffs.cli.drawing.programs import as_json


@dataclass(frozen=True)
class _Facts:
    name: str
    counts: tuple[int, ...]


def test_one_entry_is_an_object_and_several_are_a_list() -> None:
    first, second = _Facts("é", (1, 2)), _Facts("b", ())
    assert json.loads(as_json([first])) == {"name": "é", "counts": [1, 2]}
    assert [each["name"] for each in json.loads(as_json([first, second]))] == ["é", "b"]
    assert as_json([first]).endswith("}\n")
