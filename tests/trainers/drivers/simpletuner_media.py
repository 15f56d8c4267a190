"""SimpleTuner's local backend of videos or sounds: find, measure, sort into buckets, read them all.

Its own: what tests.trainers.drivers.simpletuner runs, with its ways for videos (ffprobe, and the
decoder of trainingsample) and sounds (load_audio, by torchaudio or ffmpeg); for sounds the
settings that its factory makes of an entry, `lyrics_filename_format` among them. Stands in: as
there, and what its factory imports for models; the operators of torchaudio, where they do not load.
"""

from __future__ import annotations

import argparse
import importlib
import itertools
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.trainers.drivers import simpletuner
from tests.trainers.drivers.standins import (
    prepare_torchaudio,
    prepare_torchvision,
    stand_in_for,
)
from tests.trainers.media import digest

_OF_MODELS = (
    "accelerate", "diffusers", "transformers", *simpletuner.OF_ITS_OWN,
    *(
        f"simpletuner.helpers.{name}"
        for name in (
            "caching", "configuration", "distillation", "image_manipulation.nsfw_classifier",
            "multiaspect.dataset", "multiaspect.sampler", "models",
            "training.default_settings",
        )
    ),
)  # fmt: skip


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("dataset_type", choices=("video", "audio"))
    parser.add_argument("--family", default="ltxvideo", help="of the model")
    parser.add_argument("--lyrics-format", help="lyrics_filename_format of the entry")
    parser.add_argument("--threads", type=int, default=12, help="SimpleTuner's default")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    declared = prepare_torchvision()
    stand_in_for(*_OF_MODELS)
    prepare_torchaudio()
    registry: Any = importlib.import_module("simpletuner.helpers.models")
    registry.ModelRegistry.model_families = dict
    entry = _entry(options)
    backends = simpletuner.build(options, entry)
    backends["data_backend"].dataset_type = options.dataset_type  # as its factory does
    read: list[str] = []
    simpletuner.note_reads(backends["data_backend"], read)
    began = time.perf_counter()
    backends["metadata_backend"].refresh_buckets()
    scan_s = time.perf_counter() - began
    buckets: dict[Any, list[str]] = backends["metadata_backend"].aspect_ratio_bucket_indices
    known = backends["metadata_backend"].image_metadata
    began = time.perf_counter()
    contents = _read_all(backends["data_backend"], buckets)
    epoch_s = time.perf_counter() - began
    del declared
    return {
        "items": sum(map(len, buckets.values())),
        "buckets": {str(key): sorted(map(_name, paths)) for key, paths in buckets.items()},
        "captions": simpletuner.read_captions(backends, options.folder),
        "known": {_name(path): _known(about) for path, about in known.items()},
        "contents": contents,
        "read_whole": sorted(_name(path) for path in read if not path.endswith(".txt")),
        "extensions": _extensions(options.dataset_type),
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _entry(options: argparse.Namespace) -> dict[str, Any]:
    """What is added to an entry of SimpleTuner's file of data sets."""
    if options.dataset_type == "video":
        # Its factory asks the models for what they take.
        return {"dataset_type": "video", "video": {"num_frames": 25, "min_frames": 25}}
    given: dict[str, Any] = {"id": simpletuner.ID, "type": "local", "dataset_type": "audio"}
    given |= {"caption_strategy": "textfile", "instance_data_dir": str(options.folder)}
    if options.lyrics_format:
        given["audio"] = {"lyrics_filename_format": options.lyrics_format}
    simpletuner.set_up(options, given)
    factory = importlib.import_module("simpletuner.helpers.data_backend.factory")
    settings = simpletuner.settings(options) | {"model_family": options.family}
    made = factory.init_backend_config(given, settings, simpletuner.ALONE)
    return {"dataset_type": "audio", "audio": made["config"]["audio"]}


def _known(about: dict[str, Any]) -> dict[str, Any]:
    """What the trainer keeps of a file, but for its path."""
    named = ("original_size", "num_frames", "num_samples", "sample_rate", "num_channels", "lyrics")
    return {name: about[name] for name in named if name in about}


def _read_all(backend: Any, buckets: dict[Any, list[str]]) -> dict[str, str]:
    """Read each file, as the cache of latents does: its frames, or its samples and their rate."""
    contents = {}
    for path in sorted(itertools.chain.from_iterable(buckets.values())):
        ((found,), (content,)) = backend.read_image_batch([path])
        if isinstance(content, tuple):
            waveform, rate = content
            contents[_name(found)] = f"{digest(waveform.numpy())} {rate}"
        else:
            contents[_name(found)] = digest(np.asarray(content))
    return contents


def _extensions(dataset_type: str) -> list[str]:
    training = importlib.import_module("simpletuner.helpers.training")
    return sorted(getattr(training, f"{dataset_type}_file_extensions"))


def _name(path: str) -> str:
    return Path(path).name
