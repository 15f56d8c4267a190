"""SimpleTuner's local backend: find the files, sort them into buckets, read images and captions.

Its own: LocalBackendBuilder with what it builds, LocalDataBackend and DiscoveryMetadataBackend; the
captions of PromptHandler. Stands in: accelerate, diffusers and transformers, its own patches of
diffusers and its web server; there is no model, so none changes the images. Needs atomicwrites,
regex and trainingsample; it asks for Python 3.12, and what is run here runs on 3.11.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.trainers.drivers.standins import prepare_torchvision, stand_in_for
from tests.trainers.pictures import RESOLUTION, digest_pixels

ID = "photos"
_BATCH = 8
ALONE = SimpleNamespace(
    num_processes=1, process_index=0, is_main_process=True, is_local_main_process=True
)
"""The accelerator of one process."""

OF_ITS_OWN = ("simpletuner.helpers.training.diffusers_overrides", "simpletuner.simpletuner_sdk")
"""Modules that are imported on the way: patches of diffusers, and a web server."""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--threads", type=int, default=12, help="SimpleTuner's default")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    declared = prepare_torchvision()
    stand_in_for("accelerate", "diffusers", "transformers", *OF_ITS_OWN)
    read: list[str] = []
    backends = build(options, {})
    note_reads(backends["data_backend"], read)
    began = time.perf_counter()
    backends["metadata_backend"].refresh_buckets()
    scan_s = time.perf_counter() - began
    buckets: dict[Any, list[str]] = backends["metadata_backend"].aspect_ratio_bucket_indices
    opened = sum(path.endswith(".jpg") for path in read)
    captions = read_captions(backends, options.folder)
    began = time.perf_counter()
    pixels = _read_images(backends["data_backend"], buckets, options.folder)
    epoch_s = time.perf_counter() - began
    del declared
    return {
        "items": sum(map(len, buckets.values())),
        "buckets": {str(key): len(paths) for key, paths in buckets.items()},
        "captions": captions,
        "pixels": pixels,
        "measured": opened,
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def build(options: argparse.Namespace, added: dict[str, Any]) -> dict[str, Any]:
    """The two backends of an entry in SimpleTuner's file of data sets."""
    builder = importlib.import_module("simpletuner.helpers.data_backend.builders.local")
    kinds = importlib.import_module("simpletuner.helpers.data_backend.config.image")
    entry = {
        "id": ID, "type": "local", "instance_data_dir": str(options.folder),
        "caption_strategy": "textfile", "metadata_backend": "discovery",
        "resolution": RESOLUTION, "resolution_type": "pixel", "crop": False, **added,
    }  # fmt: skip
    set_up(options, entry)
    made: dict[str, Any] = builder.LocalBackendBuilder(ALONE).build_with_metadata(
        kinds.ImageBackendConfig.from_dict(entry, settings(options)), settings(options)
    )
    return made


def set_up(options: argparse.Namespace, entry: dict[str, Any]) -> None:
    """Tell its tracker the settings and the entry."""
    tracker = importlib.import_module("simpletuner.helpers.training.state_tracker").StateTracker
    tracker.set_args(SimpleNamespace(**settings(options)))
    tracker.set_data_backend_config(ID, entry)


def settings(options: argparse.Namespace) -> dict[str, Any]:
    """Those of SimpleTuner's command line that the backends ask for."""
    return {
        "output_dir": str(Path.cwd() / "output"), "aspect_bucket_worker_count": options.threads,
        "enable_multiprocessing": False, "ignore_missing_files": False, "train_batch_size": 1,
        "metadata_update_interval": 3600, "minimum_image_size": 0, "compress_disk_cache": False,
        "delete_problematic_images": False, "delete_unwanted_images": False,
        "aspect_bucket_rounding": 2, "aspect_bucket_alignment": 64,
    }  # fmt: skip


def note_reads(backend: Any, read: list[str]) -> None:
    """Let a list grow with the path of each file that a backend reads."""
    method = backend.read

    def noted(path: Any, **named: Any) -> Any:
        read.append(str(path))
        return method(path, **named)

    backend.read = noted


def read_captions(backends: dict[str, Any], folder: Path) -> dict[str, str]:
    prompts = importlib.import_module("simpletuner.helpers.prompts").PromptHandler
    captions, missing, paths = prompts.get_all_captions(
        instance_data_dir=str(folder),
        use_captions=True,
        prepend_instance_prompt=False,
        data_backend=backends["data_backend"],
        caption_strategy="textfile",
        return_image_paths=True,
    )
    assert not missing
    assert len(set(paths)) == len(paths), "a caption was taken for several"
    return {_name(path, folder): text for path, text in zip(paths, captions, strict=True)}


def _read_images(backend: Any, buckets: dict[Any, list[str]], folder: Path) -> dict[str, str]:
    """Read each bucket in batches, as the cache of latents does."""
    pixels = {}
    for paths in buckets.values():
        for first in range(0, len(paths), _BATCH):
            found, images = backend.read_image_batch(paths[first : first + _BATCH])
            for path, image in zip(found, images, strict=True):
                pixels[_name(path, folder)] = digest_pixels(np.asarray(image))
    return pixels


def _name(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix()
