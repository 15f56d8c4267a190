"""Buckets of thousands of sizes are those that trainers compute by their own functions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hffs.core.buckets import assign
from tests.trainers.buckets import CASES, Case
from tests.trainers.driving import drive, find_checkout

COUNT = 4000


def make_sizes(seed: int) -> NDArray[np.int32]:
    """Sizes as they are found: of any shape, of cameras and screens, and around round numbers."""
    random = np.random.default_rng(seed)
    wild = np.exp(random.uniform(np.log(48), np.log(9000), (COUNT // 2, 2)))
    edges = np.array([256, 480, 512, 640, 720, 768, 800, 1000, 1024, 1080, 1200, 1920, 2048, 4032])
    usual = random.choice(edges, (COUNT // 4, 2)) + random.choice([0, 0, 0, 1, -1], (COUNT // 4, 2))
    heights = random.integers(200, 3000, COUNT // 4)
    shapes = random.choice([1.0, 1.5, 2 / 3, 4 / 3, 16 / 9, 1.125, 0.625, 1.005], COUNT // 4)
    alike = np.stack([np.rint(heights * shapes), heights], axis=1)
    sizes = np.concatenate([wild, usual, alike]).astype(np.int32)
    # SimpleTuner divides by the rounded aspect ratio, and fails where it is 0.
    return sizes[sizes[:, 0] / sizes[:, 1] > 0.06]


@pytest.mark.parametrize("trainer", sorted({case.trainer for case in CASES}))
def test_buckets_are_the_trainers_own(trainer: str, tmp_path: Path) -> None:
    checkout = find_checkout(trainer)
    sizes = make_sizes(seed=0)
    cases = [case for case in CASES if case.trainer == trainer]
    asked = tmp_path / "asked.json"
    settings = [case.settings for case in cases]
    given = {"trainer": trainer, "sizes": sizes.tolist(), "settings": settings}
    asked.write_text(json.dumps(given))
    answers = drive("bucketing", checkout, asked)["answers"]
    for case, said in zip(cases, answers, strict=True):
        check_answer(case, sizes, said)


def check_answer(case: Case, sizes: NDArray[np.int32], said: dict[str, Any]) -> None:
    """Check that the trainer said what hffs makes."""
    made = assign(sizes, case.spec, np.arange(len(sizes), dtype=np.uint64))
    assert len(made.image) == len(sizes)
    buckets = made.sizes[made.bucket]
    np.testing.assert_array_equal(buckets, said["buckets"], case.name)
    if "resized" not in said:
        return
    resized = np.array(said["resized"])
    # Where a trainer cuts out more than there is, as SimpleTuner does of half the images for a
    # square of 0.5 megapixels, the image is larger here.
    covered = (resized >= buckets).all(axis=1)
    assert covered.mean() > 0.4, case.name
    np.testing.assert_array_equal(made.resized[covered], resized[covered], case.name)
    if "crops" in said:
        crops = np.array(said["crops"])
        np.testing.assert_array_equal(made.crop[covered], crops[covered], case.name)
