"""A plan: a scanned folder and the buckets of its images.

Owns what is known of one entry before batches are made. Must not know torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from hffs.core.batches import BatchSpec
from hffs.core.buckets.assignment import Assignment
from hffs.core.buckets.spec import BucketSpec
from hffs.train.scanning.scanned import Scan

_ONE_BY_ONE = BatchSpec()


@dataclass(frozen=True, slots=True)
class Plan:
    """One entry: what was found in its folder, and what it becomes.

    `id` names it; `upright` says whether images are turned as EXIF asks before anything else;
    `caption_extension` is that of sidecars ("txt"); `probability` is the entry's, and `batch` the
    batches that it asks for, of one rank.
    """

    id: str
    scan: Scan
    spec: BucketSpec
    assignment: Assignment
    upright: bool = False
    caption_extension: str = "txt"
    probability: float = 1.0
    batch: BatchSpec = _ONE_BY_ONE
