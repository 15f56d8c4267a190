"""What is done to each sample, and which samples a person should see.

Owns the measures of a whole plan, and what counts as worst. Must not know how a crop is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets import measures
from hffs.train.plan import Plan
from hffs.train.report.facts import CropFacts, MeasureFacts, QualityFacts

_UPSCALED_SHARE = 4
"""One of so many places is kept for images that are enlarged."""

_Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """A plan, the sizes of its images, (n, 2), and its measures, one for each sample."""

    plan: Plan
    sizes: NDArray[np.int32]
    aspect_error: _Numbers
    crop_loss: _Numbers
    upscale: _Numbers

    @classmethod
    def of(cls, plan: Plan) -> Measured:
        """Measure all samples."""
        sizes, assignment = plan.scan.sizes(upright=plan.upright), plan.assignment
        return cls(
            plan,
            sizes,
            measures.aspect_error(sizes, assignment),
            measures.crop_loss(assignment),
            measures.upscale(sizes, assignment),
        )

    def name(self, image: int) -> str:
        """Name of an image, relative to its folder."""
        return str(self.plan.scan.names[image].as_py())

    def describe(self) -> QualityFacts | None:
        """Of all samples together; None if there are none."""
        together = np.zeros(len(self.crop_loss), np.int32)
        return self._describe(lambda measure: _summarize(measure, together, 1))[0]

    def describe_by_bucket(self) -> list[QualityFacts | None]:
        """Of the samples of each bucket; None of a bucket that has none."""
        bucket, count = self.plan.assignment.bucket, len(self.plan.assignment.sizes)
        return self._describe(lambda measure: _summarize(measure, bucket, count))

    def _describe(
        self, summarize: Callable[[_Numbers], list[MeasureFacts | None]]
    ) -> list[QualityFacts | None]:
        told = map(summarize, (self.aspect_error, self.crop_loss, self.upscale))
        return [
            QualityFacts(error, loss, scale) if error and loss and scale else None
            for error, loss, scale in zip(*told, strict=True)
        ]

    def crop(self, sample: int) -> CropFacts:
        """All that is done to one sample."""
        assignment = self.plan.assignment
        image = int(assignment.image[sample])
        width, height = self.sizes[image].tolist()
        resized_width, resized_height = assignment.resized[sample].tolist()
        left, top = assignment.crop[sample].tolist()
        crop_width, crop_height = assignment.sizes[assignment.bucket[sample]].tolist()
        return CropFacts(
            name=self.name(image),
            image=image,
            width=width,
            height=height,
            resized_width=resized_width,
            resized_height=resized_height,
            left=left,
            top=top,
            crop_width=crop_width,
            crop_height=crop_height,
            aspect_error=float(self.aspect_error[sample]),
            crop_loss=float(self.crop_loss[sample]),
            upscale=float(self.upscale[sample]),
        )


def _summarize(
    measure: _Numbers, group: NDArray[np.int32], count: int
) -> list[MeasureFacts | None]:
    """Mean and greatest of each of `count` groups; None of a group of nothing."""
    members = np.bincount(group, minlength=count)
    sums = np.bincount(group, measure, minlength=count)
    most = np.full(count, -np.inf)
    np.maximum.at(most, group, measure)
    return [
        MeasureFacts(total / number, greatest) if number else None
        for total, number, greatest in zip(
            sums.tolist(), members.tolist(), most.tolist(), strict=True
        )
    ]


def pick_worst(
    measured: Measured, most: int
) -> tuple[tuple[CropFacts, ...], tuple[CropFacts, ...]]:
    """Up to `most` samples, each of another image: those that lose most, and of the others those
    that are enlarged most. What loses nothing is not among the former, nor what is not enlarged
    among the latter.
    """
    enlarged = int(np.count_nonzero(measured.upscale > 1))
    kept = min(most // _UPSCALED_SHARE, enlarged)
    images = measured.plan.assignment.image
    seen: set[int] = set()
    worst = _pick_distinct(images, measured.crop_loss, 0, seen, most - kept)
    upscaled = _pick_distinct(images, measured.upscale, 1, seen, most - len(worst))
    return tuple(map(measured.crop, worst)), tuple(map(measured.crop, upscaled))


def _pick_distinct(
    images: NDArray[np.int64], measure: _Numbers, least: float, seen: set[int], most: int
) -> list[int]:
    """Up to `most` samples of the greatest measure, above `least`, of no image that is `seen`;
    their images become so.
    """
    picked: list[int] = []
    for sample in _sort_greatest(images, measure, most + len(seen)):
        if measure[sample] <= least or len(picked) == most:
            break
        image = int(images[sample])
        if image not in seen:
            seen.add(image)
            picked.append(int(sample))
    return picked


def _sort_greatest(images: NDArray[np.int64], measure: _Numbers, most: int) -> NDArray[np.int64]:
    """Samples of the greatest measure first, so many that there are `most` images among them."""
    count = most * int(np.bincount(images, minlength=1).max())
    candidates: NDArray[np.int64] = np.arange(len(measure))
    if count < len(measure):  # to sort all of millions takes seconds
        candidates = np.flatnonzero(measure >= np.partition(measure, -count - 1)[-count - 1])
    return candidates[np.argsort(-measure[candidates], kind="stable")]


def pick_ordinary(measured: Measured, most: int) -> tuple[CropFacts, ...]:
    """Of each of the fullest buckets, the fullest first, the sample that loses as much as half of
    the others do.
    """
    bucket = measured.plan.assignment.bucket
    members = measures.count_by_bucket(measured.plan.assignment)
    fullest = [number for number in np.argsort(-members, kind="stable")[:most] if members[number]]

    def find_middle(number: int) -> int:
        samples = np.flatnonzero(bucket == number)
        order = np.argsort(measured.crop_loss[samples], kind="stable")
        return int(samples[order[len(order) // 2]])

    return tuple(measured.crop(find_middle(number)) for number in fullest)
