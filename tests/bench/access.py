"""A mount of hffs beside the same files on the local disk and other FUSE file systems.

    .venv/bin/python -m tests.bench.access [PATTERN ...] [--rounds 5] [--files 2000] [--json FILE]

Photos of 60 to 140 KB with captions, in one folder. Contenders take turns, the order moves on by
one each round; figures are medians, and ratios those of the medians. *cold* is after the kernel has
dropped all that it keeps (as root only), *warm* the same again. `epoch` is a training epoch: a
torch DataLoader with two workers that decodes and resizes to 224 pixels.
"""

from __future__ import annotations

import argparse
import functools
import json
import mmap
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from tests.bench.access_folders import make_photos, open_folders
from tests.bench.machine import Say, be_quiet, describe_machine, find_program

AHEAD = 16
"""Files that are asked for before they are read."""

BUFFER_BYTES = 1 << 20
_LARGE_BYTES = 1 << 20
_MOST_CACHED = 0.1
Figures = dict[str, dict[str, list[float]]]
"""Things a second of each round: by pattern, then by contender."""


@dataclass(frozen=True, slots=True)
class Work:
    """A folder to be read, and the photos in it in order."""

    folder: Path
    names: Sequence[str]

    def path(self, name: str) -> str:
        return f"{self.folder}/{name}"

    def takes(self, pattern: str) -> bool:
        """Whether a pattern can be run here."""
        return bool(pattern)

    def read(self, names: Sequence[str]) -> None:
        """Read some of the photos, each whole."""
        for name in names:
            with open(self.path(name), "rb") as file:
                file.read()

    def shuffled(self, seed: int) -> list[str]:
        """All names in another order, the same for every contender."""
        names = list(self.names)
        random.Random(seed).shuffle(names)  # noqa: S311 - an order, no secret
        return names


def list_again(work: Work) -> int:
    return sum(len(os.listdir(work.folder)) for _ in range(65))


def list_long(work: Work) -> int:
    subprocess.run(["ls", "-l", work.folder], check=True, stdout=subprocess.DEVNULL)
    return 2 * len(work.names)


def ask_existing(work: Work) -> int:
    for name in work.shuffled(1):
        os.stat(work.path(name))
        os.stat(work.path(name.replace("jpg", "txt")))
    return 2 * len(work.names)


def ask_missing(work: Work) -> int:
    missing = ("bbox", "npz")
    for name in work.shuffled(2):
        for extension in missing:
            os.access(work.path(name.replace("jpg", extension)), os.F_OK)
    return len(missing) * len(work.names)


def read_by_threads(work: Work) -> int:
    threads = 12
    names = work.shuffled(3)
    with ThreadPoolExecutor(threads) as pool:
        for done in [pool.submit(work.read, names[n::threads]) for n in range(threads)]:
            done.result()
    return len(names)


def read_in_order(readers: int, work: Work) -> int:
    """Processes, as the workers of a loader are: each takes every so many-th file."""
    children = []
    for number in range(readers):
        child = os.fork()
        if child == 0:
            _read_and_end(work, work.names[number::readers])
        children.append(child)
    if any(os.waitpid(child, 0)[1] for child in children):
        raise SystemExit("a reader has failed")
    return len(work.names)


def _read_and_end(work: Work, names: Sequence[str]) -> NoReturn:
    """What a forked reader does; whatever happens, it never comes back as a second parent."""
    code = 1
    try:
        work.read(names)
        code = 0
    finally:
        os._exit(code)


def map_whole(work: Work) -> int:
    for name in work.names:
        with (
            open(work.path(name), "rb") as file,
            mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped,
        ):
            mapped[:]
    return len(work.names)


def read_direct(work: Work) -> int:
    buffer = mmap.mmap(-1, BUFFER_BYTES)
    for name in work.names:
        file = os.open(work.path(name), os.O_RDONLY | os.O_DIRECT)
        os.readv(file, [buffer])
        os.close(file)
    return len(work.names)


def send_whole(work: Work) -> int:
    with open(os.devnull, "wb") as sink:
        for name in work.names:
            with open(work.path(name), "rb") as file:
                os.sendfile(sink.fileno(), file.fileno(), 0, BUFFER_BYTES)
    return len(work.names)


def read_ahead(work: Work) -> int:
    """In a random order, each file told to the kernel some files before it is read."""
    names, waiting = work.shuffled(4), list[int]()
    for number in range(len(names) + AHEAD):
        if number < len(names):
            file = os.open(work.path(names[number]), os.O_RDONLY)
            os.posix_fadvise(file, 0, 0, os.POSIX_FADV_WILLNEED)
            waiting.append(file)
        if number >= AHEAD:
            file = waiting.pop(0)
            os.read(file, BUFFER_BYTES)
            os.close(file)
    return len(names)


def train_epoch(work: Work) -> float:
    """Images a second of an epoch, by its own clock: not of starting Python and torch."""
    command = [sys.executable, "-m", "tests.bench.access_training", str(work.folder)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(told)


PATTERNS: Mapping[str, Callable[[Work], int]] = {
    "65 listings, names": list_again,
    "ls -l, names": list_long,
    "stat, names": ask_existing,
    "stat of what is missing": ask_missing,
    "12 threads, random order": read_by_threads,
    "1 reader": functools.partial(read_in_order, 1),
    "4 readers": functools.partial(read_in_order, 4),
    "mmap": map_whole,
    "O_DIRECT": read_direct,
    "sendfile": send_whole,
    "fadvise ahead": read_ahead,
}
EPOCH = "epoch"


def measure(pattern: Callable[[Work], int], work: Work) -> float:
    """Things a second."""
    started = time.perf_counter()
    count = pattern(work)
    return count / (time.perf_counter() - started)


def drop_caches(folder: Path) -> None:
    """Have the kernel keep nothing of any file.

    SystemExit if much of a large file in a folder is still in memory: what a process has mapped
    stays, and "cold" reads of it would be warm.
    """
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3")
    for path in folder.iterdir():
        is_large = path.is_file() and path.stat().st_size > _LARGE_BYTES
        if is_large and (share := find_cached_share(path)) > _MOST_CACHED:
            raise SystemExit(f"{path.name} is not cold: {share:.0%} of it are in memory")


def find_cached_share(path: Path) -> float:
    """How much of a file is in memory."""
    command = [find_program("fincore"), "--bytes", "--noheadings", "--output", "RES", str(path)]
    told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return int(told) / path.stat().st_size


def turn(names: Sequence[str], number: int) -> list[str]:
    """Whose turn it is in a round, in order."""
    first = number % len(names)
    return [*names[first:], *names[:first]]


def run(
    works: Mapping[str, Work], patterns: Sequence[str], rounds: int, say: Say = be_quiet
) -> Figures:
    """What each contender does in each pattern, cold (as root) and warm."""
    figures: Figures = {}

    def note(name: str, contender: str, figure: float) -> None:
        figures.setdefault(name, {}).setdefault(contender, []).append(figure)

    for number in range(rounds):
        for pattern in patterns:
            able = [who for who, work in works.items() if work.takes(pattern)]
            for contender in turn(able, number):
                work = works[contender]
                say(f"{contender}, {pattern}, round {number + 1} of {rounds}")
                take = functools.partial(_take, pattern, work)
                if os.geteuid() == 0:
                    drop_caches(work.folder.parent)
                    note(f"{pattern}, cold", contender, take())
                else:
                    take()
                note(f"{pattern}, warm", contender, take())
    return figures


def _take(pattern: str, work: Work) -> float:
    return train_epoch(work) if pattern == EPOCH else measure(PATTERNS[pattern], work)


def summarize(figures: Figures) -> dict[str, dict[str, float]]:
    """Median of each contender, and how much of each other's hffs has."""
    summary = {}
    for name, contenders in figures.items():
        medians = {who: statistics.median(taken) for who, taken in contenders.items()}
        ratios = {
            f"hffs / {who}": medians["hffs"] / figure
            for who, figure in medians.items()
            if who != "hffs"
        }
        summary[name] = medians | ratios
    return summary


def render_table(summary: Mapping[str, Mapping[str, float]]) -> str:
    """A line a pattern: things a second, and ratios."""
    columns = list(next(iter(summary.values())))
    widths = [max(len(column), 9) for column in columns]
    head = "  ".join(column.rjust(width) for column, width in zip(columns, widths, strict=True))
    lines = [" " * 30 + head]
    for name, row in summary.items():
        cells = [
            _show(row.get(column), column).rjust(width)
            for column, width in zip(columns, widths, strict=True)
        ]
        lines.append(name.ljust(30) + "  ".join(cells))
    return "\n".join(lines)


def _show(figure: float | None, column: str) -> str:
    if figure is None:
        return "-"
    return f"{figure:.2f}" if "/" in column else f"{figure:,.0f}"


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("patterns", nargs="*", metavar="PATTERN", help="a part of a pattern's name")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    known = [*PATTERNS, EPOCH]
    wanted = [name for name in known if any(part in name for part in options.patterns or [""])]
    if not wanted:
        parser.error(f"no such pattern; there are: {', '.join(known)}")
    photos = make_photos(options.files)
    names = [f"{number}.jpg" for number in range(options.files)]
    machine = describe_machine()
    with tempfile.TemporaryDirectory() as base, open_folders(Path(base), photos) as folders:
        works = {who: Work(folder, names) for who, folder in folders.items()}
        figures = run(works, wanted, options.rounds)
    summary = summarize(figures)
    mean = sum(map(len, photos)) / len(photos) / 1000
    print(json.dumps(machine))
    print(f"{options.files} photos of {mean:.0f} KB, {options.rounds} rounds, things a second")
    print(render_table(summary))
    if options.json:
        told = {"machine": machine, "medians": summary, "rounds": figures}
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
