"""SimpleTuner's cache of latents over its local backend: what of it is there, and is read.

Its own: VAECache, on the backends of tests.trainers.drivers.simpletuner. Stands in: as there, and
what that module imports for models; there is no VAE, so nothing can be encoded.
"""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from tests.trainers.drivers import simpletuner
from tests.trainers.drivers.encoder import decode_latents
from tests.trainers.drivers.standins import prepare_torchvision, stand_in_for
from tests.trainers.pictures import digest_pixels

_OF_MODELS = tuple(
    f"simpletuner.helpers.{name}"
    for name in ("image_manipulation.nsfw_classifier", "models", "webhooks")
)


def main(arguments: Sequence[str]) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("cache_dir", type=Path)
    parser.add_argument("--threads", type=int, default=12, help="SimpleTuner's default")
    options = parser.parse_args(arguments)
    declared = prepare_torchvision()
    stand_in_for("accelerate", "diffusers", "transformers", *simpletuner.OF_ITS_OWN, *_OF_MODELS)
    backends = simpletuner.build(options, {})
    backends["metadata_backend"].refresh_buckets()
    caching = importlib.import_module("simpletuner.helpers.caching.vae")
    caching.VAECache._resolve_nsfw_check_enabled = lambda self: False
    cache = caching.VAECache(
        id=simpletuner.ID,
        model=SimpleNamespace(get_transforms=lambda dataset_type: None),
        vae=None,
        accelerator=simpletuner.ALONE,
        metadata_backend=backends["metadata_backend"],
        instance_data_dir=str(options.folder),
        image_data_backend=backends["data_backend"],
        cache_dir=str(options.cache_dir),
    )
    files = cache.discover_all_files()
    cache.build_vae_cache_filename_map(files)
    del declared
    return {
        "items": len(files),
        "unprocessed": len(cache.discover_unprocessed_files()),
        "pixels": {
            Path(file).name: digest_pixels(decode_latents(cache.retrieve_from_cache(file)))
            for file in files
        },
    }
