"""Plans made by hand: what is tested of a report must not depend on how buckets are assigned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.core.batches import BatchSpec, EpochPlan
from hffs.core.buckets.assignment import Assignment, Removal
from hffs.core.buckets.spec import BucketSpec, Limits
from hffs.data.watcher import Unit
from hffs.train.plan import Plan
from hffs.train.report.facts import PlanFacts
from hffs.train.report.gathering import Wanted, report_plan
from hffs.train.scanning.scanned import Scan

DEFAULT_BUCKETS = ((512, 512), (448, 576), (576, 448), (384, 640), (640, 384))


def make_scan(
    folder: Path,
    names: Sequence[str],
    sizes: Sequence[tuple[int, int]] | NDArray[np.int32],
    *,
    problems: Mapping[str, str] | None = None,
    orientation: Sequence[int] = (),
) -> Scan:
    """A scan of images of these stored sizes."""
    turns = np.array(orientation or np.ones(len(names)), np.uint8)
    return Scan(
        folder, pa.array(names, pa.large_string()), np.array(sizes, np.int32).reshape(-1, 2),
        turns, problems or {}, 3, "0123abcd",
    )  # fmt: skip


def assign_nearest(
    sizes: NDArray[np.int32],
    buckets: Sequence[tuple[int, int]] = DEFAULT_BUCKETS,
    smallest_px: int = 0,
) -> Assignment:
    """Each image in the bucket of the nearest shape, cut in its middle, at one resolution."""
    shapes = np.array(sorted(buckets), np.int32).reshape(-1, 2)
    removed = np.where(sizes.min(axis=1) < smallest_px, Removal.TOO_SMALL, Removal.KEPT)
    image = np.flatnonzero(removed == Removal.KEPT)
    own, aspects = sizes[image], shapes[:, 0] / shapes[:, 1]
    distance = np.abs(np.log((own[:, 0] / own[:, 1])[:, None] / aspects))
    bucket = distance.argmin(axis=1).astype(np.int32)
    target = shapes[bucket]
    scale = (target / own).max(axis=1)
    resized = np.maximum(np.rint(own * scale[:, None]).astype(np.int32), target)
    return Assignment(
        shapes, np.round(aspects, 2), image, bucket, np.zeros(len(image), np.int16), resized,
        ((resized - target) // 2).astype(np.int32), removed.astype(np.uint8)[:, None],
    )  # fmt: skip


def make_plan(
    scan: Scan,
    *,
    upright: bool = False,
    smallest_px: int = 0,
    buckets: Sequence[tuple[int, int]] = DEFAULT_BUCKETS,
) -> Plan:
    """The plan of a scan, by `assign_nearest`."""
    limits = Limits(minimum_size=smallest_px or None)
    spec = BucketSpec(resolutions=(512.0,), limits=limits)
    assignment = assign_nearest(scan.sizes(upright=upright), buckets, smallest_px)
    return Plan("photos", scan, spec, assignment, upright)


def make_epoch(plan: Plan, spec: BatchSpec) -> EpochPlan:
    """Full batches only, in the order of samples."""
    count = len(plan.assignment.sizes)
    members = [np.flatnonzero(plan.assignment.bucket == number) for number in range(count)]
    batches = np.array([len(each) // spec.batch_size for each in members], np.int64)
    used = batches * spec.batch_size
    parts = [each[:n] for each, n in zip(members, used, strict=True)]
    order = np.concatenate([np.zeros(0, np.int64), *parts])
    return EpochPlan(
        order=order,
        starts=np.arange(0, len(order) + 1, spec.batch_size),
        bucket=np.repeat(np.arange(count, dtype=np.int32), batches),
        batches=batches,
        dropped=np.array([len(each) for each in members], np.int64) - used,
        padded=np.zeros(count, np.int64),
        world=1,
    )


class Quiet:
    """Waits in silence; keeps how far each work came."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, int]] = []

    def progress(self, what: str, done: int, total: int, unit: Unit = "") -> None:
        self.seen.append((what, done, total))

    def notice(self, text: str) -> None:
        raise AssertionError(text)


def make_facts(
    count: int = 60,
    *,
    smallest_px: int = 150,
    buckets: tuple[tuple[int, int], ...] = DEFAULT_BUCKETS,
    problems: dict[str, str] | None = None,
) -> PlanFacts:
    """Facts of images of random sizes, which are nowhere."""
    sizes = np.random.default_rng(1).integers(100, 3000, (count, 2)).astype(np.int32)
    names = [f"{number}.jpg" for number in range(count)]
    scan = make_scan(Path("/data/photos"), names, sizes, problems=problems)
    plan = make_plan(scan, smallest_px=smallest_px, buckets=buckets)
    batches = BatchSpec(batch_size=4)
    return report_plan(plan, make_epoch(plan, batches), batches, Wanted(), Quiet()).facts
