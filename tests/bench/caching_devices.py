"""Encoders that stand in for devices, for `tests.bench.caching`: they take time, and no processor.

Each does one batch at a time, as a GPU does, and is given two; it says how many images that is a
second. The host is free meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

FACTOR, LANES = 8, 2
_ALONE = threading.Lock()


class Slow:
    """A device that takes 100 ms for 8 images."""

    per_s = 80

    def identify(self) -> Mapping[str, Any]:
        """Nothing but its name: its latents are all zeros."""
        return {"name": type(self).__name__}

    def load(self, device: str) -> None:
        """It has no weights."""

    def encode(self, batch: Tensor, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """Wait for the batch before, then the time of this one, without the interpreter."""
        with _ALONE:
            time.sleep(len(seeds) / self.per_s)
        height, width = (each // FACTOR for each in batch.shape[2:])
        return {"latents": torch.zeros(len(seeds), 4, height, width)}


class Quick(Slow):
    """One that takes 20 ms, which two cores cannot feed."""

    per_s = 400
