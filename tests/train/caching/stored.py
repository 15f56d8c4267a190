"""Stores filled by hand, so that what reads them is tested apart from what encodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hffs.train.caching.keys import identify_encoder, make_image_key, make_text_key
from hffs.train.caching.shards import Shard
from hffs.train.caching.store import Store
from hffs.train.plan import Plan

VAE: Mapping[str, Any] = {
    "class": "AutoencoderKL",
    "latent_channels": 4,
    "spatial_factor": 8,
    "scaling_factor": 0.5,
    "shift_factor": None,
    "latents_mean": None,
    "latents_std": None,
}
TEXT: Mapping[str, Any] = {"library": "none"}
_ROWS = 3


def make_identities(plan: Plan) -> NDArray[np.uint8]:
    """Digests of nothing, one an image."""
    chance = np.random.default_rng(7)
    return chance.integers(0, 256, (len(plan.scan.names), 32), np.uint8)


def make_latents(sample: int, size: Sequence[int], *, flipped: bool = False) -> Tensor:
    """Latents that tell whose they are: (4, h / 8, w / 8)."""
    width, height = size
    chance = torch.Generator().manual_seed(2 * sample + flipped)
    return torch.randn(4, height // 8, width // 8, generator=chance)


def make_key(plan: Plan, sample: int, facts: Mapping[str, Any], *, flipped: bool = False) -> bytes:
    """The key of a sample, by `make_identities`."""
    image = make_identities(plan)[int(plan.assignment.image[sample])].tobytes()
    return make_image_key(image, plan.cut(sample), identify_encoder(facts), flipped=flipped)


def fill_images(
    folder: Path,
    plan: Plan,
    *,
    facts: Mapping[str, Any] = VAE,
    flip: bool = False,
    absent: Sequence[int] = (),
) -> Store:
    """A store of a plan's samples, by `make_latents`, but for some; three a shard."""
    store = Store.open(folder)
    for flipped in (False, True)[: 1 + flip]:
        for bucket in range(len(plan.assignment.sizes)):
            own = np.flatnonzero(plan.assignment.bucket == bucket)
            there = [sample for sample in own.tolist() if sample not in absent]
            for at in range(0, len(there), _ROWS):
                some = there[at : at + _ROWS]
                keys = [make_key(plan, sample, facts, flipped=flipped) for sample in some]
                size = plan.assignment.sizes[bucket].tolist()
                latents = [make_latents(sample, size, flipped=flipped) for sample in some]
                name = f"{bucket}-{int(flipped)}-{at}"
                tensors = {"latents": torch.stack(latents)}
                store.put(Shard(name, stack(keys), tensors, {}, facts))
    return store


def refuse_images(store: Store, plan: Plan, samples: Sequence[int]) -> None:
    """Say of samples that they could not be read, beside one that could."""
    keys = [make_key(plan, sample, VAE).hex() for sample in samples]
    tensors = {"latents": torch.zeros(1, 4, 1, 1)}
    refused = dict.fromkeys(keys, "truncated")
    store.put(Shard("refused", stack([bytes(32)]), tensors, refused, VAE))


def stack(keys: Iterable[bytes]) -> NDArray[np.uint8]:
    """Keys as a shard has them, (n, 32)."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, 32)


def fill_texts(
    folder: Path,
    tensors: Mapping[str, Mapping[str, Tensor]],
    facts: Mapping[str, Any] = TEXT,
) -> Store:
    """A store of texts, each with its tensors by name; one shard."""
    store = Store.open(folder)
    encoder = identify_encoder(facts)
    names = next(iter(tensors.values())).keys()
    store.put(
        Shard(
            name="texts",
            keys=stack(make_text_key(text, encoder) for text in tensors),
            tensors={
                name: torch.stack([each[name] for each in tensors.values()]) for name in names
            },
            refused={},
            encoder=facts,
        )
    )
    return store


def embed(texts: Sequence[str]) -> dict[str, dict[str, Tensor]]:
    """Embeddings that tell of which text they are."""
    made = {}
    for text in texts:
        chance = torch.Generator().manual_seed(sum(text.encode()))
        made[text] = {
            "hidden": torch.randn(5, 6, generator=chance),
            "pooled": torch.randn(6, generator=chance),
        }
    return made
