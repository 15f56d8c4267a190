"""From the command to the first image, and the disk that it takes, beside `load_dataset`.

    .venv/bin/python -m tests.bench.hub [--rows 100000] [--kilobytes 100] [--rounds 3] [--json FILE]

A repository with Parquet shards that `datasets` has written is served on this machine and
downloaded once, which is not timed: both contenders then find the files in the cache of
huggingface_hub. It takes about four times the data set's size on the disk (40 GB). *first* is the
first time after that: `load_dataset` makes its Arrow files, hffs its index; *again* finds them
made. Each time is a whole process, from its start until an image is decoded. Contenders take turns,
each after what the other has written is on the disk, and with the downloaded files in memory, as
far as they fit; *cold* is with no file in memory (as root only).
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
from PIL import Image

from tests.bench.machine import Say, be_quiet
from tests.hub import HubServer

datasets.disable_progress_bars()

REPO = "owner/photos"
SHARDS = 5
LOAD = """
import sys, datasets
datasets.disable_progress_bars()
rows = datasets.load_dataset("owner/photos", split="train")
rows[0]["image"].load()
"""
ARROW = """
import glob, sys, datasets
datasets.disable_progress_bars()
files = sorted(glob.glob(sys.argv[1] + "/**/*.arrow", recursive=True))
datasets.Dataset.from_file(files[0])[0]["image"].load()
"""
EXPORT = """
import sys, datasets
from pathlib import Path
datasets.disable_progress_bars()
rows = datasets.load_dataset("owner/photos", split="train")
rows = rows.cast_column("image", datasets.Image(decode=False))
folder = Path(sys.argv[1])
for number, row in enumerate(rows):
    (folder / f"{number}.jpg").write_bytes(row["image"]["bytes"])
    (folder / f"{number}.txt").write_text(row["caption"])
"""


def write_shards(folder: Path, rows: int, image_bytes: int) -> list[Path]:
    """Shards of real JPEGs, padded to the size of a photo; each row has bytes of its own.

    A shard at a time is in memory.
    """
    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG", quality=90)
    photo = file.getvalue()
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {"image": {"_type": "Image"}, "caption": {"dtype": "string", "_type": "Value"}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    schema = pa.schema([("image", kind), ("caption", pa.string())], metadata=told)
    draw, paths = np.random.default_rng(1), []
    for shard in range(SHARDS):
        path = folder / f"train-{shard:05d}-of-{SHARDS:05d}.parquet"
        numbers = range(shard * rows // SHARDS, (shard + 1) * rows // SHARDS)
        parts = []
        for start in range(numbers.start, numbers.stop, 1000):
            some = range(start, min(start + 1000, numbers.stop))
            padding = image_bytes - len(photo)
            cells = [{"bytes": photo + draw.bytes(padding), "path": None} for _ in some]
            captions = [f"photo {n}" for n in some]
            parts.append(pa.table({"image": cells, "caption": captions}, schema))
        datasets.Dataset(pa.concat_tables(parts)).to_parquet(path)
        paths.append(path)
    return paths


class Bench:
    """A home with the files downloaded, where each contender keeps what it makes."""

    def __init__(self, hub: HubServer, folder: Path) -> None:
        self._home = folder / "home"
        self._scratch = folder
        self._mountpoint = folder / "mnt"
        self._mountpoint.mkdir()
        own = {"XDG_CACHE_HOME": str(self._home / "xdg"), "XDG_STATE_HOME": str(folder / "state")}
        self._environ = os.environ | own | hub.env(self._home)

    def download(self) -> None:
        code = f"import huggingface_hub as h; h.snapshot_download({REPO!r}, repo_type='dataset')"
        self._python(code)

    def forget(self) -> None:
        """Remove all but what was downloaded."""
        for made in ("xdg", "datasets"):
            shutil.rmtree(self._home / made, ignore_errors=True)

    def settle(self, *, cold: bool = False) -> None:
        """Have no write under way, and the downloaded files in memory, or none."""
        os.sync()
        if cold:
            Path("/proc/sys/vm/drop_caches").write_text("3")
            return
        for path in sorted((self._home / "hub").rglob("blobs/*")):
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass

    def load(self) -> float:
        """Seconds that `load_dataset` takes to an image."""
        started = time.perf_counter()
        self._python(LOAD)
        return time.perf_counter() - started

    def open_arrow(self) -> float:
        """Seconds that `Dataset.__getitem__` takes to an image of the Arrow files made before."""
        started = time.perf_counter()
        self._python(ARROW, str(self._home / "datasets"))
        return time.perf_counter() - started

    def export(self) -> float:
        """Seconds to write a folder by hand, from prepared Arrow files."""
        folder = self._scratch / "exported"
        folder.mkdir()
        started = time.perf_counter()
        self._python(EXPORT, str(folder))
        spent = time.perf_counter() - started
        shutil.rmtree(folder)
        return spent

    def mount(self, *flags: str) -> float:
        """Seconds that hffs takes to an image."""
        started = time.perf_counter()
        self._hffs("mount", REPO, str(self._mountpoint), *flags)
        with Image.open(self._mountpoint / "0.jpg") as image:
            image.load()
        spent = time.perf_counter() - started
        self._hffs("umount", str(self._mountpoint))
        return spent

    def disk_bytes(self, *folders: str) -> int:
        """What folders of the home take, links not followed."""
        paths = (path for folder in folders for path in (self._home / folder).rglob("*"))
        return sum(path.lstat().st_blocks * 512 for path in paths)

    def _python(self, *code: str) -> None:
        subprocess.run([sys.executable, "-c", *code], env=self._environ, check=True)

    def _hffs(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "hffs", *arguments]
        subprocess.run(command, env=self._environ, check=True)


def run(
    bench: Bench, rounds: int, *, cold: bool = False, say: Say = be_quiet
) -> dict[str, list[float]]:
    """Seconds of each contender, by round; with `cold` also with no file in memory."""
    times: dict[str, list[float]] = {}

    def note(name: str, spent: float) -> None:
        times.setdefault(name, []).append(spent)

    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        for when in ("first", "first, cold") if cold else ("first",):
            bench.forget()
            for name, take in (("hffs", bench.mount), ("load_dataset", bench.load)):
                bench.settle(cold="cold" in when)
                note(f"{name}, {when}", take())
        bench.settle()
        note("load_dataset, again", bench.load())
        note("Dataset.from_file, again", bench.open_arrow())
        note("hffs, again", bench.mount())
        note("hffs --offline, again", bench.mount("--offline"))
    say("export")
    note("export, from Arrow files", bench.export())
    return times


def summarize(times: Mapping[str, list[float]]) -> dict[str, float]:
    """Medians, and how many times longer the others take than hffs."""
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    ratios = {
        f"load_dataset / {name}": medians[name.replace("hffs", "load_dataset")] / spent
        for name, spent in medians.items()
        if name.startswith("hffs, ")
    }
    export = medians["load_dataset, first"] + medians["export, from Arrow files"]
    return medians | ratios | {"load and export / hffs, first": export / medians["hffs, first"]}


def measure(rows: int, image_bytes: int, rounds: int, say: Say = be_quiet) -> dict[str, Any]:
    """Seconds of each contender and how they compare, and the disk that each takes."""
    with tempfile.TemporaryDirectory() as place, HubServer() as hub:
        say(f"writing {rows} rows")
        shards = write_shards(Path(place), rows, image_bytes)
        hub.add(REPO).write_all({f"data/{path.name}": path for path in shards})
        bench = Bench(hub, Path(place))
        bench.download()
        downloaded = bench.disk_bytes("hub")
        summary = summarize(run(bench, rounds, cold=os.geteuid() == 0, say=say))
        disk = {
            name: bench.disk_bytes("hub", made) / downloaded
            for name, made in (("hffs", "xdg"), ("load_dataset", "datasets"))
        }
    return {"seconds": summary, "disk": disk}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--kilobytes", type=int, default=100, help="size of an image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    told = measure(options.rows, 1000 * options.kilobytes, options.rounds)
    print(f"{options.rows} rows of {options.kilobytes} KB, {os.cpu_count()} cores")
    print(f"Python {platform.python_version()}")
    for name, value in told["seconds"].items():
        print(f"{name:<32}{value:>9.2f}{' x' if '/' in name else ' s'}")
    for name, share in told["disk"].items():
        print(f"{name + ', disk / downloaded':<32}{share:>9.2f} x")
    if options.json:
        options.json.write_text(json.dumps(told))


if __name__ == "__main__":
    main()
