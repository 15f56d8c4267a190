"""The cache of SimpleTuner's VAE: a `.pt` for each image in the folder that `cache_dir_vae` names.

Owns its names and contents, as `simpletuner/helpers/caching/vae.py` has them (bghira/SimpleTuner,
at bc8e6ab). Its embeddings are what each of its models makes of a prompt, and are left to it.
"""

from __future__ import annotations

import gzip
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import torch
from torch import Tensor

from hffs.errors import ConfigError
from hffs.train.caching.exports import Facts, File, Latents
from hffs.train.caching.exports.checking import scale
from hffs.train.plan import Plan


@dataclass(frozen=True, slots=True)
class SimpleTuner:
    """The folder of latents; `hash_filenames` and `compress_cache` are SimpleTuner's settings of
    these names (`compress_disk_cache` on its command line).
    """

    cache_dir: Path
    hash_filenames: bool = True
    compress_cache: bool = False

    @property
    def flip(self) -> bool:
        """It has no mirror images in its cache."""
        return False

    def check(self, plan: Plan, latents: Facts | None, texts: Facts | None) -> None:
        """See `Trainer`. Crops may be any: `hffs bucket --beside` tells it which."""
        what, spec = "cannot export to SimpleTuner", plan.spec
        if texts is not None:
            why, fix = "its embeddings are of its own making", "export latents alone"
            raise ConfigError(what, why=why, fix=fix)
        if spec.generator != "aspect":
            why = f"the plan's buckets are of the generator {spec.generator}, and it makes its own"
            raise ConfigError(what, why=why, fix="plan with aspect_bucket_generator aspect")
        if len(spec.resolutions) > 1:
            why, fix = "its data sets have one resolution", "plan and export each alone"
            raise ConfigError(what, why=why, fix=fix)
        del latents

    def tell(self, plan: Plan) -> dict[str, object]:
        """The keys of its data set."""
        return {
            "id": plan.id,
            "instance_data_dir": str(plan.scan.folder),
            "cache_dir_vae": str(self.cache_dir),
            "hash_filenames": self.hash_filenames,
            "compress_disk_cache": self.compress_cache,
            "resolution": plan.spec.resolutions[0],
            "resolution_type": plan.spec.resolution_type,
        }

    def read_caption(self, text: str) -> str:
        """As it is."""
        return text

    def pack_latents(self, folder: Path, sample: Latents, facts: Facts) -> list[File]:
        """See `Trainer`."""
        del folder
        name = PurePosixPath(sample.name)
        stem = hashlib.sha256(name.stem.encode()).hexdigest() if self.hash_filenames else name.stem
        data = _pack(scale(sample.plain, facts))
        if self.compress_cache:
            data = gzip.compress(data, mtime=0)
        return [File(self.cache_dir / name.parent / f"{stem}.pt", sample.name, data)]

    def pack_text(
        self, folder: Path, name: str, caption: str, tensors: Mapping[str, Tensor]
    ) -> File:
        """Never asked: `check` refuses."""
        raise ConfigError("cannot export embeddings to SimpleTuner")


def _pack(latents: Tensor) -> bytes:
    file = io.BytesIO()
    torch.save(latents.clone(), file)  # of a view, all that it is a view of would be saved
    return file.getvalue()
