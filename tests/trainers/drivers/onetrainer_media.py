"""OneTrainer: what lists a concept's videos, loads them and their captions, one epoch of it.

Its own: the input modules of DataLoaderText2ImageMixin, as its loader of HunyuanVideo asks for
them, in an MGDS of mgds (a checkout beside its own): CollectPaths and LoadVideo among them, which
decodes by PyAV. Stands in: what tests.trainers.drivers.onetrainer does, but for av. No video is
scaled or cut, nor is anything cached.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from tests.trainers.drivers import onetrainer
from tests.trainers.media import digest

_NAMES = ["image_path", "image", "prompt"]


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--frames", type=int, default=33)
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    declared = onetrainer.prepare_imports("diffusers", "transformers")
    data_set = _open_data_set(options)
    began = time.perf_counter()
    data_set.start_next_epoch()
    scan_s = time.perf_counter() - began
    began = time.perf_counter()
    items = list(data_set)
    epoch_s = time.perf_counter() - began
    del declared
    path_util = importlib.import_module("modules.util.path_util")
    return {
        "items": len(items),
        "captions": {Path(item["image_path"]).name: item["prompt"] for item in items},
        "contents": {
            Path(item["image_path"]).name: digest(item["image"].numpy()) for item in items
        },
        "extensions": sorted(path_util.supported_video_extensions()),
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _open_data_set(options: argparse.Namespace) -> Any:
    config = importlib.import_module("modules.util.config.TrainConfig").TrainConfig.default_values()
    data_type = importlib.import_module("modules.util.enum.DataType").DataType
    mixin = importlib.import_module("modules.dataLoader.mixin.DataLoaderText2ImageMixin")
    mgds, output = (
        importlib.import_module(f"mgds.{name}") for name in ("MGDS", "OutputPipelineModule")
    )
    state = importlib.import_module("mgds.PipelineModule").PipelineState(2)
    loader: Any = type("Loader", (mixin.DataLoaderText2ImageMixin,), {})
    loader.__abstractmethods__ = frozenset()
    its = loader()
    definition = [
        its._enumerate_input_modules(config, allow_videos=True),
        its._load_input_modules(config, data_type.FLOAT_32, vae_frame_dim=True),
        [output.OutputPipelineModule(names=_NAMES)],
    ]
    concept = importlib.import_module("modules.util.config.ConceptConfig").ConceptConfig
    concepts = [concept.default_values().from_dict(onetrainer.concept(options.folder)).to_dict()]
    settings = {"target_resolution": config.resolution, "target_frames": options.frames}
    cpu = torch.device("cpu")
    return mgds.MGDS(cpu, concepts, settings, definition, batch_size=1, state=state)
