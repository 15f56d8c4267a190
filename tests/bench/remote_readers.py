"""An epoch over a mount: some processes read every image and its caption, in an order.

    .venv/bin/python -m tests.bench.remote_readers FOLDER FILE [--readers 8]

FILE has the names of the images, one a line. Each reader takes every eighth of them, as the workers
of a DataLoader do, and nothing is timed before all are up. Prints files, bytes and seconds as JSON.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

START_S = 60
"""How long the readers may take to be up."""


def _read(folder: Path, names: Sequence[str], start: Barrier, told: Queue[tuple[int, int]]) -> None:
    start.wait(START_S)
    files = count = 0
    for name in names:
        for path in (folder / name, (folder / name).with_suffix(".txt")):
            count += len(path.read_bytes())
            files += 1
    told.put((files, count))


def run(folder: Path, names: Sequence[str], readers: int) -> dict[str, float]:
    """Files read, their bytes, and the seconds from the start of all readers to the last's end."""
    context = multiprocessing.get_context("fork")
    start, told = context.Barrier(readers + 1), context.Queue()
    workers = [
        context.Process(target=_read, args=(folder, names[number::readers], start, told))
        for number in range(readers)
    ]
    for worker in workers:
        worker.start()
    start.wait(START_S)
    began = time.perf_counter()
    for worker in workers:
        worker.join()
    spent = time.perf_counter() - began
    if any(worker.exitcode for worker in workers):
        raise SystemExit(f"readers of {folder} failed")
    counts = [told.get() for _ in workers]
    return {
        "files": sum(files for files, _ in counts),
        "bytes": sum(count for _, count in counts),
        "seconds": spent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", type=Path)
    parser.add_argument("--readers", type=int, default=8)
    options = parser.parse_args()
    names = options.names.read_text().splitlines()
    print(json.dumps(run(options.folder, names, options.readers)))


if __name__ == "__main__":
    main()
