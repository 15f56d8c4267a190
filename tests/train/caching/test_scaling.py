"""Scaling as the pipelines of diffusers do it, and back."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from hffs.errors import UsageError
from hffs.train.caching.scaling import scale_latents, unscale_latents

X = torch.tensor([1.0, -2.0, 3.0, 4.0]).reshape(1, 2, 1, 2)


@pytest.mark.parametrize(
    ("facts", "first"),
    [
        ({"scaling_factor": 0.18215}, 0.18215),  # Stable Diffusion
        ({"scaling_factor": 0.3611, "shift_factor": 0.1159}, (1 - 0.1159) * 0.3611),  # Flux
        ({"latents_mean": [0.5, 1.0], "latents_std": [2.0, 4.0]}, 0.25),  # Wan, Qwen-Image
        (  # a fine-tuned Stable Diffusion XL
            {"scaling_factor": 0.5, "latents_mean": [0.5, 1.0], "latents_std": [2.0, 4.0]}, 0.125,
        ),
    ],
)  # fmt: skip
def test_latents_are_scaled_and_scaled_back(facts: dict[str, Any], first: float) -> None:
    scaled = scale_latents(X, facts)
    assert scaled[0, 0, 0, 0].item() == pytest.approx(first)
    torch.testing.assert_close(unscale_latents(scaled, facts), X)
    assert scale_latents(X.bfloat16(), facts).dtype == torch.bfloat16
    assert scale_latents(X.unsqueeze(2), facts).shape == (1, 2, 1, 1, 2)


def test_a_factor_is_not_rounded_to_the_type_of_latents() -> None:
    x = torch.linspace(-4.0, 4.0, 500).bfloat16()
    assert torch.equal(scale_latents(x, {"scaling_factor": 0.13025}), x * 0.13025)


def test_each_channel_has_its_own_scale() -> None:
    facts = {"latents_mean": [0.0, 3.0], "latents_std": [1.0, 2.0]}
    assert scale_latents(X, facts)[0, 1].flatten().tolist() == [0.0, 0.5]


def test_a_vae_that_tells_no_scale_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot scale latents of AutoencoderKLFlux2"):
        scale_latents(X, {"class": "AutoencoderKLFlux2", "scaling_factor": None})
