"""VAEs by diffusers: images to latents, as the VAE makes them, neither shifted nor scaled.

Owns how a VAE is loaded and asked. Must not know where latents go. Chance comes from each sample's
seed alone, by a generator on the CPU in float32: the same on every device and in any batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hffs.errors import DataError, UsageError
from hffs.train.caching.encoders import VaeSpec
from hffs.train.caching.encoders.libraries import (
    check_loaded,
    find_class,
    model_errors,
)
from hffs.train.caching.encoders.locating import ModelFiles, settled
from hffs.train.caching.scaling import draw

_SCALES = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")


@dataclass(frozen=True, slots=True, eq=False)
class _Loaded:
    model: Any
    device: torch.device
    dtype: torch.dtype
    has_frames: bool


class DiffusersVae:
    """An encoder of images that diffusers has a class for."""

    def __init__(self, spec: VaeSpec, files: ModelFiles) -> None:
        self._spec, self._files = spec, files
        self._config = files.read_config()
        self._loaded: _Loaded | None = None

    def identify(self) -> Mapping[str, Any]:
        """What its latents depend on, and what is done to them later. Raises DataError."""
        kind, spec = self._find_class(), self._spec
        # Only what is asked for of them: a newer class has more defaults, and the same latents.
        config = _defaults(kind) | self._config
        facts = {
            "library": "diffusers",
            "class": kind.__name__,
            "config": settled(self._config),
            "weights": self._files.digest_weights(),
            "dtype": spec.dtype,
            "computed": _name(self._computed(config)),
            "posterior": spec.posterior,
            "tiling": spec.tiling,
            "latent_channels": config.get("latent_channels", config.get("z_dim")),
            "spatial_factor": find_spatial_factor(config),
        }
        return facts | {name: config.get(name) for name in _SCALES}

    def load(self, device: str) -> None:
        """Read the weights. Raises DataError, UsageError for what this class cannot do."""
        kind, which = self._find_class(), self._files.name
        dtype = self._computed(_defaults(kind) | self._config)
        with model_errors("cannot load", which), self._files.alone() as (folder, _):
            model, info = kind.from_pretrained(
                str(folder),
                torch_dtype=dtype,
                use_safetensors=True,
                local_files_only=True,
                variant=self._files.part.variant,
                output_loading_info=True,
            )
        check_loaded(info, which)
        for wanted, name in ((self._spec.tiling, "tiling"), (self._spec.slicing, "slicing")):
            if wanted:
                _enable(model, name, which)
        model = model.to(device).eval().requires_grad_(requires_grad=False)
        encoder = getattr(model, "encoder", model)
        has_frames = any(isinstance(each, torch.nn.Conv3d) for each in encoder.modules())
        self._loaded = _Loaded(model, torch.device(device), dtype, has_frames)

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """Latents (n, c, h, w), or "mean" and "logvar" of them, in the type that was asked for."""
        if self._loaded is None:
            raise RuntimeError("a VAE encodes only once it is loaded")
        pixels = batch.to(self._loaded.device, self._loaded.dtype)
        if self._loaded.has_frames:
            pixels = pixels.unsqueeze(2)
        with torch.no_grad():
            answer = self._loaded.model.encode(pixels)
        return {name: self._finish(each) for name, each in self._ask(answer, seeds).items()}

    def _ask(self, answer: Any, seeds: Sequence[int]) -> dict[str, Tensor]:
        """What is kept of an answer, in the type that it was computed in, or float32."""
        asked = self._spec.posterior
        posterior = getattr(answer, "latent_dist", None)
        if posterior is None:
            latents = getattr(answer, "latent", None)
            latents = getattr(answer, "latents", None) if latents is None else latents
            if asked == "parameters" or not isinstance(latents, Tensor):
                why = "its latents have no distribution" if asked == "parameters" else "no latents"
                raise UsageError("cannot keep", self._files.name, why=why, fix="ask for the mode")
            return {"latents": latents}
        if asked == "parameters":
            return {"mean": posterior.mean, "logvar": posterior.logvar}
        if asked == "mode":
            return {"latents": posterior.mode()}
        return {"latents": draw(posterior.mean, posterior.logvar, seeds)}

    def _finish(self, tensor: Tensor) -> Tensor:
        if tensor.ndim == 5 and tensor.shape[2] == 1:
            tensor = tensor.squeeze(2)
        return tensor.to(getattr(torch, self._spec.dtype))

    def _find_class(self) -> Any:
        """The class that the configuration names: one of diffusers, never one that it brings."""
        name = self._config.get("_class_name")
        if not isinstance(name, str) or not name.isidentifier():
            why = "its config.json names no class"
            raise DataError("cannot use", self._files.name, why=why, fix="is it of diffusers?")
        kind, model = find_class("diffusers", name), find_class("diffusers", "ModelMixin")
        if not isinstance(kind, type) or not issubclass(kind, model) or not hasattr(kind, "encode"):
            why = f"{name} is no class of diffusers that encodes images"
            raise DataError("cannot use", self._files.name, why=why)
        return kind

    def _computed(self, config: Mapping[str, Any]) -> torch.dtype:
        """The type to compute in: float32 where float16 would overflow, as diffusers does it."""
        if self._spec.dtype == "float16" and config.get("force_upcast"):
            return torch.float32
        dtype: torch.dtype = getattr(torch, self._spec.dtype)
        return dtype


def find_spatial_factor(config: Mapping[str, Any]) -> int | None:
    """How many pixels across one latent stands for, None where the configuration does not tell."""
    for key in ("scale_factor_spatial", "spatial_compression_ratio"):
        if isinstance(config.get(key), int):
            return int(config[key])
    for key, fewer in (
        ("encoder_block_out_channels", 1),
        ("block_out_channels", 1),
        ("temperal_downsample", 0),
    ):
        if isinstance(config.get(key), list | tuple):
            return 1 << max(len(config[key]) - fewer, 0)
    return None


def _defaults(kind: Any) -> dict[str, Any]:
    """What a class takes where a configuration is silent, as that of Stable Diffusion 1 is."""
    parameters = inspect.signature(kind.__init__).parameters.values()
    return {
        each.name: list(each.default) if isinstance(each.default, tuple) else each.default
        for each in parameters
        if each.default is not inspect.Parameter.empty
    }


def _enable(model: Any, name: str, which: str) -> None:
    try:
        getattr(model, f"enable_{name}")()
    except (NotImplementedError, AttributeError):
        why = f"{type(model).__name__} has no {name}"
        raise UsageError("cannot use", which, why=why, fix=f"leave {name} out") from None


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
