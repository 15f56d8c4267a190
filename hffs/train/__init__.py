"""The bundled tool: it scans a folder of images, plans buckets and batches, and loads them.

Reads any folder, a mount or not; it must not know what is behind one. What needs torch is imported
when it is used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from hffs.errors import MissingLibraryError

if TYPE_CHECKING:
    from hffs.core.batches import BatchSpec
    from hffs.train.caching.dataset import (
        CachedBatch,
        CachedDataset,
        CachedSample,
        collate_cached,
    )
    from hffs.train.dataset import Batch, FolderDataset, Sample, collate, time_ids
    from hffs.train.mixed import MixedLoader
    from hffs.train.plan import Plan
    from hffs.train.planning import plan_entries, plan_folder
    from hffs.train.sampler import BucketBatchSampler

__all__ = [
    "Batch", "BatchSpec", "BucketBatchSampler", "CachedBatch", "CachedDataset", "CachedSample",
    "FolderDataset", "MixedLoader", "Plan", "Sample", "collate", "collate_cached",
    "plan_entries", "plan_folder", "time_ids",
]  # fmt: skip

_HOMES = {
    "Batch": "hffs.train.dataset",
    "BatchSpec": "hffs.core.batches",
    "BucketBatchSampler": "hffs.train.sampler",
    "CachedBatch": "hffs.train.caching.dataset",
    "CachedDataset": "hffs.train.caching.dataset",
    "CachedSample": "hffs.train.caching.dataset",
    "FolderDataset": "hffs.train.dataset",
    "MixedLoader": "hffs.train.mixed",
    "Plan": "hffs.train.plan",
    "Sample": "hffs.train.dataset",
    "collate": "hffs.train.dataset",
    "collate_cached": "hffs.train.caching.dataset",
    "plan_entries": "hffs.train.planning",
    "plan_folder": "hffs.train.planning",
    "time_ids": "hffs.train.dataset",
}
"""Module of each name."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_HOMES[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        fix = "pip install 'hffs-mount[train]'"
        which = f"{__name__}.{name}"
        raise MissingLibraryError("cannot use", which, why="no torch here", fix=fix) from None


def __dir__() -> list[str]:
    return __all__
