"""What a daemon takes by the number of rows that it serves: `python -m tests.bench.memory
[--rows N ...] [--json FILE]`.

Owns the data, which is cheap to make, and how memory is counted: as proportional set sizes of the
daemon and of all that it started, after a listing and after each of three epochs of a
sample of files. The kernel's own memory of names is what its slabs of names and inodes grew by
during the listing, and during the first epoch (of all mounts of the host: let nobody else list).
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from uuid import uuid4

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tests.bench.remote_memory import MARK, Watch
from tests.command import Hffs

ROWS = (10_000, 100_000, 1_000_000, 10_000_000)
GROUP = 100_000
EPOCHS = 3
SAMPLE = 5_000
MOST_LISTED = 2_000_000
"""The kernel keeps a kilobyte a name: of ten million rows that would be all memory of the host."""
FIXED_BYTES, ROW_BYTES = 150e6, 40
"""What the daemon may take, and besides for each row."""

_TIMEOUT_S = 900.0
_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

# One grey pixel.
_JPEG = bytes.fromhex(
    "ffd8ffe000104a46494600010100000100010000ffdb004300100b0c0e0c0a100e0d0e1211101318281a181616182331"
    "23251d283a333d3c3933383740485c4e404457453738506d51575f626768673e4d71797064785c656763ffc0000b0800"
    "01000101011100ffc40014000100000000000000000000000000000000ffc40014100100000000000000000000000000"
    "000000ffda0008010100003f003fffd9"
)


def write_rows(path: Path, rows: int) -> None:
    """Tiny images with short captions and columns to filter by; the same bytes each time."""
    draw = np.random.default_rng(0)
    with pq.ParquetWriter(path, _make_group(1, draw).schema, compression="none",
                          use_dictionary=False) as writer:  # fmt: skip
        group = _make_group(min(rows, GROUP), draw)
        for start in range(0, rows, GROUP):
            writer.write_table(group.slice(0, min(GROUP, rows - start)), row_group_size=GROUP)


def _make_group(rows: int, draw: np.random.Generator) -> pa.Table:
    images = pa.array([_JPEG] * rows, pa.binary())
    cells = pa.StructArray.from_arrays([images, pa.nulls(rows, pa.string())], fields=list(_STRUCT))
    return pa.table(
        {
            "image": cells,
            "caption": [f"photo number {number}" for number in range(rows)],
            "width": draw.integers(256, 1024, rows).astype(np.int32),
            "height": draw.integers(256, 1024, rows).astype(np.int32),
            "score": draw.random(rows),
        }
    )


def measure(rows: Sequence[int]) -> list[dict[str, float]]:
    """Figures of a mount of each number of rows."""
    return list(measure_each(rows))


def measure_each(rows: Sequence[int]) -> Iterator[dict[str, float]]:
    """The same, each as soon as it is known."""
    with tempfile.TemporaryDirectory() as base:
        for count in rows:
            yield _measure(Path(base), count)


def _measure(base: Path, rows: int) -> dict[str, float]:
    own = base / str(rows)
    (own / "mnt").mkdir(parents=True)
    source, mark = own / "photos.parquet", uuid4().hex
    start_s = time.perf_counter()
    write_rows(source, rows)
    command = Hffs.below(own, forks=False)
    hffs = Hffs(command.environ | {MARK: mark}, forks=False)
    found: dict[str, float] = {"rows": rows, "source_bytes": source.stat().st_size}
    found["generating_s"] = time.perf_counter() - start_s
    with Watch(mark) as watch, _mounted(hffs, source, own / "mnt", found, "first mount"):
        peaks = watch.look()
        daemon = hffs.pid(own / "mnt")
        others = [peak.anonymous_bytes for pid, peak in peaks.items() if pid != daemon]
        found["deciding_anonymous_bytes"] = max(others, default=0)
    with _mounted(hffs, source, own / "mnt", found, "known mount"):
        daemon = hffs.pid(own / "mnt")
        found |= _name("mounted", read_memory(daemon))
        found |= _list(own / "mnt")
        found |= _name("listed", read_memory(daemon))
        before = _read_slabs()
        for epoch in range(1, EPOCHS + 1):
            files = _read_sample(own / "mnt", rows)
            if epoch == 1:
                found["kernel_bytes_per_file"] = max(0, _read_slabs() - before) / files
            found |= _name(f"epoch {epoch}", read_memory(daemon))
    with _mounted(hffs, source, own / "mnt", found, "filter and mount", "--where", "width >= 512"):
        pass
    shutil.rmtree(own)
    return found | {"goal_bytes": FIXED_BYTES + ROW_BYTES * rows}


@contextmanager
def _mounted(
    hffs: Hffs, source: Path, folder: Path, found: dict[str, float], name: str, *flags: str
) -> Iterator[None]:
    start_s = time.perf_counter()
    hffs("mount", source, folder, *flags, timeout_s=_TIMEOUT_S)
    found[f"{name}_s"] = time.perf_counter() - start_s
    try:
        yield
    finally:
        hffs("umount", "--force", folder)


def _name(when: str, memory: Mapping[str, float]) -> dict[str, float]:
    return {f"{when} {name}": figure for name, figure in memory.items()}


def _list(folder: Path) -> dict[str, float]:
    """List names once; what the kernel keeps of them, and how fast they came."""
    before, start_s = _read_slabs(), time.perf_counter()
    with os.scandir(folder) as entries:
        names = sum(1 for _ in islice(entries, MOST_LISTED))
    taken_s, after = time.perf_counter() - start_s, _read_slabs()
    return {
        "names": names,
        "names_per_s": names / taken_s,
        "kernel_bytes_per_name": max(0, after - before) / names,
    }


def _read_sample(folder: Path, rows: int) -> int:
    """One epoch of some files of all parts of the view, the same each time, images and captions;
    how many.
    """
    count = min(rows, SAMPLE)
    for position in np.random.default_rng(0).choice(rows, count, replace=False):
        Path(folder, f"{position}.jpg").read_bytes()
        Path(folder, f"{position}.txt").read_bytes()
    return 2 * count


def read_memory(daemon: int) -> dict[str, float]:
    """Bytes of a daemon and all that it started, each shared page counted once."""
    total = {"pss_bytes": 0.0, "anonymous_bytes": 0.0, "file_bytes": 0.0}
    for pid in (daemon, *_find_descendants(daemon)):
        try:
            told = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:  # it has ended just now
            continue
        kilobytes = {
            name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB", told, re.M)
        }
        total["pss_bytes"] += 1024 * kilobytes["Pss"]
        total["anonymous_bytes"] += 1024 * kilobytes["Pss_Anon"]
        total["file_bytes"] += 1024 * (kilobytes["Pss_File"] + kilobytes["Pss_Shmem"])
    return total


def _find_descendants(parent: int) -> Iterator[int]:
    for listed in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in map(int, listed.read_text().split()):
            yield pid
            yield from _find_descendants(pid)


def read_ticks_s(pid: int) -> float:
    """Processor time of a process so far, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _read_slabs() -> int:
    """Bytes of what the kernel has of names and of inodes of FUSE; 0 where only root may ask."""
    try:
        told = Path("/proc/slabinfo").read_text()
    except OSError:
        return 0
    found = re.findall(r"^(?:fuse_inode|dentry)\s+(\d+)\s+\d+\s+(\d+)", told, re.MULTILINE)
    return sum(int(objects) * int(size_bytes) for objects, size_bytes in found)


def render_table(figures: Sequence[Mapping[str, float]]) -> str:
    """A column for each number of rows, a line a figure."""
    lines = []
    for name in figures[0]:
        cells = (_render(name, each[name]) for each in figures)
        lines.append(name.removesuffix("_bytes").ljust(30) + "".join(f"{it:>14}" for it in cells))
    return "\n".join(lines)


def _render(name: str, figure: float) -> str:
    if name.endswith("_bytes"):
        return f"{figure / 1e6:,.1f} MB"
    if name.endswith("_s") and not name.endswith("per_s"):
        return f"{figure:.2f} s"
    return f"{figure:,.0f}"


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=list(ROWS))
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures = list[dict[str, float]]()
    for found in measure_each(options.rows):
        figures.append(found)
        print(f"{render_table(figures[-1:])}\n", flush=True)
    print(render_table(figures))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
