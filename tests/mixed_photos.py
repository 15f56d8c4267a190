"""A set whose files are of every kind that a mount treats in its own way, and what they must hold.

Passed-through JPEGs of sizes around the page and the readahead, from pages that are mapped and from
row groups that are decoded; PNGs, whose size nobody knows before they are read; captions from one
byte on. What is expected is worked out here with Pillow alone, never read from a mount.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.command import Hffs

SIZES_BYTES = (4, 4095, 4096, 4097, 100_000, 131_072, 1_048_577, 3_000_000)
RENDERED = 40
KEPT = 4
"""So many of the rendered ones are never taken as unread ones: any test may read them."""


def hollow_jpeg(size_bytes: int, seed: int) -> bytes:
    """What passes through as a JPEG: bytes that nobody decodes."""
    return b"\xff\xd8\xff" + np.random.default_rng(seed).bytes(size_bytes - 3)


def draw_png(seed: int, height: int, width: int) -> bytes:
    """Noise as a PNG, another for each seed."""
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=1)
    return file.getvalue()


def render_jpeg(png: bytes) -> bytes:
    """What a mount shows of a PNG, by Pillow."""
    file = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.save(file, "JPEG", quality=95, subsampling=0)
    return file.getvalue()


@dataclass(frozen=True)
class Mixed:
    """A mounted set: `files` is what each name holds, in the order of the listing."""

    hffs: Hffs = field(repr=False)
    folder: Path
    source: Path
    files: dict[str, bytes] = field(repr=False)
    passing: tuple[str, ...]
    rendered: tuple[str, ...]
    _unread: list[str] = field(default_factory=list)

    def take_unread(self) -> str:
        """An image that was never read, so that its size is not known: to one test alone."""
        return self._unread.pop()

    def pid(self) -> int:
        """Process id of the daemon."""
        return self.hffs.pid(self.folder)


def mount_mixed(base: Path) -> Mixed:
    """Make the set below a folder, and mount it there; the caller unmounts."""
    jpegs = [hollow_jpeg(size, number) for number, size in enumerate(SIZES_BYTES)]
    pngs = [draw_png(seed, 120 + seed if seed else 3000, 160) for seed in range(RENDERED)]
    decoded = [hollow_jpeg(50_000 + number, 100 + number) for number in range(4)]
    images = [*jpegs, *pngs, *decoded]
    captions = [f"{number % 10}" * (1 + number**2) for number in range(len(images))]
    table = pa.table(
        {"image": [{"bytes": image, "path": None} for image in images], "caption": captions}
    )
    (base / "set").mkdir()
    mapped = len(jpegs) + len(pngs)
    pq.write_table(table.slice(0, mapped), base / "set/a.parquet", compression="none",
                   use_dictionary=False)  # fmt: skip
    pq.write_table(table.slice(mapped), base / "set/b.parquet", compression="zstd",
                   row_group_size=2)  # fmt: skip
    (base / "mnt").mkdir()
    hffs = Hffs.below(base)
    hffs("mount", base / "set", base / "mnt")
    shown = [*jpegs, *map(render_jpeg, pngs), *decoded]
    files: dict[str, bytes] = {}
    for number, (image, caption) in enumerate(zip(shown, captions, strict=True)):
        files |= {f"{number}.jpg": image, f"{number}.txt": caption.encode()}
    names = [f"{number}.jpg" for number in range(len(images))]
    rendered = names[len(jpegs) : mapped]
    return Mixed(
        hffs,
        base / "mnt",
        base / "set",
        files,
        (*names[: len(jpegs)], *names[mapped:]),
        tuple(rendered),
        rendered[KEPT:],
    )
