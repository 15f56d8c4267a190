"""What a recorded view saves where it is mounted: beside deciding the same view on each host.

    .venv/bin/python -m tests.bench.portable [--rows 1000000] [--rounds 3] [--json FILE]

Rows of small JPEGs with captions, in Parquet shards; filters keep half of the rows. *mount* is of
the source with its flags, *view* of the file that `hffs view` wrote, each by a host that has
nothing in its caches: a whole `hffs mount`, until the folder answers. *here* the shards are on the
host (and the measured view's sizes are in no column, so that deciding reads a header of each
image); *streamed* they are on a Hub of this machine that waits a little before each answer, and
requests and bytes are counted too. Contenders take turns; the median counts.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.command import Hffs
from tests.hub import HubServer

REPO = "owner/photos"
SHARDS = 10
LATENCY_S = 0.02
TIMEOUT_S = 900
WORDS = "a photo of some red boat hill kite tree bird lamp road snow lake with many small blue"


@dataclass(frozen=True, slots=True)
class Case:
    """A view: where its source is, and what it takes of it."""

    flags: tuple[str, ...]
    is_streamed: bool = False


CASES = {
    "here, where": Case(("--where", "score >= 0.5")),
    "here, measured": Case(("--min-width", "17")),
    "streamed, where": Case(("--where", "score >= 0.5", "--streaming"), is_streamed=True),
}


def write_shards(folder: Path, rows: int) -> list[Path]:
    """Shards of rows, uncompressed and with a page index; every other image is 16 pixels wide."""
    draw, paths, photos = np.random.default_rng(0), [], []
    for width in (16, 24):
        file = io.BytesIO()
        Image.new("RGB", (width, 16), "red").save(file, "JPEG")
        photos.append({"bytes": file.getvalue(), "path": None})
    for shard in range(SHARDS):
        count = (shard + 1) * rows // SHARDS - shard * rows // SHARDS
        words = np.array(WORDS.split())[draw.integers(0, 18, (count, 10))]
        table = pa.table(
            {
                "image": pa.array(photos).take(pa.array(np.arange(count) % 2)),
                "caption": [" ".join(each) for each in words],
                "score": draw.random(count),
            }
        )
        path = folder / f"train-{shard:05d}-of-{SHARDS:05d}.parquet"
        pq.write_table(
            table, path, compression="none", use_dictionary=False, write_page_index=True,
            row_group_size=20_000,
        )  # fmt: skip
        paths.append(path)
    return paths


class Bench:
    """Shards here and on a Hub, and hosts that have seen neither."""

    def __init__(self, hub: HubServer, folder: Path, shards: Sequence[Path]) -> None:
        hub.add(REPO).write_all({f"data/{path.name}": path for path in shards})
        hub.latency_s = LATENCY_S
        self._hub, self._folder, self._shards = hub, folder, shards
        (folder / "mnt").mkdir()

    def record(self, case: Case) -> tuple[Path, dict[str, float]]:
        """The view of a case, recorded where nothing is cached, and what that took."""
        path, started = self._folder / "recorded.parquet", time.perf_counter()
        told = json.loads(
            self._host()("view", self._source(case), "-o", path, *case.flags, "--json",
                         timeout_s=TIMEOUT_S)
        )  # fmt: skip
        spent, table = time.perf_counter() - started, pq.read_metadata(path)
        groups = [table.row_group(number) for number in range(table.num_row_groups)]
        captions = sum(group.column(1).total_compressed_size for group in groups)
        images, size_bytes = told["positions"], told["size_bytes"]
        return path, {
            "images": images,
            "record, s": spent,
            "bytes an image": size_bytes / images,
            "of these captions": captions / images,
        }

    def mount(self, source: str | Path, *flags: str) -> dict[str, float]:
        """What a mount takes on a host that has nothing yet."""
        host, place = self._host(), self._folder / "mnt"
        self._hub.clear()
        started = time.perf_counter()
        host("mount", source, place, *flags, timeout_s=TIMEOUT_S)
        spent = time.perf_counter() - started
        asked, sent = len(self._hub.requests), self._hub.sent_bytes("GET ")
        assert (place / "0.jpg").stat().st_size
        host("umount", place)
        return {"s": spent, "requests": asked, "MB": sent / 1e6}

    def take_turns(self, case: Case, view: Path, rounds: int) -> dict[str, float]:
        """Medians of both contenders."""
        found: dict[str, list[dict[str, float]]] = {"mount": [], "view": []}
        for _ in range(rounds):
            found["mount"].append(self.mount(self._source(case), *case.flags))
            found["view"].append(self.mount(view))
        return {
            f"{name}, {what}": statistics.median(each[what] for each in taken)
            for name, taken in found.items()
            for what in taken[0]
        }

    def _source(self, case: Case) -> str:
        return REPO if case.is_streamed else str(self._shards[0].parent)

    def _host(self) -> Hffs:
        shutil.rmtree(self._folder / "host", ignore_errors=True)
        host = Hffs.below(self._folder / "host", forks=False)
        host.environ.update(self._hub.env(self._folder / "host/home"))
        return host


def run(folder: Path, rows: int, rounds: int) -> dict[str, dict[str, float]]:
    """Figures of each case."""
    (folder / "set").mkdir()
    shards = write_shards(folder / "set", rows)
    summary = {}
    with HubServer() as hub:
        bench = Bench(hub, folder, shards)
        for name, case in CASES.items():
            view, recorded = bench.record(case)
            taken = bench.take_turns(case, view, rounds)
            ratio = taken["mount, s"] / taken["view, s"]
            summary[name] = recorded | taken | {"mount / view": ratio}
    return summary


def show(summary: Mapping[str, Mapping[str, float]]) -> None:
    """Figures as a table."""
    for name, figures in summary.items():
        print(name)
        for what, value in figures.items():
            print(f"  {what:<20}{value:>14,.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        summary = run(Path(place), options.rows, options.rounds)
    print(f"{options.rows} rows, {os.cpu_count()} cores, Python {platform.python_version()}")
    show(summary)
    if options.json:
        options.json.write_text(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
