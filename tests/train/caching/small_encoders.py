"""Encoders of one's own, as docs/caching.md has them; quick to import, in any process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor


class Noisy:
    """Images an eighth as wide, with noise by the seed of each."""

    def identify(self) -> Mapping[str, Any]:
        """All that its tensors depend on."""
        return {"name": "noisy", "version": 1}

    def load(self, device: str) -> None:
        """It has no weights."""
        self._device = device

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """Means of 8 x 8 pixels."""
        small = torch.nn.functional.avg_pool2d(batch, 8)
        noise = [
            torch.randn(small.shape[1:], generator=torch.Generator().manual_seed(seed))
            for seed in seeds
        ]
        return {"latents": small + 0.1 * torch.stack(noise).to(self._device)}
