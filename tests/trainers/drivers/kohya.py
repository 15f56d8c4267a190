"""kohya's sd-scripts: a configuration with one folder, cached as asked, and every item of it.

Its own: config_util.ConfigSanitizer, BlueprintGenerator, the DreamBooth or fine-tuning data set of
train_util, and the latents strategy of SD. Stands in: accelerate, diffusers and transformers, which
its modules import for models and schedulers; the tokenizer, which returns no tokens; the VAE.
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

from tests.trainers.drivers.encoder import LosslessVae, decode_latents, to_pixels
from tests.trainers.drivers.standins import prepare_torchvision, stand_in_for
from tests.trainers.pictures import RESOLUTION, digest_pixels

_ALONE = SimpleNamespace(num_processes=1, process_index=0, wait_for_everyone=lambda: None)
"""The accelerator of one process."""


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--caption-extension", help="other than the trainer's own")
    parser.add_argument("--cache-latents", choices=("no", "memory", "disk"), default="no")
    parser.add_argument("--cache-texts", action="store_true", help="as for SDXL")
    parser.add_argument("--cache-info", action="store_true")
    parser.add_argument("--metadata", action="store_true", help="fine-tuning by metadata.jsonl")
    parser.add_argument("--scan-only", action="store_true", help="no item is asked for")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    options = _parse(arguments)
    stand_in_for("accelerate", "diffusers", "transformers")
    declared = prepare_torchvision()
    strategies, vae = _set_strategies(options), LosslessVae()
    train_util = importlib.import_module("library.train_util")
    measured = _count_calls(train_util.BaseDataset, "get_image_size")
    began = time.perf_counter()
    group = _build_group(options)
    scan_s = time.perf_counter() - began
    if options.scan_only:
        return {"items": len(group), "measured": len(measured), "scan_s": scan_s}
    group.set_current_strategies()
    if options.cache_latents != "no":
        group.new_cache_latents(vae, _ALONE)
    encoded_texts = list[None]()
    if options.cache_texts:
        caching = importlib.import_module("library.strategy_base").TextEncoderOutputsCachingStrategy
        encoded_texts = _count_calls(type(caching.get_strategy()), "cache_batch_outputs")
        group.new_cache_text_encoder_outputs([], _ALONE)
    began = time.perf_counter()
    examples = [group[index] for index in range(len(group))]
    epoch_s = time.perf_counter() - began
    del declared, strategies
    return {
        "items": len(examples),
        "captions": {_name_of(e, options.folder): e["captions"][0] for e in examples},
        "pixels": {_name_of(e, options.folder): _digest(e) for e in examples},
        "encoded": vae.encoded,
        "encoded_texts": len(encoded_texts),
        "texts": {_name_of(e, options.folder): _look_at_texts(e) for e in examples},
        "measured": len(measured),
        "scan_s": scan_s,
        "epoch_s": epoch_s,
    }


def _set_strategies(options: argparse.Namespace) -> Any:
    """Set the strategies that train_network.py sets for SD."""
    base = importlib.import_module("library.strategy_base")
    of_sd = importlib.import_module("library.strategy_sd")
    # Nothing of a tokenizer but that it is asked.
    tokenizing = type("NoTokens", (base.TokenizeStrategy,), {"tokenize": lambda self, text: []})
    base.TokenizeStrategy.set_strategy(tokenizing())
    to_disk = options.cache_latents == "disk"
    caching = of_sd.SdSdxlLatentsCachingStrategy(True, to_disk, 4, False)
    base.LatentsCachingStrategy.set_strategy(caching)
    if options.cache_texts:
        of_sdxl = importlib.import_module("library.strategy_sdxl")
        texts = of_sdxl.SdxlTextEncoderOutputsCachingStrategy(True, 1, False)
        base.TextEncoderOutputsCachingStrategy.set_strategy(texts)
    return caching


def _build_group(options: argparse.Namespace) -> Any:
    """The data sets that a configuration file with one subset makes."""
    config_util = importlib.import_module("library.config_util")
    train_util = importlib.import_module("library.train_util")
    parser = argparse.ArgumentParser()
    train_util.add_dataset_arguments(parser, True, True, True)
    config_util.add_config_arguments(parser)
    # Only so does an item tell which image it is.
    parser.set_defaults(debug_dataset=True)
    sanitizer = config_util.ConfigSanitizer(True, True, False, True)
    blueprint = config_util.BlueprintGenerator(sanitizer).generate(
        _configuration(options), parser.parse_args([])
    )
    group, _ = config_util.generate_dataset_group_by_blueprint(blueprint.dataset_group)
    return group


def _configuration(options: argparse.Namespace) -> dict[str, Any]:
    subset: dict[str, Any] = {"image_dir": str(options.folder)}
    if options.metadata:
        subset["metadata_file"] = str(options.folder / "metadata.jsonl")
    else:
        subset["cache_info"] = options.cache_info
    if options.caption_extension:
        subset["caption_extension"] = options.caption_extension
    buckets = {"min_bucket_reso": 64, "max_bucket_reso": 2 * RESOLUTION, "bucket_reso_steps": 64}
    data_set = {"resolution": RESOLUTION, "batch_size": 1, "enable_bucket": True, **buckets}
    return {"datasets": [{**data_set, "subsets": [subset]}]}


def _count_calls(owner: Any, name: str) -> list[None]:
    """A list that grows with each call of a method, which does what it did."""
    calls: list[None] = []
    method = getattr(owner, name)

    def counted(*arguments: Any) -> Any:
        calls.append(None)
        return method(*arguments)

    setattr(owner, name, counted)
    return calls


def _name_of(example: dict[str, Any], folder: Path) -> str:
    key: str = example["image_keys"][0]
    # Fine-tuning has the names of its metadata, DreamBooth whole paths.
    return Path(folder, key).relative_to(folder).as_posix()


def _look_at_texts(example: dict[str, Any]) -> list[list[int]]:
    """The shape of each of the embeddings that an item has."""
    found = example.get("text_encoder_outputs_list") or []
    return [list(one.shape) for one in found]


def _digest(example: dict[str, Any]) -> str:
    images: torch.Tensor | None = example["images"]
    if images is not None:
        return digest_pixels(to_pixels(images[0]))
    return digest_pixels(decode_latents(example["latents"][0]))
