"""What it costs a training epoch that Python asks of each file whether it is a terminal.

    .venv/bin/python -m tests.bench.terminals [--blocks 15]

Python before 3.14 does so at every `open`, and no kernel answers for a file system in user space.
A process a core decodes a photo from memory and asks twice, as for an image and its caption; the
folders take turns, block by block. What an image takes longer than on the local disk, which needs
nobody to answer, is the cost: of two switches between processes and of what decoding has taken
from the caches of the processor, whatever the file system is written in.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from pathlib import Path

from PIL import Image

from tests.bench.access import turn
from tests.bench.access_folders import make_photos, open_folders

KINDS = ("hffs", "passthrough_ll")
ASKED = 2
_IMAGES = 40
_SIDE_PX = 224


def decode_and_ask(
    files: Mapping[str, Path], photo: bytes, blocks: int, first: int
) -> dict[str, list[float]]:
    """Microseconds an image of each block, by whose file was asked of; `first` begins."""
    taken: dict[str, list[float]] = {who: [] for who in files}
    with ExitStack() as stack:
        opened = {who: stack.enter_context(path.open("rb")) for who, path in files.items()}
        for block in range(blocks):
            for who in turn(list(files), first + block):
                began = time.perf_counter()
                for _ in range(_IMAGES):
                    with Image.open(io.BytesIO(photo)) as image:
                        image.convert("RGB").resize((_SIDE_PX, _SIDE_PX))
                    for _ in range(ASKED):
                        os.isatty(opened[who].fileno())
                taken[who].append((time.perf_counter() - began) / _IMAGES * 1e6)
    return taken


def measure(blocks: int) -> dict[str, float]:
    """Median microseconds an image, by whose file was asked of, the local disk first."""
    photos, cores = make_photos(2), len(os.sched_getaffinity(0))
    with (
        tempfile.TemporaryDirectory() as base,
        open_folders(Path(base), photos, KINDS) as folders,
        ProcessPoolExecutor(cores) as pool,
    ):
        files = {who: folder / "0.jpg" for who, folder in folders.items()}
        running = [
            pool.submit(decode_and_ask, files, photos[0], blocks, core) for core in range(cores)
        ]
        told = [each.result() for each in running]
    return {who: statistics.median(one for each in told for one in each[who]) for who in files}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--blocks", type=int, default=15)
    medians = measure(parser.parse_args().blocks)
    disk = next(iter(medians.values()))
    for who, taken in medians.items():
        print(f"{who:<16}{taken:8.0f} us an image {(taken - disk) / ASKED:8.1f} us a question")


if __name__ == "__main__":
    main()
