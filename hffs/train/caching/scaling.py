"""Latents as a diffusion model takes them: drawn, shifted and scaled by what their VAE says.

Owns the arithmetic alone. Stored latents are as the VAE makes them; what is done to them is told by
the facts that an encoder says of itself, and as the pipelines of diffusers do it: `(x - shift) *
scale`, or where a VAE has a mean and a deviation for each channel `(x - mean) * scale / deviation`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from hffs.errors import UsageError


def scale_latents(latents: Tensor, facts: Mapping[str, Any]) -> Tensor:
    """What a diffusion model is trained on, of raw latents (n, c, ...); the type stays.

    Raises UsageError where the facts tell of no scale.
    """
    minus, times = _read_scale(latents, facts)
    return (latents - minus) * times


def unscale_latents(latents: Tensor, facts: Mapping[str, Any]) -> Tensor:
    """Raw latents of scaled ones, which the VAE decodes. Raises as `scale_latents`."""
    minus, times = _read_scale(latents, facts)
    return latents / times + minus


def _read_scale(latents: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    scale, shift = facts.get("scaling_factor"), facts.get("shift_factor")
    mean, deviation = facts.get("latents_mean"), facts.get("latents_std")
    if scale is None and (mean is None or deviation is None):
        why = "its configuration has neither a scaling factor nor means of channels"
        raise UsageError("cannot scale latents of", str(facts.get("class", "a VAE")), why=why)
    of_channels = (-1,) + (1,) * (latents.ndim - 2)

    def spread(values: Any) -> Tensor:
        made = torch.tensor(values, dtype=latents.dtype, device=latents.device)
        return made.reshape(of_channels) if made.ndim else made

    if mean is not None and deviation is not None:
        return spread(mean), spread(1.0 if scale is None else scale) / spread(deviation)
    return spread(0.0 if shift is None else shift), spread(scale)


def draw(mean: Tensor, logvar: Tensor, seeds: Sequence[int]) -> Tensor:
    """A sample of each distribution by its own seed, in float32."""
    noise = torch.stack(
        [
            torch.randn(mean.shape[1:], generator=torch.Generator("cpu").manual_seed(seed))
            for seed in seeds
        ]
    )
    deviation = torch.exp(0.5 * logvar.float())
    return mean.float() + deviation * noise.to(mean.device)
