"""Where the time of a cold epoch goes: a flame graph of the daemon, and its functions by own time.

    .venv/bin/python -m tests.bench.profile [--files 2000] [--seconds 15] [--plot FILE]

Owns how the daemon is sampled. Photos are mounted, and four readers read them all again and again,
the kernel's caches dropped before each time (as root; else they are read once from a new mount),
while `py-spy record` samples the daemon with its threads and children. Every step has a limit:
py-spy can hang, and then what it has not written is left out, which is said.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.bench.access import Work, drop_caches, read_in_order
from tests.bench.access_folders import make_photos, write_photos
from tests.bench.machine import ROOT, LeftOutError, find_program
from tests.command import Hffs

PLOT = ROOT / "docs/images/cold-epoch.svg"
RATE_HZ = 100
READERS = 4
TOP = 20
_AFTER_S = 30
"""What py-spy has after its own time before it is given up."""

_WAYS: Sequence[Sequence[str]] = (("--native", "--subprocesses"), ("--subprocesses",), ())
"""Flags of py-spy, the most telling first: not each machine lets it do each."""


def record(pid: int, form: str, path: Path, seconds: int) -> Sequence[str]:
    """Have py-spy sample a process so long; the flags with which it did. Raises LeftOutError."""
    spy, why = find_program("py-spy"), ""
    for flags in _WAYS:
        command = [spy, "record", "--pid", str(pid), "--duration", str(seconds), "--nonblocking",
                   "--rate", str(RATE_HZ), "--format", form, "--output", str(path)]  # fmt: skip
        try:
            done = subprocess.run(
                [*command, *flags],
                capture_output=True,
                text=True,
                timeout=seconds + _AFTER_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            why = f"it hangs with {' '.join(flags) or 'no flag'}"
            continue
        if not done.returncode and path.exists() and path.stat().st_size:
            path.write_text(leave_out_paths(path.read_text()))
            return flags
        why = (done.stderr.strip().splitlines() or ["it has written nothing"])[-1]
    raise LeftOutError(f"py-spy cannot sample the daemon: {why}")


def leave_out_paths(drawn: str) -> str:
    """The same without the folders of this machine, and without the command that drew it."""
    drawn = re.sub(r"[^ \">]*py-spy record[^<]*", "py-spy record", drawn)
    return re.sub(
        rf"({re.escape(str(ROOT))}|{re.escape(tempfile.gettempdir())})[^ <&]*/?", "", drawn
    )


def sum_own_times(raw: Iterable[str]) -> Counter[str]:
    """Samples by the function that was running, out of lines `a;b;c COUNT`.

    >>> sum_own_times(["main (a.py:1);read (b.py:7) 3", "main (a.py:1);read (b.py:9) 2"])
    Counter({'read (b.py)': 5})
    """
    times: Counter[str] = Counter()
    for line in raw:
        stack, _, count = line.rstrip().rpartition(" ")
        name, _, number = stack.rpartition(";")[2].rpartition(":")
        plain = f"{name})" if number.rstrip(")").isdigit() else stack.rpartition(";")[2]
        times[plain] += int(count)
    return times


def show_times(times: Counter[str]) -> Iterable[str]:
    """Lines for people: the share of each function of all samples."""
    total = sum(times.values())
    yield f"{total} samples while threads were not idle"
    for name, count in times.most_common(TOP):
        yield f"{100 * count / total:5.1f} %  {name}"


@contextmanager
def reading(work: Work) -> Iterator[None]:
    """Epochs of some readers until the end of the block, each cold where that can be had."""
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if os.geteuid() == 0:
                drop_caches(work.folder.parent)
            read_in_order(READERS, work)

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(read)
        try:
            yield
        finally:
            stop.set()
        done.result()


def run(base: Path, files: int, seconds: int, plot: Path) -> Counter[str]:
    """Sample a mount of photos twice: for the picture, and for the sums, which are returned."""
    write_photos(base, make_photos(files))
    hffs, mountpoint, raw = Hffs.below(base, forks=False), base / "mnt", base / "raw.txt"
    mountpoint.mkdir()
    hffs("mount", base / "photos.parquet", mountpoint)
    try:
        pid = hffs.pid(mountpoint)
        work = Work(mountpoint, [f"{number}.jpg" for number in range(files)])
        plot.parent.mkdir(parents=True, exist_ok=True)
        with reading(work):
            flags = record(pid, "flamegraph", plot, seconds)
            print(f"{plot}, with {' '.join(flags) or 'no flag'}")
            record(pid, "raw", raw, seconds)
    finally:
        hffs("umount", "--force", mountpoint)
    return sum_own_times(raw.read_text().splitlines())


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw, and print where the time goes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--seconds", type=int, default=15)
    parser.add_argument("--plot", type=Path, default=PLOT)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as base:
        try:
            times = run(Path(base), options.files, options.seconds, options.plot)
        except LeftOutError as why:
            print(f"no profile: {why}", file=sys.stderr)
            return 1
    print("\n".join(show_times(times)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
