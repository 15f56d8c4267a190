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


def _read_scale(latents: Tensor, facts: Mapping[str, Any]) -> tuple[Tensor | float, Tensor | float]:
    scale, shift = facts.get("scaling_factor"), facts.get("shift_factor")
    mean, deviation = facts.get("latents_mean"), facts.get("latents_std")
    if mean is not None and deviation is not None:
        of_channels = (-1,) + (1,) * (latents.ndim - 2)
        minus, divide = (
            torch.tensor(each, dtype=latents.dtype, device=latents.device).reshape(of_channels)
            for each in (mean, deviation)
        )
        return minus, (1.0 if scale is None else scale) / divide
    if scale is None:
        why = "its configuration has neither a scaling factor nor means of channels"
        raise UsageError("cannot scale latents of", str(facts.get("class", "a VAE")), why=why)
    return shift or 0.0, scale  # Python's numbers, which are not rounded to the type of the latents


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
