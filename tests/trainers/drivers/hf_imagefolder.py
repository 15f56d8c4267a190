"""load_dataset("imagefolder"): prepare, or find what was prepared before, and decode every row.

Its own: all of `datasets`. Stands in: nothing.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
from datasets.packaged_modules.imagefolder.imagefolder import ImageFolder

from tests.trainers.pictures import digest_pixels


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--by", choices=("data_dir", "data_files"), default="data_dir")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    folder: Path = options.folder
    prepared = _count_rows()
    place = {"data_dir": str(folder), "data_files": {"train": f"{folder}/**"}}
    began = time.perf_counter()
    rows = datasets.load_dataset(
        "imagefolder",
        split="train",
        cache_dir=str(options.cache),
        **{options.by: place[options.by]},
    )
    scan_s = time.perf_counter() - began
    began = time.perf_counter()
    seen = list(rows)
    for row in seen:
        row["image"].load()
    epoch_s = time.perf_counter() - began
    names = [Path(row["image"].filename).relative_to(folder).as_posix() for row in seen]
    pixels = [digest_pixels(np.asarray(row["image"].convert("RGB"))) for row in seen]
    return {
        "items": len(seen),
        "captions": dict(zip(names, (row.get("text") for row in seen), strict=True)),
        "pixels": dict(zip(names, pixels, strict=True)),
        "columns": sorted(rows.column_names),
        "prepared": len(prepared),
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _count_rows() -> list[None]:
    """A list that grows with each row that the builder reads from the files."""
    calls: list[None] = []
    method: Any = ImageFolder._generate_examples

    def counted(*arguments: Any, **named: Any) -> Iterator[Any]:
        for example in method(*arguments, **named):
            calls.append(None)
            yield example

    ImageFolder._generate_examples = counted
    return calls
