"""What listing a folder of very many names takes: the first time, and again.

    .venv/bin/python -m tests.bench.listing [--names 1000000] [--rounds 3] [--json FILE]

Tiny JPEGs with captions, two names a row, in Parquet. A round is a new mount, the names by
`os.listdir` in a process of its own, and the same by another process. Requests are what the daemon
itself has counted, by its control socket, which asks nothing of the file system.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from hffs.mount.observing.asking import ask_status
from tests.bench.machine import LeftOutError, Say, be_quiet
from tests.bench.portable import write_shards
from tests.command import Hffs

MOUNT_S = 600.0
_LIST = """
import os, sys, time
started = time.perf_counter()
count = len(os.listdir(sys.argv[1]))
print(count / (time.perf_counter() - started), count)
"""


def list_names(folder: Path, expected: int) -> float:
    """Names a second of a listing by a fresh process, whose start does not count."""
    command = [sys.executable, "-c", _LIST, str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    rate, count = done.stdout.split()
    if int(count) != expected:
        raise SystemExit(f"{folder} has {count} names, not {expected}")
    return float(rate)


def count_requests(socket: Path) -> dict[str, int]:
    """How many requests of each kind a daemon has had. Raises LeftOutError where it is mute."""
    status = ask_status(socket)
    if status is None:
        raise LeftOutError("the daemon does not tell its counters")
    return {kind: told["count"] for kind, told in status["requests"].items()}


def run_round(hffs: Hffs, source: Path, folder: Path, names: int) -> dict[str, float]:
    """A new mount, listed twice: names a second, and requests that each listing took."""
    folder.mkdir(exist_ok=True)
    hffs("mount", source, folder, timeout_s=MOUNT_S)
    try:
        described = hffs.describe(folder)
        if not described or not described["socket"]:
            raise LeftOutError("the mount has no control socket")
        socket, told = Path(described["socket"]), dict[str, float]()
        for name in ("first", "again"):
            before = count_requests(socket)
            told[f"{name}, /s"] = list_names(folder, names)
            after = count_requests(socket)
            asked = sum(after.values()) - sum(before.values())
            told[f"{name}, requests"] = asked
        return told
    finally:
        hffs("umount", "--force", folder)


def run(base: Path, names: int, rounds: int, say: Say = be_quiet) -> dict[str, float]:
    """Medians of the rounds."""
    (base / "set").mkdir()
    rows = names // 2
    say(f"writing {rows} rows")
    write_shards(base / "set", rows)
    hffs = Hffs.below(base, forks=False)
    told = []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        told.append(run_round(hffs, base / "set", base / "mnt", 2 * rows))
    return {key: statistics.median(each[key] for each in told) for key in told[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as base:
        told = run(Path(base), options.names, options.rounds)
    for name, figure in told.items():
        print(f"{name:<16}{figure:>14,.0f}")
    if options.json:
        options.json.write_text(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
