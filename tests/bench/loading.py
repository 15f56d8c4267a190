"""An epoch of `hffs.train` over a mount beside the same files on the local disk.

    .venv/bin/python -m tests.bench.loading [--rounds 7] [--files 1000] [--json FILE]

Photos of 60 to 140 KB with captions, 512 pixels at the edge, which is also what they are trained
at: the folder has to keep up with decoding alone. In each round both take their turn, the order
changes; a figure is the median over rounds, a ratio the median of each round's own. *cold* is after
the kernel has dropped all that it keeps (as root only), *warm* the same again. The goal is 0.95.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.bench.access import Figures, drop_caches, render_table, turn
from tests.bench.access_folders import make_photos, open_folders
from tests.bench.machine import describe_machine

GOAL = 0.95


def load_epoch(folder: Path) -> float:
    """Images a second of an epoch, by its own clock: not of starting Python and torch."""
    command = [sys.executable, "-m", "tests.bench.loading_epoch", str(folder)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(told)


def run(
    folders: Mapping[str, Path], rounds: int, take: Callable[[Path], float] = load_epoch
) -> Figures:
    """Images a second of each folder in each round, cold (as root) and warm."""
    states = ["cold", "warm"] if os.geteuid() == 0 else ["warm"]
    figures: Figures = {state: {who: [] for who in folders} for state in states}
    for number in range(rounds):
        for who in turn(list(folders), number):
            for state in states:
                if state == "cold":
                    drop_caches(folders[who].parent)
                figures[state][who].append(take(folders[who]))
    return figures


def summarize(figures: Figures) -> dict[str, dict[str, float]]:
    """Median of each folder, and of how much of the disk's the mount has in the same round."""
    summary = {}
    for state, taken in figures.items():
        (disk, by_disk), (mount, by_mount) = taken.items()
        pairs = zip(by_mount, by_disk, strict=True)
        ratio = {f"{mount} / {disk}": statistics.median(one / other for one, other in pairs)}
        summary[state] = {who: statistics.median(rates) for who, rates in taken.items()} | ratio
    return summary


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    photos, machine = make_photos(options.files), describe_machine()
    with (
        tempfile.TemporaryDirectory() as base,
        open_folders(Path(base), photos, ["hffs"]) as folders,
    ):
        figures = run(folders, options.rounds)
    summary = summarize(figures)
    print(json.dumps(machine | {"load": os.getloadavg()}))
    print(f"{options.files} photos, {options.rounds} rounds, images a second; the goal is {GOAL}")
    print(render_table(summary))
    if options.json:
        told = {"machine": machine, "medians": summary, "rounds": figures}
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
