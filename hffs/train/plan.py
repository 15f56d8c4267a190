"""A plan: a scanned folder and the buckets of its images.

Owns what is known of one entry before batches are made. Must not know torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from hffs.core.buckets.assignment import Assignment
from hffs.core.buckets.spec import BucketSpec
from hffs.train.scanning.scanned import Scan


@dataclass(frozen=True, slots=True)
class Plan:
    """One entry: what was found in its folder, and what it becomes.

    `id` names it; `upright` says whether images are turned as EXIF asks before anything else;
    `caption_extension` is that of sidecars ("txt"); `repeats` and `probability` are the entry's.
    """

    id: str
    scan: Scan
    spec: BucketSpec
    assignment: Assignment
    upright: bool = False
    caption_extension: str = "txt"
    repeats: int = 0
    probability: float = 1.0
