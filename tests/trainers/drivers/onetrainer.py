"""OneTrainer: the loader of Stable Diffusion over one concept, its disk cache, and every batch.

Its own: StableDiffusionBaseDataLoader, which chains the modules of mgds (a checkout beside its own)
from CollectPaths to the output. Stands in: av, diffusers and transformers, which its modules import
for video and models; its own modules of models and their setup; the compiled reader of torchvision,
where it does not load; the model, whose VAE loses nothing and whose tokens are a caption's bytes.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import io
import json
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps

from tests.trainers.drivers.encoder import LosslessVae, decode_latents
from tests.trainers.drivers.standins import StandIn, prepare_torchvision, stand_in_for
from tests.trainers.pictures import RESOLUTION, digest_pixels

_OF_MODELS = (
    "modules.model.BaseModel",
    "modules.model.StableDiffusionModel",
    "modules.modelSetup.BaseModelSetup",
    "modules.modelSetup.BaseStableDiffusionSetup",
    "modules.modelSetup.mixin.ModelSetupText2ImageMixin",
)
_MAX_TOKENS = 128


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cache-dir", type=Path, default=Path("cache"))
    parser.add_argument("--masked-training", action="store_true")
    parser.add_argument("--no-latent-caching", dest="latent_caching", action="store_false")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    declared = prepare_imports("av", "diffusers", "transformers")
    pixels: dict[str, str] = {}
    _watch_images(pixels, options.folder)
    model = _Model()
    began = time.perf_counter()
    loader = _open_loader(options, model)
    # As the trainer does: caching is a part of what begins an epoch.
    loader.get_data_set().start_next_epoch()
    scan_s = time.perf_counter() - began
    began = time.perf_counter()
    batches = list(loader.get_data_loader())
    epoch_s = time.perf_counter() - began
    del declared
    seen = {_name_of(batch["image_path"][0], options.folder): batch for batch in batches}
    return {
        "items": len(batches),
        "captions": {name: batch["prompt"][0] for name, batch in seen.items()},
        "texts_of_tokens": {name: _text_of(batch["tokens"][0]) for name, batch in seen.items()},
        "pixels": pixels,
        "latents": {name: _pixels_of(batch["latent_image"][0]) for name, batch in seen.items()},
        "masks": {n: _mean_of_mask(b) for n, b in seen.items() if "latent_mask" in b},
        "encoded": model.vae.encoded,
        "encoded_texts": model.text_encoder.encoded,
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def prepare_imports(*absent: str) -> object:
    """Find mgds, and stand in for what is absent and for its own modules of models."""
    if importlib.util.find_spec("mgds") is None:
        spec = importlib.util.find_spec("modules")
        (modules,) = (spec and spec.submodule_search_locations) or ["."]
        sys.path.insert(1, str(Path(modules).parents[1] / "mgds" / "src"))
    stand_in_for(*absent)
    sys.modules.update({name: StandIn(name) for name in _OF_MODELS})
    return prepare_torchvision()


def _watch_images(pixels: dict[str, str], folder: Path) -> None:
    """Note the pixels that LoadImage hands on, before anything is scaled or cropped."""
    module: Any = importlib.import_module("mgds.pipelineModules.LoadImage")
    if not hasattr(torch.ops.image, "read_file"):
        module.read_image = _read_image
    load = module.LoadImage.get_item

    def watched(self: Any, variation: int, index: int, name: str | None = None) -> Any:
        found = load(self, variation, index, name)
        image: torch.Tensor | None = found[self.image_out_name]
        if image is not None and self.image_out_name == "image":
            path = self._get_previous_item(variation, self.path_in_name, index)
            array = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
            pixels[_name_of(path, folder)] = digest_pixels(array)
        return found

    module.LoadImage.get_item = watched


def _read_image(path: str, mode: Any, *, apply_exif_orientation: bool) -> torch.Tensor:
    """Read the whole file and decode it, as torchvision.io.read_image does by its operators."""
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise RuntimeError(f"[Errno {error.errno}] {error.strerror}: '{path}'") from error
    with Image.open(io.BytesIO(data)) as image:
        upright = ImageOps.exif_transpose(image) if apply_exif_orientation else image
        array = np.array(upright.convert("L" if mode.name == "GRAY" else "RGB"))
    return torch.from_numpy(array.reshape(*array.shape[:2], -1)).permute(2, 0, 1)


def _open_loader(options: argparse.Namespace, model: _Model) -> Any:
    """The loader that the trainer makes of a configuration and of its file of concepts."""
    config = importlib.import_module("modules.util.config.TrainConfig").TrainConfig.default_values()
    config.concept_file_name = "concepts.json"
    Path(config.concept_file_name).write_text(json.dumps([concept(options.folder)]))
    config.cache_dir = str(options.cache_dir)
    config.resolution = str(RESOLUTION)
    config.latent_caching = options.latent_caching
    config.masked_training = options.masked_training
    config.text_encoder.train = False
    progress = importlib.import_module("modules.util.TrainProgress").TrainProgress()
    module = importlib.import_module("modules.dataLoader.StableDiffusionBaseDataLoader")
    cpu = torch.device("cpu")
    setup = SimpleNamespace(prepare_text_caching=lambda model, config: None)
    return module.StableDiffusionBaseDataLoader(cpu, cpu, config, model, setup, progress)


def concept(folder: Path) -> dict[str, Any]:
    """An entry of the file of concepts; its seed, which the window draws, is in the cache's key."""
    return {"name": "mounted", "path": str(folder), "seed": 1, "text": {"prompt_source": "sample"}}


class _Model:
    """What the loader asks of a StableDiffusionModel."""

    def __init__(self) -> None:
        data_type = importlib.import_module("modules.util.enum.DataType").DataType
        self.train_dtype = data_type.FLOAT_32
        self.autocast_context = nullcontext()
        self.vae = _Vae()
        self.tokenizer = _Tokenizer()
        self.text_encoder = _TextEncoder()

    def add_text_encoder_embeddings_to_prompt(self, prompt: str) -> str:
        return prompt

    def materialize_only(self, *parts: str) -> None:
        del parts

    def eval(self) -> None:
        """Nothing to be set."""


class _Vae(LosslessVae):
    """Counts rightly in several threads; its distributions have a mode."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def encode(self, pixels: torch.Tensor) -> LosslessVae.Output:
        with self._lock:
            latents = super().encode(pixels).latents
        return self._WithMode(latents)

    class _WithMode(LosslessVae.Output):
        def mode(self) -> torch.Tensor:
            return self.latents


class _Tokenizer:
    """A token for each byte of a text; zeros behind them."""

    model_max_length = _MAX_TOKENS

    def __call__(self, text: str, max_length: int, **named: Any) -> SimpleNamespace:
        del named
        data = list(text.encode())[:max_length]
        padded = torch.tensor([data + [0] * (max_length - len(data))])
        return SimpleNamespace(input_ids=padded, attention_mask=padded.bool().long())


class _TextEncoder:
    """Its hidden state is the tokens."""

    def __init__(self) -> None:
        self.encoded = 0
        self.text_model = SimpleNamespace(final_layer_norm=lambda state: state)
        self._lock = threading.Lock()

    def __call__(self, tokens: torch.Tensor, **named: Any) -> SimpleNamespace:
        del named
        with self._lock:
            self.encoded += len(tokens)
        return SimpleNamespace(hidden_states=[tokens])


def _name_of(path: str, folder: Path) -> str:
    return Path(path).relative_to(folder).as_posix()


def _text_of(tokens: torch.Tensor) -> str:
    return bytes(tokens[tokens > 0].tolist()).decode()


def _pixels_of(latent: torch.Tensor) -> str:
    return digest_pixels(decode_latents(latent))


def _mean_of_mask(batch: dict[str, Any]) -> float:
    return round(float(batch["latent_mask"].mean()), 2)
