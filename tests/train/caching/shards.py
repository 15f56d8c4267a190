"""Shards for tests: keys by number, and tensors that tell them apart."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b

import numpy as np
import torch
from numpy.typing import NDArray

from hffs.train.caching.shards import Shard


def make_key(number: int) -> bytes:
    return blake2b(str(number).encode(), digest_size=32).digest()


def make_keys(first: int, count: int) -> NDArray[np.uint8]:
    data = b"".join(map(make_key, range(first, first + count)))
    return np.frombuffer(data, np.uint8).reshape(count, 32)


def make_shard(
    name: str,
    first: int,
    count: int,
    refused: Mapping[str, str] | None = None,
    encoder: str = "one",
) -> Shard:
    """Samples `first` to `first + count`; the tensor of each is filled with its number."""
    numbers = torch.arange(first, first + count, dtype=torch.float32)
    tensors = {"latents": numbers[:, None, None].expand(count, 2, 3).bfloat16()}
    return Shard(name, make_keys(first, count), tensors, refused or {}, {"name": encoder})
