"""Each promise of docs/security.md names what holds it, and that is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/security.md").read_text()


def test_every_test_that_is_named_is_there() -> None:
    named = re.findall(r"`(tests/[\w/]+(?:\.py)?)(?:::(\w+))?`", TEXT)
    assert len(named) > 15
    gone = [path for path, _ in named if not (ROOT / path).exists()]
    gone += [
        name for path, name in named if name and f"def {name}(" not in (ROOT / path).read_text()
    ]
    assert gone == []


def test_every_promise_names_one() -> None:
    promised = TEXT.partition("## What is promised")[2].partition("## What is not")[0]
    promises = re.split(r"\n\n(?=\*\*)", promised.strip())
    assert len(promises) > 8
    # The last says of itself which tests hold it.
    assert [one[:40] for one in promises[:-1] if "`tests/" not in one] == []
