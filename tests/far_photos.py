"""A repository of photos for reading it where it lies: shards of small pages, what is in them."""

from __future__ import annotations

import io

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

ROWS = 60
IMAGES = r"GET .*/resolve/.*\.parquet"


def photo_of(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (80, 60 + seed, 3), np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


def shard_of(numbers: range) -> bytes:
    """A shard as datasets 5 writes it, but for the size of its pages: here of two photos."""
    table = pa.table(
        {
            "image": [{"bytes": photo_of(n), "path": f"{n}.jpg"} for n in numbers],
            "caption": [f"photo {n}" for n in numbers],
            "score": [n / ROWS for n in numbers],
            "noise": [np.random.default_rng(n).bytes(20_000) for n in numbers],
        }
    )
    sink = io.BytesIO()
    pq.write_table(
        table, sink, compression="none", use_dictionary=False, write_page_index=True,
        data_page_size=20_000, write_batch_size=1, row_group_size=20,
    )  # fmt: skip
    return sink.getvalue()
