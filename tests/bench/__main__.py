"""The benchmark suite: hffs beside its peers, line by line, with a verdict on each goal.

    .venv/bin/python -m tests.bench [LINE ...] [--quick] [--rounds N] [--json FILE] [--write]

Owns which lines run, what is written where, and what becomes of a line that fails: the others go
on, and the command fails at the end. A goal that is missed is a verdict, no failure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from tests.bench import plots
from tests.bench.lines import LINES
from tests.bench.machine import ROOT, LeftOutError, describe_machine
from tests.bench.report import (
    FILES_PLOT,
    GOALS_PLOT,
    Results,
    as_json,
    as_text,
    mark_down,
    replace_between,
)
from tests.bench.sizes import FULL, QUICK, Sizes
from tests.bench.verdicts import Goal, Outcome, Unit, Verdict

JSON = ROOT / "build/bench.json"
DOCUMENT = ROOT / "docs/performance.md"
_FAILURES = (
    OSError, AssertionError, SystemExit, RuntimeError, ValueError, LookupError,
    subprocess.SubprocessError,
)  # fmt: skip


def run_lines(names: Sequence[str], sizes: Sizes) -> tuple[dict[str, Outcome], list[str]]:
    """What each line comes to, and which have failed."""
    outcomes: dict[str, Outcome] = {}
    failed = []
    with tqdm(names, disable=None, unit="line", file=sys.stderr) as bar:
        for name in bar:
            bar.set_description(name)
            started = time.perf_counter()
            try:
                outcome = LINES[name].measure(sizes, bar.set_postfix_str)
            except (LeftOutError, ModuleNotFoundError) as error:
                outcome = _leave_out(name, str(error))
            except _FAILURES as error:
                traceback.print_exc()
                failed.append(name)
                outcome = _leave_out(name, f"it failed: {str(error) or type(error).__name__}")
            outcome.seconds = time.perf_counter() - started
            outcomes[name] = outcome
    return outcomes, failed


def _leave_out(name: str, why: str) -> Outcome:
    lines = why.strip().splitlines() or ["no reason is known"]
    goal = Goal("-", 1)
    verdict = Verdict(name, LINES[name].about, goal, Unit(""), left_out=lines[-1])
    return Outcome([verdict])


def draw(results: Results, folder: Path) -> dict[str, str]:
    """Draw what there is to draw; addresses from beside the folder, by title."""
    drawn = {}
    files = results.outcomes.get("files")
    if files and files.tables:
        plots.draw_rates(files.tables[0], folder / FILES_PLOT)
        drawn[files.tables[0].title] = f"{folder.name}/{FILES_PLOT}"
    plots.draw_goals(results.verdicts, folder / GOALS_PLOT)
    drawn["How many times each goal is reached"] = f"{folder.name}/{GOALS_PLOT}"
    return drawn


def write_document(results: Results, document: Path) -> None:
    """Put the results into the document, and the pictures into `images` beside it."""
    text = mark_down(results, draw(results, document.parent / "images"))
    document.write_text(replace_between(document.read_text(), text))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run lines, print the verdicts and write what was asked for; 1 if a line has failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("lines", nargs="*", metavar="LINE", help=", ".join(LINES))
    parser.add_argument("--quick", action="store_true", help="rough figures within five minutes")
    parser.add_argument("--rounds", type=int, help="instead of each line's own number")
    parser.add_argument("--json", type=Path, default=JSON, help="where all figures go")
    parser.add_argument("--write", action="store_true", help=f"into {DOCUMENT.name}, with plots")
    options = parser.parse_args(arguments)
    if unknown := set(options.lines) - set(LINES):
        parser.error(f"no such line: {', '.join(sorted(unknown))}; there are {', '.join(LINES)}")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds: at least one")
    sizes = QUICK if options.quick else FULL
    if options.rounds:
        sizes = sizes.with_rounds(options.rounds)
    names = [name for name in LINES if name in (options.lines or LINES)]
    machine = describe_machine()
    outcomes, failed = run_lines(names, sizes)
    about = {name: LINES[name].about for name in names}
    results = Results(machine, options.quick, outcomes, about)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(results), indent=2) + "\n")
    if options.write:
        write_document(results, DOCUMENT)
    sys.stdout.write(as_text(results) + "\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
