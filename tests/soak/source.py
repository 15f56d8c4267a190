"""The data set of a soak, beside the model of its view (`tests.soak.model`).

What is expected is made here with Pillow alone. Rows of every kind: mapped, decoded from row
groups, rendered, broken.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tests.mixed_photos import SIZES_BYTES, draw_png, hollow_jpeg, render_jpeg

RENDERED = 400
"""More than a daemon holds in memory, so that some are rendered again where the cache is small."""

BROKEN, DECODED = 20, 8
_SIDE_PX = 96


def make_source(folder: Path) -> Path:
    """Write a data set below a folder, and its model beside it; the source to mount."""
    jpegs = [hollow_jpeg(size, number) for number, size in enumerate(SIZES_BYTES)]
    pngs = [draw_png(seed, _SIDE_PX, _SIDE_PX) for seed in range(RENDERED)]
    bad = [b"no image %d" % number if number % 2 else pngs[number][:60] for number in range(BROKEN)]
    decoded = [hollow_jpeg(50_000 + number, 100 + number) for number in range(DECODED)]
    cells = [*jpegs, *pngs, *bad, *decoded]
    shown = [*jpegs, *map(render_jpeg, pngs), *[None] * BROKEN, *decoded]
    captions = [f"{number % 10}" * (1 + number) for number in range(len(cells))]
    _write_shards(folder, cells, captions)
    (folder / "files").mkdir()
    for number, (image, caption) in enumerate(zip(shown, captions, strict=True)):
        (folder / f"files/{number}.txt").write_text(caption)
        if image is not None:
            (folder / f"files/{number}.jpg").write_bytes(image)
    broken = [f"{number}.jpg" for number, image in enumerate(shown) if image is None]
    (folder / "broken").write_text(" ".join(broken))
    return folder / "set"


def _write_shards(folder: Path, cells: list[bytes], captions: list[str]) -> None:
    images = [{"bytes": cell, "path": None} for cell in cells]
    table = pa.table({"image": images, "caption": captions})
    (folder / "set").mkdir()
    mapped = len(cells) - DECODED
    pq.write_table(table.slice(0, mapped), folder / "set/a.parquet", compression="none",
                   use_dictionary=False)  # fmt: skip
    pq.write_table(table.slice(mapped), folder / "set/b.parquet", compression="zstd",
                   row_group_size=2)  # fmt: skip
