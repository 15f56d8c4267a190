"""Answers of trainers to the same sizes, as files have them.

Each file of `tables` is of one trainer at one commit: what its own functions said for `settings`,
its own words, which `spec` says in those of hffs. An answer is the bucket, and where the trainer
tells it the size before the crop and its left and top: `832x1280 853x1280 10+0`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size

_FOLDER = Path(__file__).with_name("expected")


@dataclass(frozen=True, slots=True)
class Table:
    """`buckets`, `resized` and `crops` are (n, 2), the latter two None where not told."""

    name: str
    spec: BucketSpec
    sizes: NDArray[np.int32]
    buckets: NDArray[np.int32]
    resized: NDArray[np.int32] | None
    crops: NDArray[np.int32] | None


def read_tables() -> list[Table]:
    """All that are there."""
    return [table for path in sorted(_FOLDER.glob("*.json")) for table in _read_file(path)]


def _read_file(path: Path) -> list[Table]:
    file = json.loads(path.read_text())
    sizes = _read_pairs(file["sizes"], "x")
    return [_read_case(f"{path.stem}, {case['name']}", case, sizes) for case in file["cases"]]


def _read_case(name: str, case: dict[str, Any], sizes: NDArray[np.int32]) -> Table:
    columns = list(zip(*(answer.split() for answer in case["answers"]), strict=True))
    pairs = [_read_pairs(column, mark) for column, mark in zip(columns, "xx+", strict=False)]
    buckets, resized, crops = [*pairs, None, None][:3]
    assert buckets is not None
    return Table(name, _read_spec(case["spec"]), sizes, buckets, resized, crops)


def _read_pairs(written: list[str] | tuple[str, ...], mark: str) -> NDArray[np.int32]:
    return np.array([pair.split(mark) for pair in written], np.int32)


def _read_spec(given: dict[str, Any]) -> BucketSpec:
    spec = dict(given)
    crop, limits = dict(spec.pop("crop", {})), spec.pop("limits", {})
    if "aspects" in crop:
        crop["aspects"] = tuple(crop["aspects"])
    if "geometric" in spec:
        spec["geometric"] = Geometric(**spec["geometric"])
    if "buckets" in spec:
        spec["buckets"] = tuple(Size(*b) if isinstance(b, list) else b for b in spec["buckets"])
    if "resolutions" in spec:
        spec["resolutions"] = tuple(spec["resolutions"])
    return BucketSpec(crop=Crop(**crop), limits=Limits(**limits), **spec)
