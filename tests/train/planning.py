"""Plans made by hand, so that what loads them is tested apart from what makes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from hffs.core.buckets.spec import BucketSpec
from hffs.core.types import Size
from hffs.train.plan import Plan
from hffs.train.scanning.scanned import Scan
from tests.train.plans import assign_nearest

SIZES = (Size(32, 48), Size(48, 32))


def plan_by_hand(
    folder: Path, sizes: Sequence[Size] = SIZES, *, id: str = "art", upright: bool = False
) -> Plan:
    """Every image of a folder in the bucket of the nearest shape, resized to cover it, centred."""
    scan = _scan(folder)
    assignment = assign_nearest(scan.sizes(upright=upright), sizes)
    return Plan(id=id, scan=scan, spec=BucketSpec(), assignment=assignment, upright=upright)


def _scan(folder: Path) -> Scan:
    names = sorted(
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if file.suffix != ".txt" and file.is_file()
    )
    stored, turns = list[tuple[int, int]](), list[int]()
    for name in names:
        with Image.open(folder / name) as image:
            stored.append(image.size)
            turns.append(image.getexif().get(0x112, 1))
    return Scan(
        folder=folder,
        names=pa.array(names, pa.large_string()),
        stored=np.array(stored, np.int32).reshape(-1, 2),
        orientation=np.array(turns, np.uint8),
        problems={},
        others=0,
        fingerprint=hashlib.sha256(repr((names, stored, turns)).encode()).hexdigest(),
    )


def write_images(folder: Path, shapes: Mapping[str, Size]) -> Path:
    """Images that differ, by name, each with its name as caption."""
    folder.mkdir(exist_ok=True, parents=True)
    for number, (name, size) in enumerate(shapes.items()):
        make_image(size, number).save(folder / name)
        (folder / name).with_suffix(".txt").write_text(f"caption of {name}")
    return folder


def make_image(size: Size, seed: int) -> Image.Image:
    """Smooth colours with some noise, as photos have."""
    draw = np.random.default_rng(seed)
    coarse = Image.fromarray(draw.integers(0, 256, (4, 4, 3), np.uint8))
    pixels = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.int16)
    noisy = pixels + draw.integers(-6, 7, pixels.shape)
    return Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8))


def write_folder(folder: Path, count: int = 20) -> Path:
    """Portraits and landscapes in turn."""
    shapes = [Size(40, 60), Size(60, 40)]
    return write_images(folder, {f"{n}.jpg": shapes[n % 2] for n in range(count)})
