"""How much a lossless cut saves: against decoding, cropping and encoding by Pillow, round by round.

    .venv/bin/python -m tests.bench.composites [--json] [--rounds 40]

CPU time of one thread; the contestants take turns, so that a busy machine slows all of them. The
median of the rounds is told. The grid is a photo of the scikit-image wheel four times, turned each
time, saved by Pillow at quality 90 and 4:2:0, as the usual generators do.
"""

from __future__ import annotations

import argparse
import importlib.util
import io
import json
import statistics
import sys
import time
from collections.abc import Callable, Collection
from pathlib import Path

from PIL import Image

from hffs.core.composites import plan_composite
from hffs.view import codecs
from hffs.view.codecs import Reshape, render, turbojpeg

SIDE = 512
GRID = Reshape(plan_composite(4, "2x2", "all"))
UPRIGHT = Reshape(upright=True)


def load_photo() -> Image.Image:
    spec = importlib.util.find_spec("skimage")
    folders = list((spec and spec.submodule_search_locations) or [])
    if not folders:
        sys.exit("no photo: is scikit-image installed?")
    return Image.open(Path(folders[0], "data", "astronaut.png")).convert("RGB").resize((SIDE, SIDE))


def build_grid() -> Image.Image:
    photo, grid = load_photo(), Image.new("RGB", (2 * SIDE, 2 * SIDE))
    for tile in range(4):
        row, column = divmod(tile, 2)
        grid.paste(photo.rotate(90 * tile), (column * SIDE, row * SIDE))
    return grid


def save(image: Image.Image, kind: str, orientation: int = 1, **options: int) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    if orientation != 1:
        exif[274] = orientation
    image.save(file, kind, exif=exif, **options)
    return file.getvalue()


def encode_again(data: bytes, tiles: range) -> list[bytes]:
    """What has to be done without libturbojpeg, as shortly as Pillow lets one write it."""
    files = []
    with Image.open(io.BytesIO(data)) as image:
        for tile in tiles:
            row, column = divmod(tile, 2)
            box = (column * SIDE, row * SIDE, (column + 1) * SIDE, (row + 1) * SIDE)
            file = io.BytesIO()
            image.crop(box).save(file, "JPEG", quality=95, subsampling=0)
            files.append(file.getvalue())
    return files


def turn_again(data: bytes) -> None:
    with Image.open(io.BytesIO(data)) as image:
        turned = image.transpose(Image.Transpose.ROTATE_270)
        turned.save(io.BytesIO(), "JPEG", quality=95, subsampling=0)


def build_contests() -> dict[str, Callable[[], object]]:
    grid = build_grid()
    jpeg, png = save(grid, "JPEG", quality=90), save(grid, "PNG")
    turned = save(grid, "JPEG", 6, quality=90)
    return {
        "one tile, lossless": lambda: render(jpeg, "jpg", GRID, [3]),
        "one tile, Pillow": lambda: encode_again(jpeg, range(3, 4)),
        "four tiles, lossless": lambda: render(jpeg, "jpg", GRID),
        "four tiles, one by one": lambda: [render(jpeg, "jpg", GRID, [at]) for at in range(4)],
        "four tiles, Pillow": lambda: encode_again(jpeg, range(4)),
        "four tiles, Pillow one by one": lambda: [
            encode_again(jpeg, range(at, at + 1)) for at in range(4)
        ],
        "upright, lossless": lambda: render(turned, "jpg", UPRIGHT),
        "upright, Pillow": lambda: turn_again(turned),
        "upper tile of a PNG grid": lambda: render(png, "jpg", GRID, [0]),
        "upper tile of a PNG grid, Pillow": lambda: encode_again(png, range(1)),
        "PNG grid to four JPEGs": lambda: render(png, "jpg", GRID),
        "PNG grid to four PNGs": lambda: render(png, "png", GRID),
        "measure 100 JPEGs": lambda: [codecs.measure(jpeg) for _ in range(100)],
        "measure 100 JPEGs with EXIF": lambda: [codecs.measure(turned) for _ in range(100)],
    }


RATIOS = (
    ("one tile, Pillow", "one tile, lossless"),
    ("four tiles, Pillow", "four tiles, lossless"),
    ("four tiles, Pillow one by one", "four tiles, lossless"),
    ("four tiles, one by one", "four tiles, lossless"),
    ("upright, Pillow", "upright, lossless"),
    ("upper tile of a PNG grid, Pillow", "upper tile of a PNG grid"),
)
GOALS = {
    "one tile": ("one tile, Pillow", "one tile, lossless"),
    "a tile of four": ("four tiles, Pillow one by one", "four tiles, lossless"),
}
"""Times that a lossless cut is faster: goals are 1.5 where one tile is wanted, and 4 for each tile
where all four are.
"""


def measure(rounds: int) -> dict[str, float]:
    """The ratios that have a goal; no others are run."""
    named = {name for pair in GOALS.values() for name in pair}
    medians = run(rounds, named)
    return {goal: medians[slow] / medians[fast] for goal, (slow, fast) in GOALS.items()}


def run(rounds: int, named: Collection[str] | None = None) -> dict[str, float]:
    """Median milliseconds of each contestant, or of those that are named."""
    contests = build_contests()
    contests = {name: contests[name] for name in contests if named is None or name in named}
    times: dict[str, list[float]] = {name: [] for name in contests}
    for _ in range(rounds):
        for name, work in contests.items():
            started = time.thread_time()
            work()
            times[name].append(1000 * (time.thread_time() - started))
    return {name: statistics.median(spent) for name, spent in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    medians = run(options.rounds)
    ratios = {f"{slow} / {fast}": medians[slow] / medians[fast] for slow, fast in RATIOS}
    if options.json:
        print(json.dumps({"library": turbojpeg.describe_library(), "ms": medians, "ratio": ratios}))
        return
    print(turbojpeg.describe_library())
    for name, spent in medians.items():
        print(f"{name:<32}{spent:>9.2f} ms")
    for name, ratio in ratios.items():
        print(f"{name:<56}{ratio:>6.2f}x")


if __name__ == "__main__":
    main()
