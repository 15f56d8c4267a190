"""What a store may hold: seen to before anything is encoded in vain.

Owns the guess of how much a run adds. Must not know which shards go for it
(`hffs.train.caching.upkeep`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.train.caching.chunks import ImageJob, TextJob
from hffs.train.caching.store import Store
from hffs.train.caching.upkeep import reserve

_ITEM_BYTES = {"float32": 4, "float16": 2, "bfloat16": 2}
_BESIDE_BYTES = 48
"""Of each sample: its key, and its checksum."""

_HEAD_BYTES = 1024
"""Of each shard, beside what its encoder says of itself."""


class Cap:
    """The most bytes of a store. `keep` are the keys (n, 32) of all that a run uses, also of what
    was there before.

    What is needed is computed of what the encoder says of itself, else guessed of shards so far.
    """

    def __init__(self, store: Store, max_bytes: int, keep: NDArray[np.uint8]) -> None:
        self._store, self._max_bytes, self._keep = store, max_bytes, keep
        self._is_settled, self._reserved_bytes = False, 0

    def begin(self, missing: ImageJob | TextJob, facts: Mapping[str, Any], shards: int) -> None:
        """See to it for all that is missing, in so many shards. DataError where it will not fit."""
        size_bytes = estimate_bytes(missing, facts, shards)
        self._is_settled = size_bytes is not None
        reserve(self._store, size_bytes or 0, self._max_bytes, self._keep)

    def check(self, done: int, left: int, added_bytes: int) -> None:
        """See to it as shards tell how large samples are."""
        if self._is_settled or not done:
            return
        needed_bytes = added_bytes + added_bytes * left // done
        if needed_bytes > self._reserved_bytes:  # samples are larger than those before
            self._reserved_bytes = needed_bytes
            reserve(self._store, needed_bytes - added_bytes, self._max_bytes, self._keep)


def estimate_bytes(job: ImageJob | TextJob, facts: Mapping[str, Any], shards: int) -> int | None:
    """What the shards of a job take, if the encoder's facts tell; else None."""
    channels, factor = facts.get("latent_channels"), facts.get("spatial_factor")
    item_bytes = _ITEM_BYTES.get(str(facts.get("dtype")))
    if not (isinstance(job, ImageJob) and channels and factor and item_bytes):
        return None
    assignment = job.plan.assignment
    sizes = -(-assignment.sizes[assignment.bucket[job.sample]].astype(np.int64) // factor)
    tensors = 2 if facts.get("posterior") == "parameters" else 1
    values = int((sizes[:, 0] * sizes[:, 1]).sum()) * channels * tensors
    heads = shards * (len(json.dumps(facts)) + _HEAD_BYTES)
    return int(values * item_bytes) + _BESIDE_BYTES * len(job.keys) + heads
