"""The cache of ai-toolkit: safetensors in `_latent_cache` and `_t_e_cache` beside the images.

Owns its names and contents, as `toolkit/dataloader_mixins.py` and `toolkit/prompt_utils.py` have
them (ostris/ai-toolkit, at 27a03a9). A name has a digest of what the file depends on.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import torch
from torch import Tensor

from hffs.errors import ConfigError, DataError
from hffs.train.caching.exports import Facts, File, Latents
from hffs.train.caching.exports.checking import (
    FLUX_TEXTS,
    SDXL_TEXTS,
    LatentSpace,
    TextModel,
    check_plan,
    check_texts,
    check_vae,
    scale,
)
from hffs.train.caching.exports.reading import read_as_ai_toolkit
from hffs.train.plan import Plan

Arch = Literal["sd1", "sdxl", "sd3", "flux"]

_STRIDE_PX = 8
_CHANNELS: Mapping[Arch, int] = {"sd1": 4, "sdxl": 4, "sd3": 16, "flux": 16}
_TEXTS: Mapping[Arch, tuple[TextModel, ...]] = {
    "sd1": (TextModel("CLIPTextModel", -1),),
    "sdxl": SDXL_TEXTS,
    "flux": FLUX_TEXTS,
}
_VERSION = 1
"""Of latents and of embeddings, as ai-toolkit counts them."""


@dataclass(frozen=True, slots=True)
class AiToolkit:
    """The cache for training one kind of model: `arch` of ai-toolkit's `model`; `flip` is for
    `flip_x`.
    """

    arch: Arch
    flip: bool = False

    def check(self, plan: Plan, latents: Facts | None, texts: Facts | None) -> None:
        """See `Trainer`."""
        check_plan(plan, "ai-toolkit", "free", turns=True)
        space = LatentSpace(_CHANNELS[self.arch], _STRIDE_PX)
        check_vae("ai-toolkit", self.arch, latents, space)
        if texts is None:
            return
        if self.arch not in _TEXTS:
            why, fix = "its embeddings of sd3 are made of what was not kept", "export latents alone"
            raise ConfigError("cannot export embeddings to ai-toolkit", why=why, fix=fix)
        check_texts("ai-toolkit", self.arch, texts, *_TEXTS[self.arch])

    def tell(self, plan: Plan) -> dict[str, object]:
        """The keys of its `datasets`."""
        return {
            "folder_path": str(plan.scan.folder),
            "caption_ext": plan.caption_extension,
            "resolution": [int(edge) for edge in plan.spec.resolutions],
            "bucket_tolerance": plan.spec.alignment_px,
            "flip_x": self.flip,
            "cache_latents_to_disk": True,
        }

    def read_caption(self, text: str) -> str:
        """See `Trainer`."""
        return read_as_ai_toolkit(text)

    def pack_latents(self, folder: Path, sample: Latents, facts: Facts) -> list[File]:
        """See `Trainer`."""
        path, cut = PurePosixPath(sample.name), sample.cut
        about: dict[str, object] = {
            "filename": path.name,
            "scale_to_width": cut.resized.width,
            "scale_to_height": cut.resized.height,
            "crop_x": cut.left,
            "crop_y": cut.top,
            "crop_width": cut.size.width,
            "crop_height": cut.size.height,
            "latent_space_version": "flux1" if self.arch == "flux" else self.arch,
            "latent_version": _VERSION,
        }
        made = [(about, sample.plain)]
        if sample.flipped is not None:
            made.append((about | {"flip_x": True}, sample.flipped))
        place = folder / path.parent / "_latent_cache"
        return [
            File(
                place / f"{path.stem}_{_digest(known)}.safetensors",
                sample.name,
                _save({"latent": scale(latents, facts).contiguous()}),
            )
            for known, latents in made
        ]

    def pack_text(
        self, folder: Path, name: str, caption: str, tensors: Mapping[str, Tensor]
    ) -> File:
        """See `Trainer`. Each tensor is a batch of one."""
        path = PurePosixPath(name)
        about = {
            "caption": caption,
            "text_embedding_space_version": self.arch,
            "text_embedding_version": _VERSION,
        }
        try:
            made = self._gather(tensors)
        except KeyError as error:
            why, fix = f"there is no {error}", "encode by all text encoders of the model"
            raise DataError("cannot export embeddings of", name, why=why, fix=fix) from error
        batches = {key: tensor[None].contiguous() for key, tensor in made.items()}
        place = folder / path.parent / "_t_e_cache" / f"{path.stem}_{_digest(about)}.safetensors"
        return File(place, name, _save(batches))

    def _gather(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if self.arch == "sd1":
            return {"text_embed": tensors["hidden" if "hidden" in tensors else "0.hidden"]}
        if self.arch == "sdxl":
            hidden = torch.cat([tensors["0.hidden"], tensors["1.hidden"]], dim=-1)
            return {"text_embed": hidden, "pooled_embed": tensors["1.pooled"]}
        return {"text_embed": tensors["1.hidden"], "pooled_embed": tensors["0.pooled"]}


def _save(tensors: dict[str, Tensor]) -> bytes:
    """A file without what ai-toolkit says of it in the header, and does not read: the order of
    several facts there would be another each time.
    """
    from safetensors.torch import save  # late: it belongs to the extra

    return save(tensors, {"format": "pt"})


def _digest(about: Mapping[str, object]) -> str:
    """What ends a name: MD5 in base64, which names a file and protects nothing."""
    text = json.dumps(about, sort_keys=True).encode()
    digest = hashlib.md5(text, usedforsecurity=False).digest()
    return base64.urlsafe_b64encode(digest).decode("ascii").rstrip("=")
