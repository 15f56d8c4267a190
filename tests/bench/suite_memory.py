"""What `tests.bench.memory` has measured of daemons comes to here: verdicts, and tables.

Owns the goals. Bytes are proportional set sizes: pages of the mapped source count too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from tests.bench.verdicts import MEGABYTES, SHARE, Goal, Outcome, Table, Verdict

BASE_MB, BYTES_A_ROW = 150, 40
FLAT = Goal("flat: the last epoch at most 1.05 of the first", 1.05)
_SIZE = re.compile(r"(.+) pss_bytes")
_EPOCH = re.compile(r"epoch \d+")
_BESIDES = {
    "first mount_s": "first mount, s",
    "known mount_s": "known mount, s",
    "filter and mount_s": "another filter, s",
    "kernel_bytes_per_name": "kernel, bytes a listed name",
    "kernel_bytes_per_file": "kernel, bytes a file that was read",
}
_A_ROW = "daemon, bytes a row"


def judge_memory(told: Sequence[Mapping[str, float]]) -> Outcome:
    """For each number of rows a verdict on the most that was taken, and on epochs being flat."""
    verdicts, shown, besides = [], [], []
    for each in told:
        rows, sizes = f"{int(each['rows']):,} rows", _find_sizes(each)
        bound = BASE_MB + BYTES_A_ROW * each["rows"] / 1e6
        goal = Goal(f"at most {bound:,.0f} MB", bound)
        epochs = [size for when, size in sizes.items() if _EPOCH.fullmatch(when)]
        peak, growth = max(sizes.values()), epochs[-1] / epochs[0]
        verdicts.append(Verdict("memory", f"{rows}, the most", goal, MEGABYTES, peak))
        verdicts.append(Verdict("memory", f"{rows}, {len(epochs)} epochs", FLAT, SHARE, growth))
        shown.append((rows, list(sizes.values())))
        besides.append((rows, [*map(each.get, _BESIDES), _bytes_a_row(told[0], each)]))
    columns = list(_find_sizes(told[0])) if told else []
    tables = [
        Table("Memory of the daemon and all that it started, MB", columns, shown),
        Table("Mounts, and memory for each name or row", [*_BESIDES.values(), _A_ROW], besides),
    ]
    return Outcome(verdicts, tables, {"memory": [dict(each) for each in told]})


def _bytes_a_row(fewest: Mapping[str, float], each: Mapping[str, float]) -> float | None:
    """What the most that a daemon took grew by for each row more than the fewest rows."""
    more = each["rows"] - fewest["rows"]
    grown_mb = max(_find_sizes(each).values()) - max(_find_sizes(fewest).values())
    return grown_mb * 1e6 / more if more else None


def _find_sizes(told: Mapping[str, float]) -> dict[str, float]:
    """Megabytes by when they were measured."""
    found = {name: _SIZE.fullmatch(name) for name in told}
    return {match[1]: told[name] / 1e6 for name, match in found.items() if match}
