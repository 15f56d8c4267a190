"""ai-toolkit: the data sets of a configuration with one folder, cached as asked, and every batch.

The folder holds images; with --num-frames videos, of which it takes as many frames, and with
--audio sounds.

Its own: get_dataloader_from_datasets of toolkit.data_loader, with AiToolkitDataset, FileItemDTO and
all their mixins. Stands in: libraries that its modules import for models, augmentations and, unless
they are read, sound and video; the operators of torchaudio, where they do not load; the model, of
which its VAE loses nothing and its text encoder turns a caption into its bytes.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from PIL import Image

from tests.trainers.drivers.encoder import LosslessVae, decode_latents, to_pixels
from tests.trainers.drivers.standins import (
    prepare_torchaudio,
    prepare_torchvision,
    stand_in_for,
)
from tests.trainers.media import digest
from tests.trainers.pictures import RESOLUTION, digest_pixels

_UNUSED = ("albumentations", "diffusers", "torchao", "transformers")
_OF_MEDIA = ("av", "torchaudio")


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache-latents-to-disk", action="store_true")
    parser.add_argument("--cache-text-embeddings", action="store_true")
    parser.add_argument("--space", default="test", help="version of latents and embeddings")
    parser.add_argument("--num-frames", type=int, default=1)
    parser.add_argument("--audio", action="store_true")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    declared = _prepare_imports(options)
    data_loader = importlib.import_module("toolkit.data_loader")
    model, opened = _Model(), _count_opened()
    model.is_audio_model = options.audio
    model.latent_space_version = model.text_embedding_space_version = options.space
    began = time.perf_counter()
    batches = data_loader.get_dataloader_from_datasets([_configuration(options)], sd=model)
    scan_s = time.perf_counter() - began
    opened_by_scan = len(opened)
    began = time.perf_counter()
    seen = [_look_at(batch, options.folder) for batch in batches]
    epoch_s = time.perf_counter() - began
    del declared
    return {
        "items": len(seen),
        "captions": {name: caption for name, caption, _, _ in seen},
        "texts_of_embeddings": {name: text for name, _, text, _ in seen},
        "pixels": {name: pixels for name, _, _, pixels in seen},
        "encoded": model.images.encoded,
        "encoded_texts": model.encoded_texts,
        "opened_by_scan": opened_by_scan,
        "extensions": {
            kind: getattr(data_loader, f"{kind}_extensions") for kind in ("video", "audio")
        },
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _prepare_imports(options: argparse.Namespace) -> object:
    reads_media = options.audio or options.num_frames > 1
    stand_in_for(*_UNUSED, *(() if reads_media else _OF_MEDIA))
    if reads_media:
        prepare_torchaudio()
    return prepare_torchvision()


def _configuration(options: argparse.Namespace) -> dict[str, Any]:
    """An entry of `datasets` in a configuration file."""
    return {
        "folder_path": str(options.folder),
        "caption_ext": "txt",
        "resolution": [RESOLUTION],
        "num_frames": options.num_frames,
        "cache_latents_to_disk": options.cache_latents_to_disk,
        "cache_text_embeddings": options.cache_text_embeddings,
    }


class _Model:
    """What the data sets ask of a StableDiffusion."""

    is_xl = is_audio_model = False
    sample_rate = 48_000
    latent_space_version = "test"
    text_embedding_space_version = "test"
    te_padding_side = "right"
    encode_control_in_text_embeddings = False
    has_multiple_control_images = False
    use_raw_control_images = False
    adapter = None
    device = device_torch = torch.device("cpu")
    torch_dtype = torch.float32

    def __init__(self) -> None:
        self.images = LosslessVae()
        self.encoded_texts = 0
        self.model_config = SimpleNamespace(latent_space_version=None)
        self.vae = self.unet = SimpleNamespace()

    def get_bucket_divisibility(self) -> int:
        return 64

    def set_device_state_preset(self, name: str) -> None:
        del name

    def restore_device_state(self) -> None:
        """Nothing was moved."""

    def encode_images(self, pixels: torch.Tensor) -> torch.Tensor:
        return self.images.encode(pixels).latent_dist.sample()

    def encode_prompt(self, caption: str) -> Any:
        self.encoded_texts += 1
        text = torch.tensor(list(caption.encode()), dtype=torch.uint8)
        prompt_utils = importlib.import_module("toolkit.prompt_utils")
        return prompt_utils.PromptEmbeds(text.reshape(1, -1, 1))


def _count_opened() -> list[None]:
    """A list that grows with each image that Pillow opens in this process."""
    opened: list[None] = []
    really_open = Image.open

    def counted(*arguments: Any, **named: Any) -> Any:
        opened.append(None)
        return really_open(*arguments, **named)

    Image.open = counted
    return opened


def _look_at(batch: Any, folder: Path) -> tuple[str, str, str | None, str]:
    """Name, caption, text of the embedding if there is one, and pixels of the batch's only item."""
    (item,) = batch.file_items
    (caption,) = batch.get_caption_list()
    embeds = batch.prompt_embeds
    text = None if embeds is None else bytes(embeds.text_embeds.flatten().tolist()).decode()
    name = Path(item.path).relative_to(folder).as_posix()
    if batch.latents is not None:
        return name, caption, text, digest_pixels(decode_latents(batch.latents[0]))
    is_image = batch.tensor.ndim == 4
    shown = to_pixels(batch.tensor[0]) if is_image else batch.tensor[0].numpy()
    return name, caption, text, digest_pixels(shown) if is_image else digest(shown)
