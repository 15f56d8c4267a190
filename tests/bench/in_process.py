"""Photos without a file system: rows of `datasets`, read by the process that wants them.

Owns how `datasets` is asked for the bytes of images, from its Arrow cache and as a stream of
Parquet, each as quick as it can be: nothing is decoded. For `tests.bench.access`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow.parquet as pq

from tests.bench.access import Work

READERS = ("1 reader", "4 readers")


def open_in_process(base: Path, names: Sequence[str]) -> dict[str, Work]:
    """Both ways to the photos of `photos.parquet`, ready to be read, by name.

    Opening them is not timed, as mounting is not. Arrow is mapped, and nothing of it touched here.
    """
    datasets.disable_progress_bars()
    parquet, arrow = str(base / "photos.parquet"), str(base / "arrow")
    datasets.Dataset(pq.read_table(parquet)).save_to_disk(arrow)
    stream = datasets.load_dataset("parquet", data_files=parquet, split="train", streaming=True)
    return {
        "datasets, Arrow": Rows(base, names, datasets.load_from_disk(arrow)),
        "datasets, streaming": Stream(base, names, stream),
    }


@dataclass(frozen=True, slots=True)
class Rows(Work):
    """`Dataset.__getitem__` over the Arrow cache."""

    rows: datasets.Dataset

    def takes(self, pattern: str) -> bool:
        return pattern in READERS

    def read(self, names: Sequence[str]) -> None:
        for name in names:
            _check(self.rows[int(name.removesuffix(".jpg"))])


@dataclass(frozen=True, slots=True)
class Stream(Work):
    """`load_dataset(streaming=True)` over Parquet; it has one order, and one reader a file."""

    rows: datasets.IterableDataset

    def takes(self, pattern: str) -> bool:
        return pattern == "1 reader"

    def read(self, names: Sequence[str]) -> None:
        count = 0
        for row in self.rows:
            _check(row)
            count += 1
        if count != len(names):
            raise SystemExit(f"a stream has {count} rows, not {len(names)}")


def _check(row: dict[str, dict[str, bytes]]) -> None:
    if not row["image"]["bytes"]:
        raise SystemExit("a row has no image")
