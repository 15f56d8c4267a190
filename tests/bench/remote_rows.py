"""Data sets for the benchmark of remote mode, and where their images lie in the files.

Owns what is written, and which rows the filter of the benchmark keeps; knows nothing of who reads
it. The same arguments give the same bytes.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.bench.remote_filter import MIN_SCORE, MIN_WIDTH
from tests.hub import Logged

datasets.disable_progress_bars()

WIDTHS = (256, 384, 512, 768)
COMMENT = "row %08d"
"""What the comment of each JPEG says, so that a decoded image tells which one it is."""
TAIL_BYTES = 1 << 17
"""The last bytes of a shard hold its footer and page indexes, and behind other columns perhaps the
end of the images: who reads them has not asked for an image."""
ROWS_A_SHARD = 10_000
ROWS_A_PAGE = 10

_STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
_KINDS = {
    "image": _STRUCT,
    "caption": pa.string(),
    "width": pa.int32(),
    "height": pa.int32(),
    "score": pa.float64(),
    "unsafe": pa.float64(),
    "license": pa.string(),
    "url": pa.string(),
}


@dataclass(frozen=True, slots=True)
class Photos:
    """A data set of photos on disk, and what the filter has to find in it."""

    shards: Sequence[Path]
    kept: Sequence[int]
    """Rows that the filter keeps, in order."""
    rows: int
    image_bytes: int
    """Of all images together."""

    @property
    def wanted(self) -> int:
        """The position of the image to read: in the middle of a shard, so that none is lucky."""
        middle = self.rows * 5 // 8
        return min(range(len(self.kept)), key=lambda position: abs(self.kept[position] - middle))

    @property
    def files(self) -> dict[str, bytes | Path]:
        """The shards by their paths in a repository."""
        return {f"data/{path.name}": path for path in self.shards}


def _schema() -> pa.Schema:
    features = {
        name: {"_type": "Image"} if name == "image" else {"dtype": str(kind), "_type": "Value"}
        for name, kind in _KINDS.items()
    }
    features["score"]["dtype"] = features["unsafe"]["dtype"] = "float64"
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    return pa.schema(list(_KINDS.items()), metadata=told)


def _encode(width: int) -> bytes:
    """A real JPEG with a comment that can be written over."""
    ramp = np.linspace(0, 255, width * width * 3 // 4).reshape(width * 3 // 4, width)
    file = io.BytesIO()
    Image.fromarray(ramp.astype(np.uint8)).convert("RGB").save(
        file, "JPEG", comment=(COMMENT % 0).encode()
    )
    return file.getvalue()


def _draw(rows: int) -> tuple[list[int], dict[str, list[Any]]]:
    """The rows that the filter keeps, and the columns that it looks at."""
    draw = np.random.default_rng(0)
    kept = sorted(draw.permutation(rows)[: max(1, rows // 100)].tolist())
    widths, scores = draw.choice(WIDTHS, rows), draw.random(rows)
    scores[widths >= MIN_WIDTH] *= MIN_SCORE
    widths[kept], scores[kept] = WIDTHS[-1], 1 - 0.01 * scores[kept]
    return kept, {"width": widths.tolist(), "score": scores.tolist()}


def write_photos(folder: Path, rows: int, image_bytes: int, shards: int = 4) -> Photos:
    """Shards of JPEGs of about a size, written by `datasets`; a shard at a time is in memory.

    Each image is a small JPEG with noise behind its end, as large as a photo: decoders read it, and
    nothing compresses it.
    """
    bases = {width: _encode(width) for width in WIDTHS}
    kept, columns = _draw(rows)
    draw, paths, total = np.random.default_rng(1), [], 0
    for shard in range(shards):
        numbers = range(shard * rows // shards, (shard + 1) * rows // shards)
        sizes = draw.integers(image_bytes * 4 // 5, image_bytes * 6 // 5, len(numbers)).tolist()
        cells: list[dict[str, bytes | None]] = []
        for number, size in zip(numbers, sizes, strict=True):
            base = bases[columns["width"][number]]
            photo = base.replace((COMMENT % 0).encode(), (COMMENT % number).encode(), 1)
            photo += draw.bytes(max(0, size - len(photo)))
            cells.append({"bytes": photo, "path": None})
            total += len(photo)
        path = folder / f"train-{shard:05d}-of-{shards:05d}.parquet"
        datasets.Dataset(_table(cells, numbers, columns)).to_parquet(path)
        paths.append(path)
    return Photos(paths, kept, rows, total)


def _table(
    cells: list[dict[str, bytes | None]], numbers: range, columns: Mapping[str, list[Any]]
) -> pa.Table:
    widths, scores = (columns[name][numbers.start : numbers.stop] for name in ("width", "score"))
    rows = {
        "image": cells,
        "caption": [f"photo {n} of a street in the morning, seen from above" for n in numbers],
        "width": widths,
        "height": [width * 3 // 4 for width in widths],
        "score": scores,
        "unsafe": [(n * 7919 % 1000) / 1000 for n in numbers],
        "license": [("CC0", "CC-BY", "CC-BY-SA")[n % 3] for n in numbers],
        "url": [f"https://example.org/photos/{n:08d}.jpg" for n in numbers],
    }
    return pa.table(rows, _schema())


def write_many(folder: Path, shards: int) -> list[Path]:
    """Shards of 10,000 rows with footers and page indexes as of 1 GB, whose images are a few bytes.

    They differ in a few bytes of their first image: enough to have hashes of their own.
    """
    mark = b"\xff\xd8\xffshard %08d"
    rows = range(ROWS_A_SHARD)
    cells: list[dict[str, bytes | None]] = [
        {"bytes": b"\xff\xd8\xff%08d" % row + b"." * (row % 30), "path": None} for row in rows
    ]
    cells[0] = {"bytes": mark % 0, "path": None}
    sink = io.BytesIO()
    pq.write_table(
        _table(cells, rows, _draw(ROWS_A_SHARD)[1]),
        sink,
        row_group_size=1000,
        write_batch_size=ROWS_A_PAGE,
        data_page_size=200,
        use_dictionary=[name for name in _KINDS if name != "image"],
        compression={"image.bytes": "none"} | dict.fromkeys(list(_KINDS)[1:], "snappy"),
        write_page_index=True,
    )
    whole, paths = sink.getvalue(), []
    for shard in range(shards):
        paths.append(folder / f"train-{shard:05d}-of-{shards:05d}.parquet")
        paths[-1].write_bytes(whole.replace(mark % 0, mark % shard))
    return paths


def write_tars(folder: Path, tars: int, samples: int, image_bytes: int) -> list[Path]:
    """Tars of so many samples in all: a JPEG of about a size (a third to five thirds), a text and
    JSON, packed as webdataset's writer does it.
    """
    base, draw, paths = _encode(WIDTHS[0]), np.random.default_rng(2), []
    for number in range(tars):
        paths.append(folder / f"train-{number:06d}.tar")
        with tarfile.open(paths[-1], "w", format=tarfile.PAX_FORMAT) as tar:
            for sample in range(number * samples // tars, (number + 1) * samples // tars):
                size = int(draw.integers(image_bytes // 3, image_bytes * 5 // 3))
                photo = base.replace((COMMENT % 0).encode(), (COMMENT % sample).encode(), 1)
                members = {
                    "jpg": photo + draw.bytes(max(0, size - len(photo))),
                    "json": json.dumps({"width": WIDTHS[0], "score": draw.random()}).encode(),
                    "txt": b"photo %d of a street in the morning, seen from above" % sample,
                }
                for name, data in members.items():
                    member = tarfile.TarInfo(f"{sample:08d}.{name}")
                    member.size, member.mtime = len(data), 0.5  # which takes a header of its own
                    tar.addfile(member, io.BytesIO(data))
    return paths


def count_image_bytes(requests: Sequence[Logged], shards: Sequence[Path]) -> int:
    """Bytes of the images' pages among what was sent, but those in the tails of the shards."""
    extents = {path.name: (path.stat().st_size, list(_find_images(path))) for path in shards}
    total = 0
    for each in requests:
        size, found = extents.get(each.path.rpartition("/")[2], (0, []))
        if "/resolve/" not in each.path or not each.sent_bytes:
            continue
        start = _find_start(each.range, size)
        if start and start >= size - TAIL_BYTES and start + each.sent_bytes == size:
            continue
        stop = start + each.sent_bytes
        total += sum(max(0, min(stop, last) - max(start, first)) for first, last in found)
    return total


def _find_start(asked: str | None, size: int) -> int:
    """The first byte of a range of a file: `bytes=5-9`, `bytes=5-`, the last ones `bytes=-5`."""
    if asked is None:
        return 0
    first, _, last = asked.removeprefix("bytes=").partition("-")
    return int(first) if first else max(0, size - int(last))


def _find_images(path: Path) -> Iterator[tuple[int, int]]:
    """Where the images of each row group begin and end."""
    footer = pq.read_metadata(path)
    for group in range(footer.num_row_groups):
        for number in range(footer.num_columns):
            chunk = footer.row_group(group).column(number)
            if chunk.path_in_schema == "image.bytes":
                start = chunk.dictionary_page_offset or chunk.data_page_offset
                yield start, start + chunk.total_compressed_size
