"""Facts of a plan, against plans that are small enough to count by hand."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hffs.core.batches import BatchSpec
from hffs.core.buckets import measures
from hffs.core.buckets.assignment import Assignment, Removal
from hffs.core.buckets.spec import BucketSpec, Limits, ResolutionType
from hffs.train.plan import Plan
from hffs.train.report.facts import PlanFacts, ScatterFacts, SizedName
from hffs.train.report.gathering import MOST_CROPS, Wanted, report_plan
from tests.train.plans import Quiet, make_epoch, make_plan, make_scan

FOLDER = Path("/nowhere")
SIZES = [(1024, 1024), (600, 600), (2000, 500), (448, 576), (100, 100)]
NAMES = [f"{number}.jpg" for number in range(len(SIZES))]


def _report(plan: Plan, batches: BatchSpec | None = None, crops: int = MOST_CROPS) -> PlanFacts:
    spec = batches or BatchSpec(batch_size=2)
    return report_plan(plan, make_epoch(plan, spec), spec, Wanted(crops), Quiet()).facts


def _plan_five() -> Plan:
    problems = {"broken.jpg": "truncated", "also.jpg": "truncated", "empty.png": "0 bytes long"}
    return make_plan(make_scan(FOLDER, NAMES, SIZES, problems=problems), smallest_px=200)


def test_the_scan_counts_all_files_and_reasons() -> None:
    scan = _report(_plan_five()).scan
    assert (scan.found, scan.read, scan.unreadable, scan.others) == (8, 5, 3, 3)
    assert [(each.reason, each.count) for each in scan.reasons] == [
        ("truncated", 2), ("0 bytes long", 1),
    ]  # fmt: skip
    assert [each.name for each in scan.problems] == ["broken.jpg", "also.jpg", "empty.png"]
    assert (scan.folder, scan.fingerprint) == ("/nowhere", "0123abcd")


def test_many_unreadable_files_are_counted_and_some_named() -> None:
    problems = {f"{number}.png": f"reason {number % 30}" for number in range(1000)}
    scan = _report(make_plan(make_scan(FOLDER, ["a.jpg"], [(512, 512)], problems=problems))).scan
    assert (scan.unreadable, len(scan.problems), len(scan.reasons)) == (1000, 100, 20)


def test_buckets_and_totals() -> None:
    facts = _report(_plan_five())
    told = {(each.width, each.height): each for each in facts.buckets}
    assert list(told) == [(384, 640), (448, 576), (512, 512), (576, 448), (640, 384)]
    square, wide, empty = told[512, 512], told[640, 384], told[384, 640]
    assert (square.images, square.samples, square.batches, square.dropped) == (2, 2, 1, 0)
    assert (wide.images, wide.batches, wide.dropped, wide.batch_size) == (1, 0, 1, 2)
    assert (empty.images, empty.quality) == (0, None)
    assert square.quality
    assert square.quality.crop_loss.max == 0
    assert square.quality.upscale.mean == pytest.approx((0.5 + 512 / 600) / 2)
    assert square.quality.upscale.max == pytest.approx(512 / 600)
    assert wide.quality
    # 2000 x 500 becomes 1536 x 384, of which 640 are kept.
    assert wide.quality.crop_loss.mean == pytest.approx(1 - 640 / 1536)
    assert wide.quality.aspect_error.max == pytest.approx(np.log(4 / (640 / 384)))
    totals = facts.totals
    assert (totals.buckets, totals.images, totals.samples) == (3, 4, 4)
    assert (totals.batches, totals.dropped, totals.padded) == (1, 2, 0)
    assert totals.quality
    assert totals.quality.crop_loss.mean == pytest.approx((1 - 640 / 1536) / 4)


def test_an_image_at_two_resolutions_is_one_image_and_two_samples() -> None:
    assignment = Assignment(
        sizes=np.array([(256, 256), (512, 512)], np.int32),
        aspects=np.array([1.0, 1.0]),
        image=np.array([0, 0, 1]),
        bucket=np.array([0, 0, 1], np.int32),
        resolution=np.array([0, 1, 1], np.int16),
        resized=np.array([(256, 256), (256, 256), (512, 512)], np.int32),
        crop=np.zeros((3, 2), np.int32),
        removed=np.array([(0, 0), (Removal.UPSCALED, 0)], np.uint8),
    )
    scan = make_scan(FOLDER, ["a.jpg", "b.jpg"], [(300, 300), (400, 400)])
    plan = Plan("two", scan, BucketSpec(limits=Limits(max_upscale=0.2)), assignment)
    facts = _report(plan)
    assert [(each.images, each.samples) for each in facts.buckets] == [(1, 2), (1, 1)]
    assert (facts.totals.images, facts.totals.samples) == (2, 3)
    assert [(each.reason, each.samples, each.images) for each in facts.removed] == [
        ("upscaled", 1, 1)
    ]
    assert facts.removed[0].why == "edges would grow by more than 0.2 of their length"
    assert facts.scatter.bucket == (0, 1)
    assert len(facts.worst_crops) + len(facts.most_upscaled) == 1  # of the enlarged one


@pytest.mark.parametrize(
    ("resolution_type", "why"),
    [
        ("pixel", "the shorter edge is below 200 px"),
        ("area", "the area is below 200 megapixels"),
        ("pixel_area", "the area is below that of a square of 200 px"),
    ],
)
def test_what_is_removed_says_why_in_the_unit_of_the_resolutions(
    resolution_type: ResolutionType, why: str
) -> None:
    plan = _plan_five()
    spec = replace(plan.spec, resolution_type=resolution_type)
    (removal,) = _report(replace(plan, spec=spec)).removed
    assert (removal.reason, removal.samples, removal.images) == ("too_small", 1, 1)
    assert removal.why == why
    assert removal.examples == (SizedName("4.jpg", 100, 100),)


def test_every_reason_has_words() -> None:
    count = len(Removal)
    plan = make_plan(make_scan(FOLDER, [f"{n}.png" for n in range(count)], [(64, 64)] * count))
    assignment = plan.assignment
    removed = np.arange(count, dtype=np.uint8)[:, None]
    one = replace(
        assignment, image=assignment.image[:1], bucket=assignment.bucket[:1],
        resolution=assignment.resolution[:1], resized=assignment.resized[:1],
        crop=assignment.crop[:1], removed=removed,
    )  # fmt: skip
    facts = _report(replace(plan, assignment=one))
    reasons = [each.reason for each in facts.removed]
    assert reasons == ["no_size", "too_small", "too_narrow", "too_wide", "upscaled"]
    assert all(each.why for each in facts.removed)
    assert facts.removed[2].why == "width / height is below the limit"


def test_a_budget_of_pixels_sizes_the_batches_of_each_bucket() -> None:
    plan = _plan_five()
    spec = BatchSpec(pixel_budget=3 * 512 * 512)
    facts = _report(plan, spec)
    told = {(each.width, each.height): each.batch_size for each in facts.buckets}
    assert told[512, 512] == 3
    assert told[640, 384] == 3
    assert _report(plan, BatchSpec(pixel_budget=1)).buckets[0].batch_size == 1


def test_sizes_are_those_after_turning() -> None:
    scan = make_scan(FOLDER, ["a.jpg", "b.jpg"], [(400, 200), (400, 200)], orientation=[6, 1])
    as_stored, upright = (_report(make_plan(scan, upright=turn)).sizes for turn in (False, True))
    assert as_stored.width
    assert (as_stored.width.min, as_stored.width.max) == (400, 400)
    assert upright.width
    assert upright.aspect
    assert upright.megapixels
    assert (upright.width.min, upright.width.max) == (200, 400)
    assert (upright.aspect.min, upright.aspect.max) == (0.5, 2)
    assert upright.megapixels.max == 0.08


def test_the_scatter_is_a_sample_that_stays_the_same() -> None:
    generator = np.random.default_rng(0)
    sizes = generator.integers(64, 4000, (5000, 2)).astype(np.int32)
    scan = make_scan(FOLDER, [f"{number}.jpg" for number in range(5000)], sizes)
    plan = make_plan(scan, smallest_px=200)
    first, again = (_report(plan).scatter for _ in range(2))
    assert first == again
    assert (first.of, len(first.width)) == (5000, 2000)
    small = [min(pair) < 200 for pair in zip(first.width, first.height, strict=True)]
    assert [bucket == -1 for bucket in first.bucket] == small
    assert 0 < sum(small) < 2000


def test_the_worst_come_first_and_once_each() -> None:
    facts = _report(_plan_five(), crops=4)
    assert [crop.name for crop in facts.worst_crops] == ["2.jpg"]
    (crop,) = facts.worst_crops
    assert (crop.image, crop.width, crop.height) == (2, 2000, 500)
    assert (crop.resized_width, crop.resized_height) == (1536, 384)
    assert (crop.left, crop.top, crop.crop_width, crop.crop_height) == (448, 0, 640, 384)
    assert crop.crop_loss == pytest.approx(1 - 640 / 1536)
    assert facts.most_upscaled == ()


def test_images_that_are_enlarged_have_places_of_their_own() -> None:
    sizes = [(1000 + 50 * n, 500) for n in range(20)] + [(100 + n, 100 + n) for n in range(5)]
    scan = make_scan(FOLDER, [f"{number}.jpg" for number in range(25)], sizes)
    facts = _report(make_plan(scan), crops=12)
    losses = [crop.crop_loss for crop in facts.worst_crops]
    assert losses == sorted(losses, reverse=True)
    assert [crop.image for crop in facts.worst_crops] == list(range(19, 10, -1))
    assert [crop.image for crop in facts.most_upscaled] == [20, 21, 22]
    assert all(crop.upscale > 5 for crop in facts.most_upscaled)


@pytest.mark.parametrize("most", [1, 7, 80])
def test_the_worst_of_many_are_those_of_all_when_sorted(most: int) -> None:
    sizes = np.random.default_rng(5).integers(100, 900, (400, 2)).astype(np.int32)
    plan = make_plan(make_scan(FOLDER, [f"{number}.jpg" for number in range(400)], sizes))
    facts = _report(plan, crops=most)
    losses = np.sort(measures.crop_loss(plan.assignment))[::-1]
    told = [crop.crop_loss for crop in facts.worst_crops]
    assert told == pytest.approx(losses[: len(told)].tolist())
    taken = {crop.image for crop in facts.worst_crops}
    scales = measures.upscale(sizes, plan.assignment)
    others = [scales[image] for image in range(400) if image not in taken]
    assert [crop.upscale for crop in facts.most_upscaled] == pytest.approx(
        sorted(others, reverse=True)[: len(facts.most_upscaled)]
    )
    assert len(told) + len(facts.most_upscaled) == most


@given(arrays(np.int32, (12, 2), elements=st.integers(1, 5000)), st.integers(0, 20))
def test_crops_that_are_told_lie_inside_and_are_of_distinct_images(
    sizes: np.ndarray[tuple[int, int], np.dtype[np.int32]], most: int
) -> None:
    plan = make_plan(make_scan(FOLDER, [f"{number}.jpg" for number in range(12)], sizes))
    facts = _report(plan, crops=most)
    told = (*facts.worst_crops, *facts.most_upscaled)
    assert len(told) <= most
    assert len({crop.image for crop in told}) == len(told)
    for crop in told:
        assert 0 <= crop.left <= crop.resized_width - crop.crop_width
        assert 0 <= crop.top <= crop.resized_height - crop.crop_height
        assert crop.crop_loss > 0 or crop.upscale > 1


@pytest.mark.parametrize("sizes", [[], [(10, 10)]])
def test_a_plan_of_nothing_has_facts_too(sizes: list[tuple[int, int]]) -> None:
    scan = make_scan(FOLDER, NAMES[: len(sizes)], sizes)
    facts = _report(make_plan(scan, smallest_px=64))
    assert (facts.totals.samples, facts.totals.batches, facts.totals.quality) == (0, 0, None)
    assert (facts.sizes.width is None) == (not sizes)
    assert facts.scatter == (
        ScatterFacts(1, (10,), (10,), (-1,)) if sizes else ScatterFacts(0, (), (), ())
    )


def test_a_plan_may_have_no_buckets() -> None:
    plan = make_plan(make_scan(FOLDER, ["a.jpg"], [(10, 10)]), smallest_px=64)
    none = replace(plan.assignment, sizes=np.zeros((0, 2), np.int32), aspects=np.zeros(0))
    facts = _report(replace(plan, assignment=none))
    assert (facts.buckets, facts.totals.buckets, facts.totals.quality) == ((), 0, None)


def test_no_file_is_read_unless_asked() -> None:
    report = report_plan(
        _plan_five(), make_epoch(_plan_five(), BatchSpec()), BatchSpec(), Wanted(), Quiet()
    )
    assert report.sheet is None
    assert report.facts.captions is None


def test_facts_are_json() -> None:
    facts = _report(_plan_five())
    told = json.loads(json.dumps(asdict(facts)))
    assert told["settings"]["buckets"]["generator"] == "aspect"
    assert told["settings"]["batches"]["batch_size"] == 2
    assert told["buckets"][2]["quality"]["crop_loss"] == {"mean": 0.0, "max": 0.0}
    assert told["captions"] is None
