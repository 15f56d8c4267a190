"""load_dataset("videofolder") or ("audiofolder"): prepare, or find what was prepared, and read.

Its own: all of `datasets`; with --decode its decoders, which are those of torchcodec. Stands in:
nothing.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets

from tests.trainers.media import digest


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("media", choices=("video", "audio"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache", type=Path)
    parser.add_argument("--by", choices=("data_dir", "data_files"), default="data_dir")
    parser.add_argument("--decode", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    media, folder = options.media, options.folder
    place = {"data_dir": str(folder), "data_files": {"train": f"{folder}/**"}}
    began = time.perf_counter()
    rows = datasets.load_dataset(
        f"{media}folder",
        split="train",
        cache_dir=str(options.cache),
        **{options.by: place[options.by]},
    )
    scan_s = time.perf_counter() - began
    kind = datasets.Video if media == "video" else datasets.Audio
    named = [Path(row[media]["path"]).name for row in rows.cast_column(media, kind(decode=False))]
    began = time.perf_counter()
    contents = [_decode(row[media]) for row in rows] if options.decode else []
    epoch_s = time.perf_counter() - began
    module = importlib.import_module(f"datasets.packaged_modules.{media}folder.{media}folder")
    return {
        "items": len(named),
        "names": named,
        "captions": dict(zip(named, rows["text"], strict=True)) if "text" in rows.features else {},
        "columns": sorted(rows.column_names),
        "feature": type(rows.features[media]).__name__,
        "contents": dict(zip(named, contents, strict=bool(contents))),
        "extensions": getattr(module, f"{media.upper()}_EXTENSIONS"),
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _decode(decoder: Any) -> str:
    """Samples of a sound, or the first, a middle and the last frame of a video."""
    if hasattr(decoder, "get_all_samples"):
        return digest(decoder.get_all_samples().data.numpy())
    frames = [decoder[index].numpy() for index in (0, len(decoder) // 2, -1)]
    return " ".join([str(len(decoder)), *map(digest, frames)])
