"""What the memory of a daemon, as `tests.bench.memory` measures it, comes to: verdicts, a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.bench.verdicts import MEGABYTES, Goal, Outcome, Table, Verdict

BASE_MB, BYTES_A_ROW = 150, 40
ROWS = "rows"


def judge_memory(told: Sequence[Mapping[str, Any]]) -> Outcome:
    """A verdict for each number of rows, on the most that the daemon took in any epoch."""
    verdicts = []
    for each in told:
        rows = int(each[ROWS])
        bound = BASE_MB + BYTES_A_ROW * rows / 1e6
        goal = Goal(f"at most {bound:,.0f} MB", bound)
        peak = max(_list_bytes(each), default=None)
        ours = None if peak is None else peak / 1e6
        verdicts.append(Verdict("memory", f"{rows:,} rows", goal, MEGABYTES, ours))
    columns = [name for name in told[0] if name != ROWS] if told else []
    shown = [
        (f"{int(each[ROWS]):,} rows", [_show(each[name]) for name in columns]) for each in told
    ]
    table = Table("Memory of the daemon", columns, shown)
    return Outcome(verdicts, [table], {"memory": [dict(each) for each in told]})


def _list_bytes(told: Mapping[str, Any]) -> list[float]:
    """Every figure in bytes, those of single epochs too."""
    found = [value for name, value in told.items() if name.endswith("_bytes")]
    return [
        float(each) for value in found for each in (value if isinstance(value, list) else [value])
    ]


def _show(value: Any) -> float | str:
    return ", ".join(map(str, value)) if isinstance(value, list) else float(value)
