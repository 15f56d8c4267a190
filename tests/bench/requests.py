"""What a request costs the process that answers it, and how many a file takes.

    .venv/bin/python -m tests.bench.requests [--files 1000] [--rounds 5] [--json FILE]

*Microseconds* are of answers given on `/dev/null`, by kind, of a view of JPEGs that pass through:
what hffs itself does, without the kernel; and of counting one, alone. *Requests a file* are what a
mount has counted while every file was opened and read once, by Python's `open().read()`: cold,
after the kernel has dropped all that it keeps (as root only), and again.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hffs.config import build_config
from hffs.core.inodes import Kind, make_inode
from hffs.core.types import Position
from hffs.mount.observing.counting import Counters
from hffs.mount.requests.direct import Direct, Place
from hffs.mount.requests.files import Owner
from hffs.mount.requests.operations import REQUESTS
from hffs.mount.requests.wire import OPEN_IN, READ_IN, Opcode
from hffs.view.opening import open_view
from hffs.view.tree import Tree
from tests.bench.access import Work, drop_caches, read_in_order
from tests.bench.access_folders import make_photos, open_hffs, write_photos
from tests.bench.listing import count_requests
from tests.command import Hffs
from tests.mount.requests.kernel import make_request
from tests.view.conftest import Quiet

_TIMES = 5000


def time_each(work: Callable[[], object], rounds: int) -> float:
    """Microseconds of one call, the median of some rounds."""
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(_TIMES):
            work()
        taken.append((time.perf_counter() - began) / _TIMES * 1e6)
    return statistics.median(taken)


def measure_answers(tree: Tree, rounds: int) -> dict[str, float]:
    """Microseconds of each kind of answer, and of counting one."""
    counters = Counters(REQUESTS)
    direct = Direct(tree, Owner(0, 0, 0), counters, Place())
    file = make_inode(Position(7), Kind.IMAGE)
    asked = {
        "LOOKUP": make_request(Opcode.LOOKUP, 1, 1, b"7.jpg\0"),
        "LOOKUP of no file": make_request(Opcode.LOOKUP, 1, 1, b"7.npz\0"),
        "GETATTR": make_request(Opcode.GETATTR, 1, file, bytes(16)),
        "OPEN": make_request(Opcode.OPEN, 1, file, OPEN_IN.pack(os.O_RDONLY)),
        "READ": make_request(Opcode.READ, 1, file, READ_IN.pack(0, 0, 1 << 20) + bytes(20)),
        "IOCTL": make_request(Opcode.IOCTL, 1, file),
    }
    meter = counters.meters["read"]

    def count() -> None:
        began = time.perf_counter_ns()
        meter.note(time.perf_counter_ns() - began)

    told = {"counting": time_each(count, rounds)}
    with open(os.devnull, "wb") as device:
        number = device.fileno()
        for kind, request in asked.items():
            message = memoryview(bytearray(request))
            told[kind] = time_each(lambda asked=message: direct.answer(number, asked), rounds)  # type: ignore[misc] # an argument that holds the value
    return told


def count_epochs(hffs: Hffs, folder: Path, files: int) -> dict[str, dict[str, float]]:
    """Requests a file of an epoch, cold and again, by kind."""
    described = hffs.describe(folder)
    assert described is not None
    told, socket = {}, Path(described["socket"])
    work = Work(folder, [f"{number}.jpg" for number in range(files)])
    for name in ("cold", "again"):
        if name == "cold" and os.geteuid() == 0:
            drop_caches(folder.parent)
        before = count_requests(socket)
        read_in_order(1, work)
        after = count_requests(socket)
        asked = {kind: (after[kind] - before[kind]) / files for kind in after}
        told[name] = {kind: count for kind, count in asked.items() if count}
    return told


def measure(files: int, rounds: int) -> dict[str, dict[str, float]]:
    """Both, by what they are of."""
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base)
        write_photos(folder, make_photos(files))
        environ = os.environ | {"XDG_CACHE_HOME": str(folder / "own")}
        config = build_config(str(folder / "photos.parquet"), {}, None, environ)
        with open_view(config, Quiet(), 1) as tree:
            told = {"microseconds": measure_answers(tree, rounds)}
        with open_hffs(folder) as mounted:
            hffs = Hffs.below(folder, forks=False)
            epochs = count_epochs(hffs, mounted, files)
    return told | {f"requests a file, {name}": each for name, each in epochs.items()}


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    told = measure(options.files, options.rounds)
    for name, figures in told.items():
        print(name)
        for kind, figure in figures.items():
            print(f"  {kind:<20}{figure:8.2f}")
    if options.json:
        options.json.write_text(json.dumps(told, indent=2) + "\n")


if __name__ == "__main__":
    main()
