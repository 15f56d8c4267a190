"""What stands in for the VAE of a trainer: it loses nothing, so latents tell the pixels.

Eight by eight pixels become one place with 192 channels, which keeps the shapes that code of
trainers computes: a latent has an eighth of the height and the width.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

FACTOR = 8


class LosslessVae:
    """Looks like the VAE of diffusers to code that encodes with it; counts what it encodes."""

    def __init__(self) -> None:
        self.encoded = 0
        self.device = torch.device("cpu")
        self.dtype = torch.float32

    def encode(self, pixels: torch.Tensor) -> LosslessVae.Output:
        """Pixels, (b, 3, h, w) in -1 .. 1."""
        self.encoded += len(pixels)
        return self.Output(torch.pixel_unshuffle(pixels, FACTOR))

    class Output:
        """Holds its own distribution, of one value."""

        def __init__(self, latents: torch.Tensor) -> None:
            self.latents = latents

        @property
        def latent_dist(self) -> LosslessVae.Output:
            return self

        def sample(self) -> torch.Tensor:
            return self.latents


def decode_latents(latents: torch.Tensor) -> npt.NDArray[np.uint8]:
    """The pixels, (h, w, 3), whose latents, (192, h / 8, w / 8), are these."""
    return to_pixels(torch.pixel_shuffle(latents, FACTOR))


def to_pixels(image: torch.Tensor) -> npt.NDArray[np.uint8]:
    """The pixels, (h, w, 3), of an image, (3, h, w) in -1 .. 1, as models take it."""
    whole = ((image.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    array: npt.NDArray[np.uint8] = whole.permute(1, 2, 0).numpy()
    return array
