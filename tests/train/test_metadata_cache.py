"""What is written of a plan: SimpleTuner's two files, the table, and when each is written anew."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.core.buckets import assign
from hffs.core.buckets.spec import BucketSpec, Crop, Limits
from hffs.errors import DataError
from hffs.train import metadata_cache
from hffs.train.metadata_cache import Written, identify_plan, write_beside, write_buckets
from hffs.train.plan import Plan
from hffs.train.planning import make_keys
from hffs.train.scanning.scanned import Scan

SIZES = [(1000, 1000), (1600, 1000), (1000, 1600), (40, 40), (1500, 1010)]
SPEC = BucketSpec(
    resolutions=(512.0,), limits=Limits(minimum_size=100.0), crop=Crop(style="center")
)


def make_plan(folder: Path, spec: BucketSpec = SPEC, fingerprint: str = "f") -> Plan:
    names = pa.array([f'sub "{n}"/é{n}.jpg' for n in range(len(SIZES))], pa.large_string())
    stored = np.array(SIZES, np.int32)
    turned = np.ones(len(SIZES), np.uint8)
    scan = Scan(folder, names, stored, turned, {}, 0, fingerprint)
    return Plan("my set", scan, spec, assign(stored, spec, make_keys(names)))


def plan_two_buckets(folder: Path, *sizes: tuple[int, int]) -> Plan:
    """The plan with two buckets of these sizes, whose rounded aspects are alike."""
    plan = make_plan(folder)
    assignment = replace(
        plan.assignment,
        sizes=np.array(sizes, np.int32),
        aspects=np.ones(2),
        bucket=np.array([0, 1, 1, 0], np.int32),
    )
    return replace(plan, assignment=assignment)


def read(written: Written, number: int) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = json.loads(written.files[number].read_bytes())
    return found


def test_files_are_in_the_shape_that_simpletuner_reads(tmp_path: Path) -> None:
    plan = make_plan(tmp_path / "photos")
    written = write_buckets(plan, tmp_path / "cache", "/mnt/photos/")
    folder = tmp_path / "cache/huggingface_metadata/my set"
    assert [path.name for path in written.files] == [
        "aspect_ratio_bucket_indices_my set.json",
        "aspect_ratio_bucket_metadata_my set.json",
        "buckets_my set.parquet",
    ]
    assert {path.parent for path in written.files} == {folder}
    before = "/mnt/photos/sub "
    assert read(written, 0) == {
        "config": {},
        "aspect_ratio_bucket_indices": {
            "0.6": [f'{before}"2"/é2.jpg'],
            "1.0": [f'{before}"0"/é0.jpg'],
            "1.43": [f'{before}"4"/é4.jpg'],
            "1.67": [f'{before}"1"/é1.jpg'],
        },
        "filtering_statistics": {"total_processed": 5, "skipped": {"too_small": 1}},
    }
    metadata = read(written, 1)
    assert len(metadata) == 4
    bucket, resized = plan.assignment.sizes[plan.assignment.bucket[1]], plan.assignment.resized[1]
    assert metadata[f'{before}"1"/é1.jpg'] == {
        "original_size": [1600, 1000],
        "crop_coordinates": [
            int(resized[1] - bucket[1]) // 2, int(resized[0] - bucket[0]) // 2
        ],
        "target_size": bucket.tolist(),
        "intermediary_size": resized.tolist(),
        "aspect_ratio": plan.assignment.aspects[plan.assignment.bucket[1]],
    }  # fmt: skip


def test_the_table_has_a_row_for_each_sample(tmp_path: Path) -> None:
    spec = replace(SPEC, resolutions=(512.0, 256.0))
    plan = make_plan(tmp_path, spec)
    written = write_buckets(plan, tmp_path / "cache", "")
    table = pq.read_table(written.files[-1])
    assert table["resolution"].to_pylist() == [512.0] * 4 + [256.0] * 4
    assert table["name"].to_pylist() == plan.scan.names.take(plan.assignment.image).to_pylist()
    for columns, expected in (
        (("width", "height"), plan.scan.stored[plan.assignment.image]),
        (("bucket_width", "bucket_height"), plan.assignment.sizes[plan.assignment.bucket]),
        (("resized_width", "resized_height"), plan.assignment.resized),
        (("crop_left", "crop_top"), plan.assignment.crop),
    ):
        found = np.stack([table[column].to_numpy() for column in columns], axis=1)
        assert np.array_equal(found, expected)


def test_several_resolutions_are_not_written_for_simpletuner(tmp_path: Path) -> None:
    one = write_buckets(make_plan(tmp_path), tmp_path / "cache", "")
    assert one.why_no_indices == ""
    plan = make_plan(tmp_path, replace(SPEC, resolutions=(512.0, 600.0)))
    assert len(np.unique(plan.assignment.aspects)) > 4  # each bucket has a ratio of its own
    two = write_buckets(plan, tmp_path / "cache", "")
    assert two.why_no_indices == "there are several resolutions"
    assert two.files == one.files[2:]
    assert [path.exists() for path in one.files] == [False, False, True]  # none is of another plan
    with pytest.raises(DataError, match="cannot write SimpleTuner's files of my set: there are"):
        write_beside(plan)


def test_several_sizes_of_one_aspect_are_not_written_for_simpletuner(tmp_path: Path) -> None:
    plan = plan_two_buckets(tmp_path, (512, 512), (1024, 1024))
    written = write_buckets(plan, tmp_path / "cache", "")
    assert written.why_no_indices == "several buckets have the same aspect ratio"
    assert len(written.files) == 1


def test_files_of_another_folder_that_are_replaced_are_told(tmp_path: Path) -> None:
    plan, cache = make_plan(tmp_path), tmp_path / "cache"
    assert write_buckets(plan, cache, "/a/photos").replaced == ""
    assert write_buckets(plan, cache, "/a/photos").replaced == ""
    assert write_buckets(plan, cache, "/b/photos").replaced == "/a/photos"
    changed = make_plan(tmp_path, replace(SPEC, seed=3))
    assert write_buckets(changed, cache, "/b/photos").replaced == ""


def test_aspects_that_rounding_makes_alike_are_told_with_more_decimals(tmp_path: Path) -> None:
    plan = plan_two_buckets(tmp_path, (512, 512), (515, 512))
    written = write_buckets(plan, tmp_path / "cache", "")
    assert list(read(written, 0)["aspect_ratio_bucket_indices"]) == ["1.0", "1.006"]


def test_files_are_kept_while_nothing_changed_and_replaced_with_the_plan(tmp_path: Path) -> None:
    plan, cache = make_plan(tmp_path), tmp_path / "cache"

    def is_written(plan: Plan, root: str = "") -> list[bool]:
        """Of each file, whether it is another than the one that was marked here."""
        files = write_buckets(plan, cache, root).files
        fresh = [path.stat().st_mtime_ns != 0 for path in files]
        for path in files:
            os.utime(path, ns=(0, 0))
        return fresh

    for each, root in (
        (plan, ""),
        (make_plan(tmp_path, fingerprint="g"), ""),
        (make_plan(tmp_path, replace(SPEC, resolutions=(640.0,))), ""),
        (make_plan(tmp_path, replace(SPEC, crop=Crop(style="corner"))), ""),
        (plan, "/mnt"),
        (plan, ""),
    ):
        assert is_written(each, root) == [True] * 3
        assert is_written(each, root) == [False] * 3


@pytest.mark.parametrize("number", [0, 1, 2])
def test_files_are_written_again_where_one_is_gone_or_damaged(tmp_path: Path, number: int) -> None:
    plan, cache = make_plan(tmp_path), tmp_path / "cache"
    written = write_buckets(plan, cache, "")
    kept = [path.read_bytes() for path in written.files]
    written.files[number].unlink()
    write_buckets(plan, cache, "")
    assert [path.read_bytes() for path in written.files] == kept
    written.files[number].write_bytes(b"PAR1 and no more")
    write_buckets(plan, cache, "")
    assert [path.read_bytes() for path in written.files] == kept


def test_nothing_of_one_plan_is_left_beside_another_when_writing_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    written = write_buckets(make_plan(tmp_path), cache, "")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(metadata_cache, "_write_indices", fail)
    with pytest.raises(DataError) as caught:
        write_buckets(make_plan(tmp_path, fingerprint="g"), cache, "")
    assert str(caught.value) == (
        f"cannot write {cache}/huggingface_metadata/my set: No space left on device; "
        "free or choose another cache_dir"
    )
    assert not written.files[0].exists()
    assert not written.files[2].exists()
    monkeypatch.undo()
    assert all(path.exists() for path in write_buckets(make_plan(tmp_path), cache, "").files)


def test_files_of_the_cache_are_this_users_alone(tmp_path: Path) -> None:
    written = write_buckets(make_plan(tmp_path), tmp_path / "cache", "")
    assert {path.stat().st_mode & 0o777 for path in written.files} == {0o600}
    assert {path.parent.stat().st_mode & 0o777 for path in written.files} == {0o700}


def test_files_beside_the_images_name_them_there(tmp_path: Path) -> None:
    written = write_beside(make_plan(tmp_path))
    assert [path.parent for path in written.files] == [tmp_path, tmp_path]
    paths = read(written, 1)
    assert sorted(paths) == sorted(f'{tmp_path}/sub "{n}"/é{n}.jpg' for n in (0, 1, 2, 4))
    with pytest.raises(DataError, match="--scratch"):
        write_beside(make_plan(tmp_path / "nowhere"))


def test_a_plan_is_identified_by_everything_that_it_comes_from(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    others = [
        replace(plan, id="x"),
        replace(plan, upright=True),
        make_plan(tmp_path, fingerprint="g"),
        make_plan(tmp_path, replace(SPEC, seed=1)),
    ]
    assert len({identify_plan(each) for each in (plan, *others)}) == 5
    assert identify_plan(make_plan(tmp_path / "elsewhere")) == identify_plan(plan)
