"""The arithmetic of buckets alone, of several trainers: sizes in, sizes out, no image is read.

Its own: SimpleTuner's TrainingSample with its crop handlers and the map of StateTracker; kohya's
BucketManager; diffusion-pipe's DirectoryDataset and ARBucketDataset; ai-toolkit's BucketsMixin.
Stands in: all libraries that their modules import for anything else, and the data sets.

The argument is a JSON file: `trainer`, `sizes` ([[width, height], ...]) and `settings`, a list of
what the trainer is asked with, in its own words. `answers` are in the order of that list.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tests.trainers.drivers.standins import stand_in_for

Sizes = list[list[int]]
Settings = dict[str, Any]

_UNUSED = (
    "accelerate", "albumentations", "atomicwrites", "comfy", "comfy_api", "cv2", "deepspeed",
    "diffusers", "einops", "imagesize", "peft", "safetensors", "toml", "torchao",
    "torchaudio", "torchvision", "trainingsample", "transformers", "voluptuous",
)  # fmt: skip


def main(arguments: Sequence[str]) -> dict[str, Any]:
    given = json.loads(Path(arguments[0]).read_text())
    stand_in_for(*_UNUSED, *_OF_TRAINER.get(given["trainer"], ()))
    # Some print what they made.
    with contextlib.redirect_stdout(sys.stderr):
        ask = _TRAINERS[given["trainer"]]
        return {"answers": [ask(given["sizes"], settings) for settings in given["settings"]]}


def _ask_simpletuner(sizes: Sizes, settings: Settings) -> dict[str, Any]:
    """`arguments` are global, `backend` is one data backend's configuration."""
    tracker = importlib.import_module("simpletuner.helpers.training.state_tracker").StateTracker
    module = importlib.import_module("simpletuner.helpers.image_manipulation.training_sample")
    tracker.get_args = lambda: SimpleNamespace(**settings["arguments"])
    tracker.get_data_backend_config = lambda name: settings["backend"]
    tracker._save_to_disk = lambda name, data: None
    tracker.aspect_resolution_map = {}
    model = SimpleNamespace(MAXIMUM_CANVAS_SIZE=None, get_transforms=lambda: None)
    buckets, resized, crops = [], [], []
    for size in sizes:
        metadata = {"original_size": tuple(size)}
        sample = module.TrainingSample(None, "photos", metadata, "0.jpg", model=model)
        target, before, _ = sample.calculate_target_size()
        if _is_large(size, settings["backend"]):
            before = sample._calculate_target_downsample_size()
        sample.cropper.set_intermediary_size(*before)
        _, (top, left) = sample.cropper.crop(*target)
        buckets.append(target)
        resized.append(before)
        crops.append((left, top))
    return {"buckets": buckets, "resized": resized, "crops": crops}


def _is_large(size: list[int], backend: Settings) -> bool:
    """What `maximum_image_size` says of itself; the trainer resizes every image so."""
    most = backend.get("maximum_image_size")
    helper = importlib.import_module("simpletuner.helpers.multiaspect.image").MultiaspectImage
    return most is not None and helper.is_image_too_large(size, most, backend["resolution_type"])


def _ask_kohya(sizes: Sizes, settings: Settings) -> dict[str, Any]:
    """`settings` are the arguments of BucketManager."""
    train_util = importlib.import_module("library.train_util")
    manager = train_util.BucketManager(
        False,
        tuple(settings["max_reso"]),
        settings["min_size"],
        settings["max_size"],
        settings["reso_steps"],
    )
    manager.make_buckets()
    selected = [manager.select_bucket(*size) for size in sizes]
    return {
        "grid": manager.predefined_resos,
        "buckets": [bucket for bucket, _, _ in selected],
        "resized": [resized for _, resized, _ in selected],
    }


def _ask_diffusion_pipe(sizes: Sizes, settings: Settings) -> dict[str, Any]:
    """`directory` is the configuration of a directory, `multiple` what the model rounds to."""
    data = importlib.import_module("utils.dataset")
    directory = {"path": ".", "num_repeats": 1, **settings["directory"]}
    found = data.DirectoryDataset(
        directory,
        directory,
        "test",
        round_to_multiple=settings["multiple"],
        skip_dataset_validation=True,
    )
    ratios = [np.log(width / height) for width, height in sizes]
    if found.use_size_buckets:
        chosen = [found._find_closest_size_bucket(ratio, 1, False) for ratio in ratios]
        return {"buckets": [[int(edge) for edge in bucket[:2]] for bucket in chosen]}
    keys = [found._find_closest_ar_bucket(ratio, 1, False) for ratio in ratios]
    sized = {key: _size_bucket(data, key, found, settings["multiple"]) for key in set(keys)}
    return {"buckets": [sized[key] for key in keys]}


def _size_bucket(data: Any, key: Any, found: Any, multiple: int) -> list[int]:
    """Width and height that a data set of one aspect ratio gives to its only resolution."""
    told: list[Any] = []

    def note(metadata: Any, config: Any, bucket: Any, *rest: Any) -> Any:
        told.append(bucket)
        return SimpleNamespace(cache_latents=lambda *_, **__: None)

    data.SizeBucketDataset = note
    metadata = SimpleNamespace(map=lambda *_, **__: None)
    of_ratio = data.ARBucketDataset(
        key, found.resolutions, metadata, {"path": "."}, Path("cache"), multiple, found
    )
    of_ratio.cache_latents(None)
    ((_, width, height, _),) = told
    return [int(width), int(height)]


def _ask_ai_toolkit(sizes: Sizes, settings: Settings) -> dict[str, Any]:
    """`settings` are those of a data set's configuration."""
    mixins = importlib.import_module("toolkit.dataloader_mixins")
    config = SimpleNamespace(scale=1.0, random_crop=False, square_crop=False, **settings)
    files = [SimpleNamespace(width=w, height=h, dataset_config=config) for w, h in sizes]
    mixin = type("Alone", (mixins.BucketsMixin,), {
        "__init__": lambda self: None,
        "shuffle_buckets": lambda self: None,
        "build_batch_indices": lambda self: None,
    })()  # fmt: skip
    mixin.epoch_num, mixin.file_list, mixin.dataset_config = 0, files, config
    mixin.is_audio_model = mixin.is_video = False
    mixin.setup_buckets(quiet=True)
    return {
        "buckets": [(file.crop_width, file.crop_height) for file in files],
        "resized": [(file.scale_to_width, file.scale_to_height) for file in files],
        "crops": [(file.crop_x, file.crop_y) for file in files],
    }


_TRAINERS = {
    "SimpleTuner": _ask_simpletuner,
    "sd-scripts": _ask_kohya,
    "diffusion-pipe": _ask_diffusion_pipe,
    "ai-toolkit": _ask_ai_toolkit,
}

_OF_TRAINER = {
    "SimpleTuner": (
        "simpletuner.helpers.training.diffusers_overrides",
        "simpletuner.helpers.webhooks",
        "simpletuner.simpletuner_sdk",
    ),
    "ai-toolkit": (
        "toolkit.accelerator",
        "toolkit.audio",
        "toolkit.config_modules",
        "toolkit.control_generator",
        "toolkit.models",
        "toolkit.prompt_utils",
        "toolkit.train_tools",
    ),
}
"""Modules of the trainer itself that stand in: of models and servers."""
