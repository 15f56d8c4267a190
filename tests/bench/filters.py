"""How long filters take, beside `datasets.Dataset.filter` over the same rows.

Run `python -m tests.bench.filters --json FILE`. Contenders take turns, round by round, so that
whatever else the machine does meets all of them; the median counts. `Dataset.filter` reads the
Arrow file that `datasets` would cache, with its own caching switched off; hffs reads the Parquet
file that a Hub repository would have, and that Arrow file too. All must keep the same rows.
Times are of warm files and loaded libraries; `fresh` is a whole process, from exec to exit.
"""

from __future__ import annotations

import argparse
import functools
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from datasets.arrow_writer import ArrowWriter
from numpy.typing import NDArray

from hffs.data.filters.selection import Filters, Measured, SizeTerms, select
from hffs.data.locating.local import locate
from hffs.data.source import open_source
from tests.bench.machine import Say, be_quiet, describe_machine

datasets.disable_caching()
datasets.disable_progress_bars()

SETS = ("art", "photos")
COLUMNS = ["width", "height", "collection", "quality_assessment"]
ARROW_BATCH_ROWS = 1000
ARROW, PARQUET = "rows.arrow", "rows.parquet"

FEATURES = datasets.Features(
    image=datasets.Image(),
    caption=datasets.Value("string"),
    width=datasets.Value("int32"),
    height=datasets.Value("int32"),
    collection=datasets.Value("string"),
    quality_assessment={"clip": datasets.Value("float64"), "aesthetic": datasets.Value("float64")},
)

Row = Callable[[int, int, str, Mapping[str, float | None]], bool]
Batch = Callable[..., NDArray[np.bool_]]


@dataclass(frozen=True, slots=True)
class Case:
    """One filter, as each contender says it."""

    filters: Filters
    by_row: Row
    by_batch: Batch


def _clips(quality: list[Mapping[str, float | None]]) -> NDArray[np.float64]:
    return np.array([metrics["clip"] for metrics in quality], np.float64)


CASES = {
    "where": Case(
        Filters(
            where="width >= 512 AND height >= 512 AND collection IN ('art', 'photos') "
            "AND quality_assessment.clip >= 0.5"
        ),
        lambda w, h, c, q: (
            w >= 512 and h >= 512 and c in SETS and q["clip"] is not None and q["clip"] >= 0.5
        ),
        lambda w, h, c, q: (
            (np.array(w) >= 512) & (np.array(h) >= 512) & np.isin(c, SETS) & (_clips(q) >= 0.5)
        ),
    ),
    "block": Case(
        Filters(
            sizes=SizeTerms(min_width=512, max_aspect=2),
            collection=SETS,
            quality_thresholds={"clip": 0.5},
        ),
        lambda w, h, c, q: (
            w >= 512 and w / h <= 2 and c in SETS and q["clip"] is not None and q["clip"] >= 0.5
        ),
        lambda w, h, c, q: (
            (np.array(w) >= 512)
            & (np.array(w) / np.array(h) <= 2)
            & np.isin(c, SETS)
            & (_clips(q) >= 0.5)
        ),
    ),
}


def write_rows(folder: Path, rows: int) -> None:
    """The same rows as Arrow and as Parquet, both as `datasets` writes them."""
    random = np.random.default_rng(0)
    clip = pa.array(random.random(rows), mask=random.random(rows) < 0.05)
    aesthetic = pa.array(random.random(rows) * 10)
    table = pa.table(
        {
            "image": pa.array([{"bytes": b"\xff\xd8\xff", "path": None}] * rows),
            "caption": [f"picture number {number}" for number in range(rows)],
            "width": random.integers(256, 2048, rows),
            "height": random.integers(256, 2048, rows),
            "collection": np.array(["art", "maps", "photos", "scans"])[random.integers(0, 4, rows)],
            "quality_assessment": pa.StructArray.from_arrays(
                [clip, aesthetic], ["clip", "aesthetic"]
            ),
        }
    ).cast(FEATURES.arrow_schema)
    with ArrowWriter(features=FEATURES, path=str(folder / ARROW)) as writer:
        for batch in table.to_batches(ARROW_BATCH_ROWS):
            writer.write_table(pa.Table.from_batches([batch]))
        writer.finalize()
    datasets.Dataset.from_file(str(folder / ARROW)).to_parquet(str(folder / PARQUET))


# Without this module, which loads datasets.
_ONCE = """
import sys
import numpy as np
from hffs.data.filters.selection import ClipTerms, Filters, SizeTerms, select
from hffs.data.locating.local import locate
from hffs.data.source import open_source
source = open_source(locate(sys.argv[2]))
select(source, eval(sys.argv[1]), np.arange(source.rows), None)
"""


def _filter_by_row(folder: Path, case: Case) -> int:
    rows = datasets.Dataset.from_file(str(folder / ARROW))
    return len(rows.filter(case.by_row, input_columns=COLUMNS))


def _filter_by_batch(folder: Path, case: Case) -> int:
    rows = datasets.Dataset.from_file(str(folder / ARROW))
    return len(rows.filter(case.by_batch, input_columns=COLUMNS, batched=True))


def _never(wanted: NDArray[np.bool_]) -> Measured:
    raise NotImplementedError("no image is measured here")


@functools.cache
def _cell_rows(count: int) -> NDArray[np.int64]:
    """Rows of all cells: those of an index, which a mount has mapped by then."""
    return np.arange(count, dtype=np.int64)


def _select(path: Path, case: Case) -> int:
    source = open_source(locate(str(path)))
    chosen = select(source, case.filters, _cell_rows(source.rows), _never)
    return int(np.count_nonzero(chosen.keep))


CONTENDERS: Mapping[str, Callable[[Path, Case], int]] = {
    "Dataset.filter, row by row": _filter_by_row,
    "Dataset.filter, batched numpy": _filter_by_batch,
    "hffs, Parquet": lambda folder, case: _select(folder / PARQUET, case),
    "hffs, Arrow": lambda folder, case: _select(folder / ARROW, case),
}


def time_cases(folder: Path, rounds: int, say: Say = be_quiet) -> dict[str, dict[str, list[float]]]:
    """Seconds of each round, by case and contender, after one round that does not count."""
    times: dict[str, dict[str, list[float]]] = {
        name: {contender: [] for contender in CONTENDERS} for name in CASES
    }
    for number in range(rounds + 1):
        for name, case in CASES.items():
            kept = set()
            for contender, run in CONTENDERS.items():
                say(f"{contender}, {name}, round {number} of {rounds}")
                gc.collect()  # what the one before has left is not this one's
                start = time.perf_counter()
                kept.add(run(folder, case))
                if number:
                    times[name][contender].append(time.perf_counter() - start)
            if len(kept) != 1:
                raise SystemExit(f"{name}: contenders keep {sorted(kept)} rows")
    return times


def time_fresh(folder: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds of whole processes, each of which filters once."""
    fresh: dict[str, dict[str, list[float]]] = {name: {} for name in CASES}
    for _ in range(rounds):
        for name in CASES:
            ours = ["-c", _ONCE, repr(CASES[name].filters), str(folder / PARQUET)]
            peer = "Dataset.filter, row by row"
            theirs = ["-m", "tests.bench.filters", "--once", name, peer, str(folder)]
            for contender, arguments in {"hffs, Parquet": ours, peer: theirs}.items():
                start = time.perf_counter()
                subprocess.run([sys.executable, *arguments], check=True)
                fresh[name].setdefault(contender, []).append(time.perf_counter() - start)
    return fresh


def find_medians(times: Mapping[str, Mapping[str, list[float]]]) -> dict[str, dict[str, float]]:
    """Median seconds by case and contender."""
    return {
        name: {who: statistics.median(taken) for who, taken in contenders.items()}
        for name, contenders in times.items()
    }


def summarize(times: Mapping[str, Mapping[str, list[float]]]) -> dict[str, Any]:
    """Median of each contender in ms, and how many times as long as hffs each takes."""
    summary: dict[str, Any] = {}
    for name, medians in find_medians(times).items():
        ours = medians["hffs, Parquet"]
        summary[name] = {
            who: {"ms": round(median * 1e3, 1), "times hffs": round(median / ours, 1)}
            for who, median in medians.items()
        }
    return summary


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--once", nargs=3, metavar=("CASE", "CONTENDER", "FOLDER"))
    options = parser.parse_args()
    if options.once:
        case, contender, folder = options.once
        CONTENDERS[contender](Path(folder), CASES[case])
        return
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder), options.rows)
        times = time_cases(Path(folder), options.rounds)
        fresh = time_fresh(Path(folder), 3)
    result = {
        "machine": describe_machine(),
        "rows": options.rows,
        "warm": summarize(times),
        "fresh": summarize(fresh),
        "seconds": times,
    }
    shown = {key: value for key, value in result.items() if key != "seconds"}
    sys.stdout.write(json.dumps(shown, indent=2) + "\n")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
