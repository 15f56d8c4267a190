"""What an inspection found, as people read it."""

from __future__ import annotations

from hffs.cli.inspection.figures import describe_example
from hffs.view.inspection.facts import Example


def test_examples() -> None:
    assert describe_example(Example(3, 0, {})) == "e.g. row 3"
    assert describe_example(Example(3, 1, {"a": "b"})) == "e.g. row 3 image 1: a b"
