"""What scanning a folder of images takes, beside the scan of kohya's scripts.

    .venv/bin/python -m tests.bench.scan [--images 20000] [--many 1000000] [--rounds 5]

The same JPEGs, with EXIF and profiles, lie in a folder and in a mount of a Parquet of them. kohya's
scan is that of `library/train_util.py`: `glob_images` and, by file, `get_image_size`. It is taken
from a checkout below HFFS_TRAINERS if there is one (`sd-scripts`), else from the stand-in here, of
the same globs and the same library, imagesize; which, is said. Contenders take turns, each in
a process of its own whose imports do not count, and for the first time on each mount, which is made
anew; `again` is hffs with what it remembered. Both must find as many images. At last a folder of
very many hard links: how long, and how much memory.
"""

from __future__ import annotations

import argparse
import ast
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.bench.machine import Say, be_quiet, describe_machine
from tests.command import Hffs
from tests.trainers.driving import drive

SIZES, WHOLE = "kohya, sizes alone", "kohya, its own scan"
"""Its two functions that find files and their sizes; and its data set built over a folder, which is
what its users wait for, and reads captions too.
"""

KINDS = 64
MOST_LINKS = 60_000  # ext4 has no more than 65,000 to a file
EXTENSIONS = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".PNG", ".JPG", ".JPEG", ".WEBP", ".BMP")

STAND_IN = f"""
IMAGE_EXTENSIONS = {EXTENSIONS!r}
def glob_images(directory, base="*"):
    found = []
    for extension in IMAGE_EXTENSIONS:
        found.extend(glob.glob(os.path.join(glob.escape(directory), base + extension)))
    return sorted(set(found))
def get_image_size(self, path):
    return imagesize.get(path)
"""

KOHYA = """
import glob, json, os, sys, time
import imagesize
from PIL import Image
{source}
start = time.perf_counter()
sizes = [get_image_size(None, path) for path in glob_images(sys.argv[1])]
print(json.dumps(dict(seconds=time.perf_counter() - start, images=len(sizes))))
"""

OURS = """
import json, os, re, sys, time
from pathlib import Path
from hffs.data.arrow import do_without_pandas
from hffs.train.scanning.scan import scan_folder
do_without_pandas()
class Watcher:
    def progress(self, *_): pass
    def notice(self, text): raise SystemExit(text)
cache, workers = Path(sys.argv[2]), os.cpu_count()
start = time.perf_counter()
scan = scan_folder(Path(sys.argv[1]), cache, workers, Watcher())
spent = time.perf_counter() - start
peak = int(re.search("VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024
print(json.dumps(dict(seconds=spent, images=len(scan.names), peak_mib=peak)))
"""


def encode_images(seed: int = 0) -> list[bytes]:
    """Small JPEGs of many sizes, as cameras and editors leave them."""
    random = np.random.default_rng(seed)
    encoded = []
    for number in range(KINDS):
        width, height = random.integers(64, 200, 2).tolist()
        pixels = random.integers(0, 255, (height // 8, width // 8, 3), np.uint8)
        exif = Image.Exif()
        exif[0x0112], exif[0x010F] = int(random.integers(1, 9)), "a maker of cameras"
        if number % 4 == 0:
            exif[0x9286] = "a long comment " * 500
        profile = bytes(3000) if number % 3 == 0 else None
        file = io.BytesIO()
        image = Image.fromarray(pixels).resize((width, height))
        image.save(file, "JPEG", exif=exif, icc_profile=profile)
        encoded.append(file.getvalue())
    return encoded


def write_folder(folder: Path, images: Sequence[bytes], count: int) -> None:
    """Files `0.jpg`, `0.txt`, ..."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.jpg").write_bytes(images[number % len(images)])
        (folder / f"{number}.txt").write_text("a caption")


def write_links(folder: Path, images: Sequence[bytes], count: int) -> None:
    """As many names, few files."""
    folder.mkdir()
    for number in range(count):
        path = folder / f"{number}.jpg"
        if number % MOST_LINKS == 0:
            path.write_bytes(images[number // MOST_LINKS % len(images)])
        else:
            os.link(folder / f"{number - number % MOST_LINKS}.jpg", path)


def write_parquet(path: Path, images: Sequence[bytes], count: int) -> None:
    """The same images and captions as a table."""
    cells = [{"bytes": images[number % len(images)], "path": None} for number in range(count)]
    table = pa.table({"image": cells, "caption": ["a caption"] * count})
    pq.write_table(table, path, compression="none", use_dictionary=False)


def find_kohya() -> tuple[str, str]:
    """The source of both functions, and where it is from."""
    checkout = Path(os.environ.get("HFFS_TRAINERS", "/nowhere"), "sd-scripts")
    module = checkout / "library/train_util.py"
    if not module.exists():
        return STAND_IN, "a stand-in"
    wanted = ("glob_images", "get_image_size")
    found = {
        node.name: ast.unparse(node)
        for node in ast.walk(ast.parse(module.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name in wanted
    }
    extensions = f"IMAGE_EXTENSIONS = {EXTENSIONS!r}"
    return "\n".join([extensions, *(found[name] for name in wanted)]), "a checkout of sd-scripts"


def run_fresh(code: str, *arguments: Path) -> dict[str, float]:
    """What a process of its own measures."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


Contender = Callable[[Path], dict[str, float]]


def list_contenders(kohya: str, scans: Path) -> dict[str, Contender]:
    """What scans a folder, by name."""
    contenders: dict[str, Contender] = {
        SIZES: lambda root: run_fresh(kohya, root),
        "hffs": lambda root: run_fresh(OURS, root, scans),
        "hffs, again": lambda root: run_fresh(OURS, root, scans),
    }
    if has_whole_kohya():
        contenders[WHOLE] = run_whole_kohya
    return contenders


def has_whole_kohya() -> bool:
    """Whether kohya's own data set can be built."""
    checkout = Path(os.environ.get("HFFS_TRAINERS", "/nowhere"), "sd-scripts")
    return checkout.is_dir() and bool(os.environ.get("HFFS_TRAINERS_LIBS"))


def run_whole_kohya(root: Path) -> dict[str, float]:
    """Its data set over a folder, whose captions are read too."""
    checkout = Path(os.environ["HFFS_TRAINERS"], "sd-scripts")
    options = ("--caption-extension", ".txt", "--scan-only")
    said = drive("kohya", checkout, root, *options)
    return {"seconds": said["scan_s"], "images": said["items"]}


def time_round(root: Path, contenders: dict[str, Contender]) -> dict[str, dict[str, float]]:
    """Each contender once on the folder."""
    figures = {name: contend(root) for name, contend in contenders.items()}
    if len({spent["images"] for spent in figures.values()}) != 1:
        raise SystemExit(f"not the same images: {figures}")
    return figures


def time_mounted(
    hffs: Hffs, table: Path, contenders: dict[str, Contender]
) -> dict[str, dict[str, float]]:
    """As `time_round`, on mounts that nobody has read from."""
    figures: dict[str, dict[str, float]] = {}
    for name, contend in contenders.items():
        root = Path(tempfile.mkdtemp(dir=table.parent))
        hffs("mount", table, root, timeout_s=300)
        try:
            figures[name] = contend(root)
        finally:
            hffs("umount", root)
    return figures


def summarize(rounds: Sequence[dict[str, dict[str, float]]]) -> dict[str, Any]:
    """Medians in seconds, and how many times as long as hffs kohya's scan takes, by round."""
    medians = {
        name: round(statistics.median(figures[name]["seconds"] for figures in rounds), 3)
        for name in rounds[0]
    }
    ratios = {
        f"{name} / hffs": round(
            statistics.median(
                figures[name]["seconds"] / figures["hffs"]["seconds"] for figures in rounds
            ),
            2,
        )
        for name in rounds[0]
        if name.startswith("kohya")
    }
    peaks = max(figures["hffs"]["peak_mib"] for figures in rounds)
    return {"seconds": medians, **ratios, "hffs, peak MiB": peaks}


def run(folder: Path, count: int, many: int, rounds: int, say: Say = be_quiet) -> dict[str, Any]:
    """All figures."""
    images = encode_images()
    source, origin = find_kohya()
    kohya, scans = KOHYA.format(source=source), iter(range(10**6))
    files, table = folder / "files", folder / "images.parquet"
    hffs = Hffs.below(folder, forks=False)
    if not has_whole_kohya():
        sys.stderr.write(
            "without kohya's own scan: HFFS_TRAINERS or HFFS_TRAINERS_LIBS does not name it\n"
        )
    write_folder(files, images, count)
    write_parquet(table, images, count)
    local, mounted = [], []
    for number in range(rounds):
        say(f"round {number + 1} of {rounds}")
        contenders = list_contenders(kohya, folder / f"scans{next(scans)}")
        local.append(time_round(files, contenders))
        contenders = list_contenders(kohya, folder / f"scans{next(scans)}")
        mounted.append(time_mounted(hffs, table, contenders))
    result = {
        "machine": describe_machine(),
        "kohya": origin,
        "images": count,
        "folder": summarize(local),
        "mount": summarize(mounted),
    }
    if many:
        write_links(folder / "many", images, many)
        at = folder / f"scans{next(scans)}"
        result["many"] = [run_fresh(OURS, folder / "many", at) for _ in range(2)]
    return result


def main() -> None:
    """Measure, print, and write the figures if asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--many", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, help="on the file system to measure")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        result = run(Path(folder), options.images, options.many, options.rounds)
    text = json.dumps(result, indent=2)
    sys.stdout.write(text + "\n")
    if options.json:
        options.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
