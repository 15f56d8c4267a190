"""diffusion-pipe: one directory, cached as its DatasetManager does, and one epoch of its loader.

Its own: Dataset, DirectoryDataset, DatasetManager, PipelineDataLoader and Cache of its modules of
utils, with the processes that they start, and PreprocessMediaFile of models.base. Stands in: what
its modules import for models (ComfyUI, diffusers, peft, torchaudio), and VideoFromFile of ComfyUI,
which opens a path by PyAV, as the stand-in does; deepspeed, of which one process without a GPU
needs but rank and logger; the model, whose VAE loses nothing and whose text encoder turns a caption
into its bytes; sqlite3.connect, where Python is older than 3.12.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import logging
import sqlite3
import sys
import time
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import torch

from tests.trainers.drivers.encoder import FACTOR, LosslessVae, decode_latents
from tests.trainers.drivers.standins import prepare_torchvision, stand_in_for
from tests.trainers.media import digest
from tests.trainers.pictures import RESOLUTION, SIZES, digest_pixels

_UNUSED = ("comfy", "comfy_api", "deepspeed", "diffusers", "peft", "torchaudio")
_FRAMERATE = 25
_VIDEO_SIZES = ((176, 144), (640, 272), (1024, 576))
"""Width and height of the buckets of videos; all sides are multiples of 16."""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--ar-buckets", action="store_true", help="rather than buckets of sizes")
    parser.add_argument("--trust-cache", action="store_true")
    parser.add_argument("--frames", type=int, default=1, help="of a video")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    stand_in_for(*_UNUSED)
    declared = prepare_torchvision()
    # What is buffered for stdout would be printed anew by the processes that are forked.
    with contextlib.redirect_stdout(sys.stderr):
        data = _prepare_trainer()
        model = _Model(importlib.import_module("models.base"), options.frames > 1)
        began = time.perf_counter()
        data_set = data.Dataset(_configuration(options), model)
        manager = data.DatasetManager(model, trust_cache=options.trust_cache)
        manager.register(data_set)
        manager.cache()
        data_set.post_init(0, 1, {None: 1}, 1, {None: 1})
        scan_s = time.perf_counter() - began
        began = time.perf_counter()
        loader = data.PipelineDataLoader(
            data_set, SimpleNamespace(is_pipe_parallel=False), 1, model
        )
        for _ in range(len(loader)):
            next(loader)
        epoch_s = time.perf_counter() - began
    del declared
    seen = {_name_of(batch, options.folder): batch for batch in model.batches}
    return {
        "items": len(model.batches),
        "captions": {name: batch["caption"][0] for name, batch in seen.items()},
        "texts_of_embeddings": {name: _text_of(batch) for name, batch in seen.items()},
        "pixels": {name: _digest_latents(batch["latents"][0]) for name, batch in seen.items()},
        "encoded": model.vae.images.encoded,
        "encoded_texts": model.text_encoder.encoded,
        "extensions": sorted(importlib.import_module("utils.common").VIDEO_EXTENSIONS),
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _configuration(options: argparse.Namespace) -> dict[str, Any]:
    """What is in a file like the trainer's examples/dataset.toml."""
    directory = {"path": str(options.folder), "num_repeats": 1}
    if options.frames > 1:
        sizes = [
            (*size, options.frames) for size in sorted(_VIDEO_SIZES, key=lambda s: s[0] / s[1])
        ]
        return {"size_buckets": [list(size) for size in sizes], "directory": [directory]}
    if options.ar_buckets:
        buckets = {"min_ar": 0.5, "max_ar": 2.0, "num_ar_buckets": 7, "enable_ar_bucket": True}
        return {"resolutions": [RESOLUTION], **buckets, "directory": [directory]}
    # It looks them up by the place of their aspect among all aspects sorted: in another order an
    # image goes to the bucket of another aspect, and is cut to it.
    wide = sorted(([width, height, 1] for width, height in SIZES), key=lambda s: s[0] / s[1])
    return {"size_buckets": wide, "directory": [directory]}


def _prepare_trainer() -> Any:
    """Its module of data sets, in a group of one process, as train.py makes one."""
    distributed: Any = torch.distributed
    distributed.init_process_group("gloo", store=distributed.HashStore(), rank=0, world_size=1)
    multiprocess = importlib.import_module("multiprocess")
    multiprocess.current_process().authkey = b"any"
    importlib.import_module("utils.reduction").init_reductions()
    group = SimpleNamespace(get_rank=lambda: 0, barrier=lambda: None, get_world_group=lambda: None)
    deepspeed: Any = importlib.import_module("deepspeed")
    deepspeed.comm = group
    common: Any = importlib.import_module("utils.common")
    common.dist = group
    if sys.version_info < (3, 12):
        cache: Any = importlib.import_module("utils.cache")
        cache.sqlite3 = SimpleNamespace(connect=_connect)
    data: Any = importlib.import_module("utils.dataset")
    data.dist, data.logger = group, logging.getLogger("diffusion-pipe")
    for name in ("utils.dataset", "models.base"):
        importlib.import_module(name).InputImpl.VideoFromFile = _VideoFromFile
    return data


def _connect(path: Path, *, autocommit: bool) -> sqlite3.Connection:
    """Behave as sqlite3.connect does from 3.12 on: there is a transaction at any time."""
    assert not autocommit
    connection = sqlite3.connect(path, isolation_level=None, factory=_Connection)
    connection.execute("BEGIN")
    return connection


class _Connection(sqlite3.Connection):
    def commit(self) -> None:
        super().commit()
        self.execute("BEGIN")


class _VideoFromFile:
    """What the trainer asks of ComfyUI's class of that name: each method opens the file anew."""

    def __init__(self, path: str) -> None:
        self._path = path

    def get_dimensions(self) -> tuple[int, int]:
        with av.open(self._path) as container:
            stream = container.streams.video[0]
            return stream.width, stream.height

    def get_frame_count(self) -> int:
        with av.open(self._path) as container:
            return container.streams.video[0].frames

    def get_frame_rate(self) -> Fraction:
        with av.open(self._path) as container:
            return container.streams.video[0].average_rate or Fraction(1)

    def get_components(self) -> SimpleNamespace:
        """All frames, (f, h, w, 3) in 0 .. 1."""
        with av.open(self._path) as container:
            frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        images = torch.from_numpy(np.stack(frames)).float() / 255
        return SimpleNamespace(images=images, audio=None, frame_rate=self.get_frame_rate())


class _Model:
    """What the data sets ask of a pipeline; it keeps the batches that it is given."""

    name = "test"
    pixels_round_to_multiple = 32

    def __init__(self, base: Any, support_video: bool) -> None:
        self._base = base
        self.support_video = support_video
        self.framerate = _FRAMERATE if support_video else None
        self.vae = _Vae()
        self.text_encoder = _TextEncoder()
        self.batches: list[dict[str, Any]] = []

    def model_specific_dataset_config_validation(self, configuration: dict[str, Any]) -> None:
        del configuration

    def get_vae(self) -> _Vae:
        return self.vae

    def get_text_encoders(self) -> list[_TextEncoder]:
        return [self.text_encoder]

    def get_call_vae_fn(self, vae: _Vae) -> Callable[[torch.Tensor], dict[str, torch.Tensor]]:
        return lambda images: {"latents": vae.images.encode(images * 2 - 1).latents}

    def get_call_text_encoder_fn(
        self, encoder: _TextEncoder
    ) -> Callable[[list[str], list[bool]], dict[str, torch.Tensor]]:
        return encoder.encode

    def get_preprocess_media_file_fn(self) -> Any:
        return self._base.PreprocessMediaFile(
            {}, support_video=self.support_video, framerate=self.framerate
        )

    def prepare_inputs(self, batch: dict[str, Any], timestep_quantile: object) -> Any:
        del timestep_quantile
        self.batches.append(batch)
        return (batch["latents"],), (batch["latents"], batch["mask"])


class _Loaded:
    """Is no module of torch, so that it is not moved to a GPU."""

    def load_model_if_needed(self) -> None:
        """It is."""


class _Vae(_Loaded):
    def __init__(self) -> None:
        self.images = LosslessVae()


class _TextEncoder(_Loaded):
    def __init__(self) -> None:
        self.encoded = 0

    def encode(self, captions: list[str], is_video: list[bool]) -> dict[str, torch.Tensor]:
        del is_video
        self.encoded += len(captions)
        (caption,) = captions
        return {"text": torch.tensor([list(caption.encode())], dtype=torch.uint8)}


def _name_of(batch: dict[str, Any], folder: Path) -> str:
    (spec,) = batch["image_spec"]
    return Path(spec[1]).relative_to(folder).as_posix()


def _digest_latents(latents: torch.Tensor) -> str:
    """That of the pixels of an image, or of all frames of a video."""
    if latents.ndim == 3:
        return digest_pixels(decode_latents(latents))
    frames = torch.pixel_shuffle(latents, FACTOR)
    return digest(((frames + 1) * 127.5).round().to(torch.uint8).numpy())


def _text_of(batch: dict[str, Any]) -> str:
    return bytes(batch["text"][0].tolist()).decode()
