"""Finding out what a plan does to the images of a folder: the facts of `hffs bucket`.

Owns what is counted, and which images are named. Must not know how facts are shown. Reads no file
but where captions or pictures are asked for; what that reads is bounded, however large the folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from hffs.core.batches import BatchSpec, EpochPlan, batch_sizes
from hffs.core.buckets import measures
from hffs.core.buckets.assignment import Removal
from hffs.core.buckets.spec import BucketSpec
from hffs.core.histograms import ASPECT_EDGES, MEGAPIXEL_EDGES, SIZE_EDGES, describe_spread
from hffs.core.sampling import sample_rows
from hffs.data.watcher import Watcher
from hffs.train.plan import Plan
from hffs.train.report.captions import describe_captions
from hffs.train.report.crops import Measured, pick_ordinary, pick_worst
from hffs.train.report.facts import (
    BucketFacts,
    PlanFacts,
    PlanReport,
    ProblemFacts,
    ReasonFacts,
    RemovalFacts,
    ScanFacts,
    ScatterFacts,
    SettingsFacts,
    Sheet,
    SizedName,
    SizeFacts,
    TotalFacts,
)
from hffs.train.report.pictures import take_pictures

MOST_CROPS = 48
"""Samples that are told one by one, or shown, unless asked for otherwise."""

_MOST_PROBLEMS = 100
_MOST_REASONS = 20
_MOST_EXAMPLES = 5
_MOST_POINTS = 2_000
_MOST_ORDINARY = 24
_SEED = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """How closely to look: at how many crops, whether with pictures, and whether at captions."""

    crops: int = MOST_CROPS
    pictures: bool = False
    captions: bool = False
    workers: int = 4


def report_plan(
    plan: Plan, epoch: EpochPlan, batches: BatchSpec, wanted: Wanted, watcher: Watcher
) -> PlanReport:
    """Tell of a plan and its first epoch, and read what is wanted of the images' files."""
    measured = Measured.of(plan)
    captions = None
    if wanted.captions:
        captions = describe_captions(plan, wanted.workers, watcher)
    worst, upscaled = pick_worst(measured, wanted.crops)
    facts = PlanFacts(
        id=plan.id,
        scan=_describe_scan(plan),
        settings=SettingsFacts(
            plan.spec, batches, plan.upright, plan.caption_extension, plan.probability
        ),
        totals=_total(measured, epoch),
        buckets=tuple(_describe_buckets(measured, epoch, batches)),
        removed=tuple(_describe_removals(measured)),
        sizes=_describe_sizes(measured.sizes),
        scatter=_scatter(measured),
        worst_crops=worst,
        most_upscaled=upscaled,
        captions=captions,
    )
    if not wanted.pictures:
        return PlanReport(facts, None)
    ordinary = pick_ordinary(measured, _MOST_ORDINARY)
    taken = iter(take_pictures(plan, (*worst, *upscaled, *ordinary), wanted.workers, watcher))
    groups = (tuple(islice(taken, len(crops))) for crops in (worst, upscaled, ordinary))
    return PlanReport(facts, Sheet(*groups))


def _describe_scan(plan: Plan) -> ScanFacts:
    scan = plan.scan
    reasons = Counter(scan.problems.values()).most_common(_MOST_REASONS)
    read, unreadable = len(scan.names), len(scan.problems)
    return ScanFacts(
        folder=str(scan.folder),
        found=read + unreadable,
        read=read,
        unreadable=unreadable,
        others=scan.others,
        fingerprint=scan.fingerprint,
        reasons=tuple(ReasonFacts(reason, count) for reason, count in reasons),
        problems=tuple(
            ProblemFacts(name, reason)
            for name, reason in islice(scan.problems.items(), _MOST_PROBLEMS)
        ),
    )


def _total(measured: Measured, epoch: EpochPlan) -> TotalFacts:
    assignment = measured.plan.assignment
    return TotalFacts(
        buckets=int(np.count_nonzero(measures.count_by_bucket(assignment))),
        images=int(np.count_nonzero(np.bincount(assignment.image))),
        samples=len(assignment.image),
        batches=len(epoch),
        dropped=int(epoch.dropped.sum()),
        padded=int(epoch.padded.sum()),
        quality=measured.describe(),
    )


def _describe_buckets(
    measured: Measured, epoch: EpochPlan, batches: BatchSpec
) -> Iterator[BucketFacts]:
    assignment = measured.plan.assignment
    count, images = len(assignment.sizes), max(len(measured.sizes), 1)
    samples = measures.count_by_bucket(assignment).tolist()
    # As one number each, and sorted: numpy's unique takes ten times as long over either.
    pairs = np.sort(assignment.bucket.astype(np.int64) * images + assignment.image)
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]
    distinct = np.bincount(pairs // images, minlength=count).tolist()
    qualities = measured.describe_by_bucket()
    batch_size = batch_sizes(assignment.sizes, batches).tolist()
    for number, (width, height) in enumerate(assignment.sizes.tolist()):
        yield BucketFacts(
            width=width,
            height=height,
            aspect=float(assignment.aspects[number]),
            images=distinct[number],
            samples=samples[number],
            batches=int(epoch.batches[number]),
            batch_size=batch_size[number],
            dropped=int(epoch.dropped[number]),
            padded=int(epoch.padded[number]),
            quality=qualities[number],
        )


def _describe_removals(measured: Measured) -> Iterator[RemovalFacts]:
    removed, spec = measured.plan.assignment.removed, measured.plan.spec
    for reason in Removal:
        hit = removed == reason
        images = np.flatnonzero(hit.any(axis=1))
        if reason is Removal.KEPT or not len(images):
            continue
        yield RemovalFacts(
            reason=reason.name.lower(),
            why=_explain(reason, spec),
            samples=int(hit.sum()),
            images=len(images),
            examples=tuple(
                SizedName(measured.name(image), *measured.sizes[image].tolist())
                for image in images[:_MOST_EXAMPLES].tolist()
            ),
        )


def _explain(reason: Removal, spec: BucketSpec) -> str:
    limits = spec.limits
    smallest = {
        "pixel": "the shorter edge is below {} px",
        "area": "the area is below {} megapixels",
        "pixel_area": "the area is below that of a square of {} px",
    }[spec.resolution_type]
    text, limit = {
        Removal.KEPT: ("", None),
        Removal.NO_SIZE: ("its size is not known", None),
        Removal.TOO_SMALL: (smallest, limits.minimum_size),
        Removal.TOO_NARROW: ("width / height is below {}", limits.min_aspect),
        Removal.TOO_WIDE: ("width / height is above {}", limits.max_aspect),
        Removal.UPSCALED: ("edges would grow by more than {} of their length", limits.max_upscale),
    }[reason]
    return text.format("the limit" if limit is None else f"{limit:g}")


def _describe_sizes(sizes: NDArray[np.int32]) -> SizeFacts:
    known = sizes[(sizes > 0).all(axis=1)]
    width, height = known[:, 0], known[:, 1]
    return SizeFacts(
        width=describe_spread(width, SIZE_EDGES),
        height=describe_spread(height, SIZE_EDGES),
        aspect=describe_spread(np.round(width / height, 4), ASPECT_EDGES),
        megapixels=describe_spread(np.round(width / 1e6 * height, 4), MEGAPIXEL_EDGES),
    )


def _scatter(measured: Measured) -> ScatterFacts:
    sizes, assignment = measured.sizes, measured.plan.assignment
    chosen = np.flatnonzero(sample_rows(np.arange(len(sizes)), _MOST_POINTS, _SEED))
    first = np.full(len(sizes), -1, np.int64)
    first[assignment.image[::-1]] = assignment.bucket[::-1]  # the last one written is the first
    return ScatterFacts(
        of=len(sizes),
        width=tuple(sizes[chosen, 0].tolist()),
        height=tuple(sizes[chosen, 1].tolist()),
        bucket=tuple(first[chosen].tolist()),
    )
