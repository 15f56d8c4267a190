"""What reading a little of a large far video takes through a mount, beside the ways without one.

    .venv/bin/python -m tests.bench.media [--copies 200] [--rounds 3] [--latency 0.03] [--json FILE]

A video (a real clip, its packets copied over and over) lies on a Hub of this machine, which waits a
little before each answer and sends at a line's rate. Each contender, a process with nothing in its
caches, finds the size, reads the header and decodes ten frames from the middle, by PyAV. *folder*
is the file itself, *table* a value in Parquet. `HfFileSystem` opens the file as fsspec does; a
download fetches it whole, as everything that knows only local files would have it. Bytes and
requests are what the Hub sent and was asked; contenders take turns; the median counts.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.clips import find_clips, lengthen
from tests.command import Hffs
from tests.hub import HubServer

FOLDER, TABLE = "owner/folder", "owner/table"
LINE_BYTES_PER_S = 12.5e6
DECODE = """
import sys, av
from fractions import Fraction
def decode(file):
    with av.open(file) as clip:
        seconds = float(clip.duration / av.time_base)
        clip.seek(int(seconds / 2 * av.time_base))
        return [frame.pts for frame, _ in zip(clip.decode(video=0), range(10))]
"""
OPEN = {
    "HfFileSystem": """
from huggingface_hub import HfFileSystem
with HfFileSystem().open(f"datasets/{sys.argv[1]}/0.mp4", "rb") as file:
    print(decode(file))
""",
    "download": """
from huggingface_hub import hf_hub_download
print(decode(hf_hub_download(sys.argv[1], "0.mp4", repo_type="dataset")))
""",
}


class Bench:
    """A long video in two forms on a Hub, and hosts that have seen neither."""

    def __init__(self, hub: HubServer, folder: Path, copies: int) -> None:
        clip = lengthen(find_clips()["bigbuckbunny.mp4"], copies)
        self.size_bytes = len(clip)
        metadata = b"file_name,caption\n0.mp4,a rabbit\n"
        hub.add(FOLDER).write_all({"0.mp4": clip, "metadata.csv": metadata})
        table = pa.table({"video": [{"bytes": clip, "path": None}], "caption": ["a rabbit"]})
        file = io.BytesIO()
        pq.write_table(table, file, compression="none", use_dictionary=False, write_page_index=True)
        hub.add(TABLE).write("train.parquet", file.getvalue())
        self._hub, self._folder = hub, folder

    def mount(self, repo: str) -> dict[str, float]:
        """A mount, ten frames from the middle, and the same again."""
        host = self._host()
        place = Path(tempfile.mkdtemp(dir=self._folder))
        self._hub.clear()
        started = time.perf_counter()
        host("mount", repo, place, "--streaming", "--dataset-type", "video", timeout_s=300)
        mounted = time.perf_counter()
        first = self._decode(place / "0.mp4")
        spent = self._measure(started) | {"of that mounting, s": mounted - started}
        self._hub.clear()
        assert self._decode(place / "0.mp4") == first
        spent["again, bytes"] = self._hub.sent_bytes()
        host("umount", place)
        return spent

    def open(self, name: str) -> dict[str, float]:
        """Another way to the same frames."""
        host = self._host()
        self._hub.clear()
        started = time.perf_counter()
        command = [sys.executable, "-W", "ignore", "-c", DECODE + OPEN[name], FOLDER]
        subprocess.run(command, env=host.environ, check=True, capture_output=True)
        return self._measure(started)

    def _decode(self, path: Path) -> list[int]:
        command = [sys.executable, "-c", f"{DECODE}\nprint(decode(sys.argv[1]))", str(path)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        frames: list[int] = json.loads(done.stdout)
        return frames

    def _measure(self, started: float) -> dict[str, float]:
        spent = time.perf_counter() - started
        return {"s": spent, "bytes": self._hub.sent_bytes(), "requests": len(self._hub.requests)}

    def _host(self) -> Hffs:
        host = Hffs.below(Path(tempfile.mkdtemp(dir=self._folder)), forks=False)
        home = Path(tempfile.mkdtemp(dir=self._folder))
        host.environ.update(self._hub.env(home))
        return host


def run(folder: Path, copies: int, rounds: int, latency_s: float) -> dict[str, dict[str, float]]:
    """Medians of each contender."""
    with HubServer() as hub:
        bench = Bench(hub, folder, copies)
        hub.latency_s, hub.bytes_per_s = latency_s, LINE_BYTES_PER_S
        contenders = {
            "mount, folder": partial(bench.mount, FOLDER),
            "mount, table": partial(bench.mount, TABLE),
            **{name: partial(bench.open, name) for name in OPEN},
        }
        seen: dict[str, list[dict[str, float]]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, contend in contenders.items():
                seen[name].append(contend())
        summary = {
            name: {key: statistics.median(each[key] for each in found) for key in found[0]}
            for name, found in seen.items()
        }
        return {"video": {"bytes": bench.size_bytes}, **summary}


def show(summary: dict[str, dict[str, float]]) -> None:
    """Print a line for each contender."""
    for name, figures in summary.items():
        told = ", ".join(
            f"{key} {value:,.0f}" if value >= 100 or key == "requests" else f"{key} {value:.2f}"
            for key, value in figures.items()
        )
        print(f"{name:14} {told}")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--latency", type=float, default=0.03)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        summary = run(Path(folder), asked.copies, asked.rounds, asked.latency)
    show(summary)
    if asked.json:
        asked.json.write_text(json.dumps(summary, indent=2))


if __name__ == "__main__":
    main()
