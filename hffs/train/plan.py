"""A plan: a scanned folder and the buckets of its images.

Owns what is known of one entry, and its batches epoch after epoch. Must not know torch.
"""

from __future__ import annotations

from dataclasses import dataclass

from hffs.core.batches import BatchSpec, EpochPlan, plan_epoch
from hffs.core.buckets.assignment import Assignment
from hffs.core.buckets.spec import BucketSpec
from hffs.core.types import Size
from hffs.train.scanning.scanned import Scan

_ONE_BY_ONE = BatchSpec()

NO_BATCH_FIX = "a smaller batch_size, or remainder pad, makes some"
"""What to do where no bucket fills a batch."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What is made of an image: turned by `orientation` (EXIF, 1 is not at all), resized, cropped.

    `stored` is its size as the scan found it; `left` and `top` are in the resized image.
    """

    stored: Size
    orientation: int
    resized: Size
    left: int
    top: int
    size: Size


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

    def name(self, sample: int) -> str:
        """The file that a sample is of."""
        return str(self.scan.names[int(self.assignment.image[sample])].as_py())

    def cut(self, sample: int) -> Cut:
        """What is made of the image of a sample."""
        scan, assignment = self.scan, self.assignment
        image = int(assignment.image[sample])
        left, top = assignment.crop[sample].tolist()
        return Cut(
            stored=Size(*scan.stored[image].tolist()),
            orientation=int(scan.orientation[image]) if self.upright else 1,
            resized=Size(*assignment.resized[sample].tolist()),
            left=left,
            top=top,
            size=Size(*assignment.sizes[assignment.bucket[sample]].tolist()),
        )


class Epochs:
    """The batches of a plan, epoch after epoch; those of the last that was asked for are kept."""

    def __init__(self, plan: Plan, spec: BatchSpec) -> None:
        self.spec = spec
        self._bucket, self._sizes = plan.assignment.bucket, plan.assignment.sizes
        self._kept: tuple[int, EpochPlan] | None = None

    def plan(self, epoch: int) -> EpochPlan:
        """The batches of all ranks in an epoch."""
        if self._kept is None or self._kept[0] != epoch:
            self._kept = epoch, plan_epoch(self._bucket, self._sizes, self.spec, epoch)
        return self._kept[1]
