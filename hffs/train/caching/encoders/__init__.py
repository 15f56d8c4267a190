"""Encoders: what makes latents of images and embeddings of texts.

Owns what is asked of one. Must not know folders, stores or devices in plural. One of the user's own
is a class with these three methods that is made without arguments (docs/caching.md):

    class Mine:
        def identify(self):              # -> plain values: all that its tensors depend on
            return {"name": "mine", "version": 2}
        def load(self, device):          # "cpu", "cuda:0": once, before anything is encoded
            ...
        def encode(self, batch, seeds):  # -> {name: tensor (n, ...)}
            ...

A batch of images is a float32 tensor (n, 3, h, w) in [-1, 1], RGB, on the device; one of texts is a
list of str. `seeds` are ints, one a sample, for whatever takes chance: the same sample must become
the same tensor in any batch. Tensors may be left on the device.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from torch import Tensor

from hffs.train.caching.specs import DType, Kind, Posterior, TextSpec, VaeSpec

__all__ = [
    "DType",
    "Encoder",
    "ImageEncoder",
    "Kind",
    "Posterior",
    "TextEncoder",
    "TextSpec",
    "VaeSpec",
]

B_contra = TypeVar("B_contra", contravariant=True)


class Encoder(Protocol[B_contra]):
    """What encodes batches; see the module."""

    def identify(self) -> Mapping[str, Any]:
        """Plain values that say all that its tensors depend on; asked before `load`."""
        ...

    def load(self, device: str) -> None:
        """Get ready to encode on a device."""
        ...

    def encode(self, batch: B_contra, seeds: Sequence[int]) -> Mapping[str, Tensor]:
        """The tensors of a batch by name, each (n, ...)."""
        ...


ImageEncoder = Encoder[Tensor]
TextEncoder = Encoder[list[str]]
