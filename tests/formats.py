"""One small data set in every format that hffs reads: the same four photos and captions.

Owns the files of each; must not know how they are mounted, nor whether from a folder or a Hub.
"""

from __future__ import annotations

import base64
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CAPTIONS = ("a red kite", "two boats", "Hügel, grün", "an old oak")
LABELS = ("cat", "cat", "dog", "dog")


def _encode(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (24 + seed, 32, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()


PHOTOS = tuple(_encode(seed) for seed in range(len(CAPTIONS)))

Files = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Case:
    """A data set: its files by path, and the flags that a user has to give beside its name."""

    files: Files
    flags: tuple[str, ...] = ()
    has_captions: bool = True


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none", use_dictionary=False)
    return sink.getvalue()


def _arrow(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _table(start: int, stop: int) -> pa.Table:
    images = [{"bytes": photo, "path": None} for photo in PHOTOS[start:stop]]
    return pa.table({"image": images, "caption": CAPTIONS[start:stop]})


def parquet_shards() -> Case:
    """What `push_to_hub` writes."""
    names = [f"data/train-{number:05d}-of-00002.parquet" for number in range(2)]
    shards = [_parquet(_table(0, 3)), _parquet(_table(3, 4))]
    return Case(dict(zip(names, shards, strict=True)) | {"README.md": b"# photos\n"})


def arrow_shards() -> Case:
    """Arrow streams."""
    return Case({"train-0.arrow": _arrow(_table(0, 2)), "train-1.arrow": _arrow(_table(2, 4))})


def _photo_files(folder: str = "") -> dict[str, bytes]:
    return {f"{folder}{number}.jpg": photo for number, photo in enumerate(PHOTOS)}


def _csv(header: str, columns: list[list[str]]) -> bytes:
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(header.split(","))
    writer.writerows(zip(*columns, strict=True))
    return file.getvalue().encode()


def _jsonl(rows: list[dict[str, object]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


NAMES = [f"{number}.jpg" for number in range(len(PHOTOS))]


def imagefolder_csv() -> Case:
    """Images beside a metadata.csv."""
    metadata = _csv("file_name,caption", [NAMES, list(CAPTIONS)])
    return Case(_photo_files("train/") | {"train/metadata.csv": metadata})


def imagefolder_jsonl() -> Case:
    """Images below the folder of a metadata.jsonl."""
    rows: list[dict[str, object]] = [
        {"file_name": f"deep/{name}", "caption": caption}
        for name, caption in zip(NAMES, CAPTIONS, strict=True)
    ]
    return Case(_photo_files("deep/") | {"metadata.jsonl": _jsonl(rows)})


def imagefolder_parquet() -> Case:
    """Images beside a metadata.parquet, which is no shard."""
    table = pa.table({"file_name": NAMES, "caption": list(CAPTIONS)})
    return Case(_photo_files() | {"metadata.parquet": _parquet(table)})


def imagefolder_classes() -> Case:
    """Images in a folder for each class, and no captions."""
    files = {f"{label}/{n}.jpg": PHOTOS[n] for n, label in enumerate(LABELS)}
    return Case(files, ("--group-by", "label"), has_captions=False)


def imagefolder_splits() -> Case:
    """Folders that name splits."""
    test = _csv("file_name,caption", [NAMES[:1], ["of the test"]])
    return Case(
        dict(imagefolder_csv().files) | {"test/0.jpg": PHOTOS[1], "test/metadata.csv": test}
    )


def webdataset() -> Case:
    """Two tars of images, texts and JSON."""
    tars: dict[str, bytes] = {}
    for number in range(2):
        sink = io.BytesIO()
        with tarfile.open(fileobj=sink, mode="w") as tar:
            for n in range(2 * number, 2 * number + 2):
                about = json.dumps({"height": 24 + n}).encode()
                parts = {"jpg": PHOTOS[n], "txt": CAPTIONS[n].encode(), "json": about}
                for extension, data in parts.items():
                    member = tarfile.TarInfo(f"photos/{n:04d}.{extension}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
        tars[f"train-{number:04d}.tar"] = sink.getvalue()
    return Case(tars)


def webdataset_compressed() -> Case:
    """The same tars, compressed: their members lie nowhere, and are copied once."""
    (one, first), (two, second) = webdataset().files.items()
    return Case({f"{one}.gz": gzip.compress(first), f"{two}.xz": lzma.compress(second)})


def jsonl_paths() -> Case:
    """Rows that name image files."""
    rows: list[dict[str, object]] = [
        {"image": f"pictures/{name}", "caption": caption}
        for name, caption in zip(NAMES, CAPTIONS, strict=True)
    ]
    data_files = "train.jsonl"
    return Case(
        _photo_files("pictures/") | {data_files: _jsonl(rows)}, ("--data-files", data_files)
    )


def jsonl_base64() -> Case:
    """Rows that hold images as base64."""
    rows: list[dict[str, object]] = [
        {"image": base64.b64encode(photo).decode(), "caption": caption}
        for photo, caption in zip(PHOTOS, CAPTIONS, strict=True)
    ]
    return Case({"train.jsonl": _jsonl(rows)})


def jsonl_compressed() -> Case:
    """The same rows in a compressed file."""
    return Case({"train.jsonl.gz": gzip.compress(jsonl_base64().files["train.jsonl"])})


def json_list() -> Case:
    """One JSON list."""
    rows = [
        {"image": base64.b64encode(photo).decode(), "caption": caption}
        for photo, caption in zip(PHOTOS, CAPTIONS, strict=True)
    ]
    return Case({"photos.json": json.dumps(rows).encode()})


def csv_data_uris() -> Case:
    """Rows that hold images as data URIs."""
    uris = ["data:image/jpeg;base64," + base64.b64encode(photo).decode() for photo in PHOTOS]
    return Case({"photos.csv": _csv("image,caption", [uris, list(CAPTIONS)])})


def _zip(files: Files, method: int) -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return sink.getvalue()


def zip_deflated() -> Case:
    """An imagefolder in a zip archive, compressed."""
    files = _photo_files() | {"metadata.csv": _csv("file_name,caption", [NAMES, list(CAPTIONS)])}
    return Case({"train.zip": _zip(files, zipfile.ZIP_DEFLATED)})


def zip_stored() -> Case:
    """An imagefolder in a zip archive that only packs."""
    files = _photo_files("a/")
    files |= {"a/metadata.csv": _csv("file_name,caption", [NAMES, list(CAPTIONS)])}
    return Case({"photos.zip": _zip(files, zipfile.ZIP_STORED)})


FORMATS: tuple[Callable[[], Case], ...] = (
    parquet_shards, arrow_shards, imagefolder_csv, imagefolder_jsonl, imagefolder_parquet,
    imagefolder_classes, imagefolder_splits, webdataset, webdataset_compressed, jsonl_paths,
    jsonl_base64, jsonl_compressed, json_list, csv_data_uris, zip_deflated, zip_stored,
)  # fmt: skip


def write_files(files: Files, folder: Path) -> Path:
    """Put the files of a data set into a folder."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder
