"""How long whole commands take, from the start of Python to the exit code: `python -m
tests.bench.start [--rounds N] [--json FILE]`.

Owns what is started, and the floor beside it: Python alone, and with the parser of command lines.
All files are warm and all modules compiled, since one round goes before those that count. Beside
each wall time is the time of the processors, which a busy machine changes less; of a mount that is
what the command itself took and not its daemon, but for what both take together until it answers.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.memory import read_ticks_s, write_rows
from tests.command import Hffs

GOALS_S = {"hffs --help": 0.2, "hffs ls": 0.3, "mount of a known view": 0.5}
ROWS = 1000


@dataclass(frozen=True, slots=True)
class Taken:
    """Of one run: how long it took, and what all its processes did meanwhile."""

    wall_s: float
    cpu_s: float


def measure(rounds: int) -> dict[str, float]:
    """Median seconds of whole commands."""
    runs = run(rounds)
    return {name: statistics.median(each.wall_s for each in runs[name]) for name in runs}


def run(rounds: int) -> dict[str, list[Taken]]:
    """Every command so many times, in turn, by name."""
    runs: dict[str, list[Taken]] = {}
    with tempfile.TemporaryDirectory() as base:
        source = Path(base, "photos.parquet")
        write_rows(source, ROWS)
        for number in range(rounds + 1):
            for name, taken in _run_once(Path(base), source):
                if number:
                    runs.setdefault(name, []).append(taken)
    return runs


def _run_once(base: Path, source: Path) -> Iterator[tuple[str, Taken]]:
    hffs, folder = Hffs.below(base / "own", forks=False), base / "mnt"
    folder.mkdir(exist_ok=True)
    yield "python -c pass", _time(lambda: _python(hffs, "-c", "pass"))
    yield "import click", _time(lambda: _python(hffs, "-c", "import click"))
    yield "hffs --help", _time(lambda: hffs("--help"))
    yield "hffs ls", _time(lambda: hffs("ls"))
    with _mounted(hffs, source, folder) as taken:
        yield "first mount", taken
    with _mounted(hffs, source, folder) as taken:
        yield "mount of a known view", taken
        yield "hffs ls of a mount", _time(lambda: hffs("ls"))
        yield "umount", _time(lambda: hffs("umount", folder))
    shutil.rmtree(base / "own")


def _python(hffs: Hffs, *arguments: str) -> None:
    subprocess.run([sys.executable, *arguments], env=hffs.environ, check=True)


@contextmanager
def _mounted(hffs: Hffs, source: Path, folder: Path) -> Iterator[Taken]:
    """A mount for the block, and what it took; the block may end it."""
    taken = _time(lambda: hffs("mount", source, folder))
    try:
        yield Taken(taken.wall_s, taken.cpu_s + read_ticks_s(hffs.pid(folder)))
    finally:
        if os.path.ismount(folder):
            hffs("umount", "--force", folder)


def _time(command: Callable[[], object]) -> Taken:
    before, start_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command()
    wall_s, after = time.perf_counter() - start_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    used_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(wall_s, used_s)


def render_table(runs: dict[str, list[Taken]]) -> str:
    """A line a command."""
    lines = [f"{'':<24}{'wall s':>8}{'least':>8}{'CPU s':>8}{'goal':>8}"]
    for name, taken in runs.items():
        walls = [each.wall_s for each in taken]
        cpu_s = statistics.median(each.cpu_s for each in taken)
        goal = f"{GOALS_S[name]:.1f}" if name in GOALS_S else ""
        line = f"{name:<24}{statistics.median(walls):>8.3f}{min(walls):>8.3f}{cpu_s:>8.3f}"
        lines.append(f"{line}{goal:>8}".rstrip())
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    runs = run(options.rounds)
    print(render_table(runs))
    if options.json:
        told = {
            name: {
                "wall_s": [each.wall_s for each in taken],
                "cpu_s": [each.cpu_s for each in taken],
            }
            for name, taken in runs.items()
        }
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
