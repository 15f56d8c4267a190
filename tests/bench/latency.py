"""How long a file that passes through takes to read while all cores render others of its mount.

    .venv/bin/python -m tests.bench.latency [--rounds 5] [--json FILE]

One view with two kinds of rows: JPEGs, which pass through, and PNGs, which become JPEGs when they
are first read. Four processes read PNGs that were never read, so that every core renders; another
reads every few milliseconds a JPEG that was not read before, and times open and read. In turn with
each it does two other things, which show what the busy host alone costs: *disk*, the same JPEG of
a folder on the local disk, for which no other process is waited for; and *echo*, a byte to and fro
as often as a file takes requests, by a process that does nothing else, so that each time two
processes wait for a core. A round has a mount and a disk cache of its own; files are in the page
cache, since this is no measure of disks. Figures are medians of the rounds.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import os
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tests.bench.access_folders import SIDE_PX, make_photos, open_hffs, write_photos
from tests.bench.machine import describe_machine

JPEGS, PNGS = 900, 400
READERS = 4
PAUSE_S = 0.002
"""Between two reads of the process that is timed."""

REQUESTS = 5
"""Of a file that is opened and read by Python: lookup, open, ioctl, read, flush or read."""

IDLE_READS = 150
"""Of the JPEGs, before rendering begins."""

_BASES = 16
Times = dict[str, list[float]]
"""Seconds of each read, by where the file was."""

Contenders = dict[str, Callable[[str], object]]
"""What is timed, with the name of a file."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A view's source on the disk: JPEGs come first, then PNGs."""

    base: Path
    jpegs: int
    pngs: int

    def jpeg_names(self) -> list[str]:
        return [f"{number}.jpg" for number in range(self.jpegs)]

    def png_names(self) -> list[str]:
        """Names in the mount of what was a PNG."""
        return [f"{self.jpegs + number}.jpg" for number in range(self.pngs)]


def make_pngs(count: int) -> list[bytes]:
    """Photos as PNGs, of some 450 KB; rows may have the same bytes, and are rendered each."""
    spec = importlib.util.find_spec("skimage")
    folders = list((spec and spec.submodule_search_locations) or [])
    with Image.open(Path(folders[0], "data/astronaut.png")) as opened:
        pixels = np.asarray(opened.convert("RGB").resize((SIDE_PX, SIDE_PX)))
    draw, bases = np.random.default_rng(1), list[bytes]()
    for _ in range(min(_BASES, count)):
        file = io.BytesIO()
        moved = np.roll(pixels, tuple(draw.integers(0, SIDE_PX, 2)), (0, 1))
        Image.fromarray(moved).save(file, "PNG")
        bases.append(file.getvalue())
    return [bases[number % len(bases)] for number in range(count)]


def write_rows(base: Path, jpegs: int, pngs: int) -> Rows:
    write_photos(base, make_photos(jpegs) + make_pngs(pngs))
    return Rows(base, jpegs, pngs)


def read_whole(path: Path) -> int:
    with open(path, "rb") as file:
        return len(file.read())


def start_readers(folder: Path, names: Sequence[str]) -> list[int]:
    """Processes that each read every so many-th file; their ids."""
    children = []
    for number in range(READERS):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                for name in names[number::READERS]:
                    read_whole(folder / name)
                code = 0
            finally:
                os._exit(code)
        children.append(child)
    return children


@contextmanager
def open_echo() -> Iterator[Callable[[str], object]]:
    """A process that sends back what it is sent, as often as a file takes requests."""
    ours, theirs = socket.socketpair()
    child = os.fork()
    if child == 0:
        ours.close()
        while byte := theirs.recv(1):
            theirs.send(byte)
        os._exit(0)
    theirs.close()

    def ask(_: str) -> None:
        for _number in range(REQUESTS):
            ours.send(b"?")
            ours.recv(1)

    try:
        yield ask
    finally:
        ours.close()
        os.waitpid(child, 0)


def probe(contenders: Contenders, names: Sequence[str], is_over: Callable[[], bool]) -> Times:
    """Do one thing after the other with each name, and time it."""
    times: Times = {label: [] for label in contenders}
    for name in names:
        for label, contend in contenders.items():
            time.sleep(PAUSE_S)  # as a trainer computes between two reads
            started = time.perf_counter()
            contend(name)
            times[label].append(time.perf_counter() - started)
        if is_over():
            break
    return times


def read_ticks() -> tuple[int, int]:
    """Ticks of all cores so far, and of these the idle ones."""
    with open("/proc/stat") as file:
        ticks = [int(word) for word in file.readline().split()[1:9]]
    return sum(ticks), ticks[3] + ticks[4]


class Readers:
    """The processes that have images rendered."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._left = set(start_readers(folder, names))

    def is_over(self) -> bool:
        """Whether all have ended; SystemExit if one has failed."""
        return not any([self._lives(child) for child in sorted(self._left)])

    def finish(self) -> None:
        for child in sorted(self._left):
            self._reap(child, 0)

    def _lives(self, child: int) -> bool:
        return not self._reap(child, os.WNOHANG)

    def _reap(self, child: int, options: int) -> bool:
        pid, status = os.waitpid(child, options)
        if pid:
            self._left.discard(child)
        if pid and status:
            raise SystemExit("a reader has failed")
        return pid != 0


def time_round(rows: Rows, base: Path) -> dict[str, float]:
    """The figures of one mount."""
    (base / "photos.parquet").hardlink_to(rows.base / "photos.parquet")
    jpegs, pngs = rows.jpeg_names(), rows.png_names()
    first, idle, disk = READERS, min(IDLE_READS, rows.jpegs // 3), rows.base / "folder"
    for name in jpegs:
        read_whole(disk / name)
    with open_echo() as echo, open_hffs(base) as folder:
        Readers(folder, pngs[:first]).finish()  # the processes that render are there from now on
        contenders: Contenders = {
            "": lambda name: read_whole(folder / name),
            "disk ": lambda name: read_whole(disk / name),
            "echo ": echo,
        }
        quiet = probe(contenders, jpegs[:idle], lambda: False)
        before, started = read_ticks(), time.perf_counter()
        readers = Readers(folder, pngs[first:])
        busy = probe(contenders, jpegs[idle:], readers.is_over)
        readers.finish()
        elapsed, after = time.perf_counter() - started, read_ticks()
    total, unused = (new - old for old, new in zip(before, after, strict=True))
    rate = {"rendered a second": (len(pngs) - first) / elapsed}
    share = {"busy share": 1 - unused / max(total, 1)}
    return rate | share | summarize(busy) | summarize(quiet, "idle ")


def summarize(found: Times, when: str = "") -> dict[str, float]:
    """Milliseconds of each contender."""
    return {
        f"{when}{label}p{percent} ms": 1000 * float(np.percentile(times, percent))
        for label, times in found.items()
        for percent in (50, 99)
    }


def measure(rounds: int) -> dict[str, float]:
    """Medians of the rounds: `p50 ms` and `p99 ms` of reads of the mount while it renders."""
    with tempfile.TemporaryDirectory() as made:
        rows = write_rows(Path(made), JPEGS, PNGS)
        found = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(dir=made) as base:
                found.append(time_round(rows, Path(base)))
    return {name: statistics.median(each[name] for each in found) for name in found[0]}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    figures = measure(asked.rounds)
    for name, value in figures.items():
        sys.stdout.write(f"{name:<20}{value:>9.2f}\n")
    if asked.json:
        kept = {"machine": describe_machine(), "figures": figures}
        asked.json.write_text(json.dumps(kept, indent=2) + "\n")


if __name__ == "__main__":
    main()
