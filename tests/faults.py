"""What docs/operations.md says of faults, beside what tests saw of them.

A test that brought a fault about records what a reader saw, which has to be what the document says,
and how long it took until a reader had the right bytes again. With HFFS_MEASURE_FAULTS=1 the time
is written into the document.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

_DOCUMENT = Path(__file__).parents[1] / "docs/operations.md"
MEASURING = "HFFS_MEASURE_FAULTS"


def record(fault: str, seen: str, recovery_s: float | None = None) -> None:
    """A fault, what readers saw, and the time of recovery; None where nothing has to recover."""
    text = _DOCUMENT.read_text()
    row = re.search(rf"^\| {re.escape(fault)} \| {re.escape(seen)} \| (.*) \|$", text, re.MULTILINE)
    assert row, f"docs/operations.md does not say: | {fault} | {seen} |"
    if recovery_s is not None and os.environ.get(MEASURING) == "1":
        measured = f"{recovery_s:.1f} s" if recovery_s >= 0.1 else "under 0.1 s"
        _DOCUMENT.write_text(text[: row.start(1)] + measured + text[row.end(1) :])
