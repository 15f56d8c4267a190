"""What keys mean to a plan, and whose folder is an entry's."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from hffs.config import build_folder
from hffs.core.batches import BatchSpec
from hffs.core.buckets.spec import BucketSpec, Crop, Geometric, Limits
from hffs.core.types import Size
from hffs.errors import ConfigError, DataError
from hffs.train import plan_entries, plan_folder
from hffs.train.planning import make_keys, make_spec

SIZES = [(64, 64), (96, 64), (64, 96), (128, 64), (90, 60)]
KEYS: dict[str, Any] = {"resolution": 64, "aspect_bucket_alignment": 16}


def write_folder(folder: Path, sizes: list[tuple[int, int]]) -> Path:
    folder.mkdir(parents=True)
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (number * 40, 80, 120)).save(folder / f"{number}.jpg")
        (folder / f"{number}.txt").write_text(f"picture {number}")
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "photos", SIZES)


def spec_of(**keys: object) -> BucketSpec:
    return make_spec(build_folder("/x", keys, {"HOME": "/h"}))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {}),
        ({"resolution": [512, 1024.0]}, {"resolutions": (512.0, 1024.0)}),
        (
            {"resolution": 0.5, "resolution_type": "area", "minimum_image_size": 0.1},
            {
                "resolutions": (0.5,), "resolution_type": "area",
                "limits": Limits(minimum_size=0.1),
            },
        ),
        (
            {"aspect_bucket_generator": "list"},
            {"generator": "list", "geometric": Geometric(0.5, 2.0, 7)},
        ),
        (
            {
                "aspect_bucket_generator": "list", "aspect_bucket_count": 3,
                "aspect_bucket_min": 0.25, "aspect_bucket_max": 4,
            },
            {"generator": "list", "geometric": Geometric(0.25, 4.0, 3)},
        ),
        (
            {"aspect_bucket_generator": "list", "aspect_buckets": ["832x1216", "1216x832"]},
            {"generator": "list", "buckets": (Size(832, 1216), Size(1216, 832))},
        ),
        (
            {"aspect_bucket_generator": "list", "aspect_buckets": [1, "3:2"]},
            {"generator": "list", "buckets": (1.0, 1.5)},
        ),
        ({"aspect_bucket_generator": "grid"}, {"generator": "grid", "max_edge_px": 1024}),
        (
            {"aspect_bucket_generator": "grid", "resolution": 1536},
            {"generator": "grid", "resolutions": (1536.0,), "max_edge_px": 1536},
        ),
        (
            {
                "aspect_bucket_generator": "grid", "aspect_bucket_min_edge": 128,
                "aspect_bucket_max_edge": 2048, "aspect_bucket_distance": "log",
            },
            {"generator": "grid", "min_edge_px": 128, "max_edge_px": 2048, "distance": "log"},
        ),
        (
            {"aspect_bucket_generator": "grid", "resolution": 1100, "minimum_image_size": 0},
            {"generator": "grid", "resolutions": (1100.0,), "max_edge_px": 1152},
        ),
        ({"crop_aspect": "square", "crop_style": "centre"}, {"crop": Crop(style="center")}),
        ({"crop": True, "crop_style": "corner"}, {"crop": Crop("square", "corner")}),
        (
            {
                "crop": True, "crop_aspect": "random",
                "crop_aspect_buckets": [1, {"aspect": 1.5, "weight": 3}],
            },
            {"crop": Crop("random", "random", (1.0, 1.5), (1.0, 3.0))},
        ),
        (
            {
                "minimum_aspect_ratio": 0.5, "maximum_aspect_ratio": 2,
                "max_upscale_threshold": 0.2, "maximum_image_size": 2048,
                "target_downsample_size": 1536, "seed": 7, "aspect_bucket_rounding": 3,
            },
            {"limits": Limits(None, None, None, 0.5, 2.0, 0.2), "seed": 7, "rounding": 3},
        ),
        (
            {"crop": True, "maximum_image_size": 2048, "target_downsample_size": 1536},
            {"crop": Crop("square"), "limits": Limits(None, 2048.0, 1536.0)},
        ),
    ],
)  # fmt: skip
def test_keys_are_the_spec_that_they_say(
    keys: dict[str, object], expected: dict[str, object]
) -> None:
    assert spec_of(**keys) == replace(BucketSpec(), **expected)  # type: ignore[arg-type]


def test_keys_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ConfigError, match="take generator list"):
        spec_of(aspect_buckets=[1.5])
    with pytest.raises(ConfigError, match="resolution 1"):
        spec_of(resolution=1)


def test_keys_are_the_batches_that_they_say(folder: Path) -> None:
    keys: dict[str, Any] = {
        "train_batch_size": 3, "batch_pixels": 99, "batch_remainder": "pad", "repeats": 2,
        "seed": 5,
    }  # fmt: skip
    assert plan_folder(folder, **KEYS, **keys).batch == BatchSpec(3, 99, "pad", 2, 1, 5)


def test_a_folder_has_a_plan(folder: Path) -> None:
    plan = plan_folder(folder, **KEYS, repeats=2, probability=0.5, crop_style="center")
    assert (plan.id, plan.batch.repeats, plan.probability) == ("photos", 2, 0.5)
    assert plan.scan.names.to_pylist() == [f"{number}.jpg" for number in range(len(SIZES))]
    assert plan.scan.stored.tolist() == [list(size) for size in SIZES]
    assert plan.assignment.sizes[plan.assignment.bucket].tolist() == [
        [64, 64], [80, 48], [48, 80], [96, 48], [80, 48]
    ]  # fmt: skip
    assert plan_folder(str(folder), **KEYS).assignment.bucket.tolist() == (
        plan.assignment.bucket.tolist()
    )


def test_keys_that_only_a_mount_heeds_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot use --min-width: .* is a folder"):
        plan_folder(folder, min_width=3)
    with pytest.raises(ConfigError, match="min_widht"):
        plan_folder(folder, min_widht=3)


def test_images_are_turned_where_that_is_asked_for(folder: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 64)).save(folder / "3.jpg", exif=exif)
    for orientation, expected in (("as-is", [96, 48]), ("upright", [48, 96])):
        plan = plan_folder(folder, **KEYS, orientation=orientation)
        assert plan.assignment.sizes[plan.assignment.bucket[3]].tolist() == expected


def test_what_is_random_depends_on_the_name_alone(folder: Path) -> None:
    before = plan_folder(folder, **KEYS).assignment
    for number in (0, 2):
        (folder / f"{number}.jpg").unlink()
    Image.new("RGB", (300, 64)).save(folder / "00.jpg")
    after = plan_folder(folder, **KEYS)
    names = after.scan.names.to_pylist()
    kept = [names.index(f"{number}.jpg") for number in (1, 3, 4)]
    assert after.assignment.crop[kept].tolist() == before.crop[[1, 3, 4]].tolist()
    other = plan_folder(folder, **KEYS, seed=1).assignment.crop
    assert other.tolist() != after.assignment.crop.tolist()


def test_keys_of_names_are_those_of_each_name() -> None:
    names = [f"{number}.jpg" for number in range(100_000)]
    keys = make_keys(pa.array(names, pa.large_string()))
    assert len(np.unique(keys)) == len(names)
    assert make_keys(pa.array(names[70_000:70_002], pa.large_string())).tolist() == (
        keys[70_000:70_002].tolist()
    )


@pytest.mark.parametrize(
    ("files", "why"),
    [
        ({}, "it is empty"),
        ({"a.txt": b"x", "b.txt": b"x"}, "2 other files are in it"),
        ({"a.jpg": b"x"}, "none of 1 can be read; one: a.jpg: "),
    ],
)
def test_a_folder_without_images_is_refused(
    tmp_path: Path, files: dict[str, bytes], why: str
) -> None:
    (tmp_path / "photos").mkdir()
    for name, data in files.items():
        (tmp_path / "photos" / name).write_bytes(data)
    with pytest.raises(DataError) as caught:
        plan_folder(tmp_path / "photos")
    assert str(caught.value).startswith(f"no images in {tmp_path}/photos: {why}")


def write_entries(path: Path, *entries: dict[str, object]) -> Path:
    path.write_text(json.dumps(list(entries)))
    return path


def test_entries_of_a_file_are_where_it_says_or_where_they_are_mounted(tmp_path: Path) -> None:
    write_folder(tmp_path / "all/a", SIZES)
    write_folder(tmp_path / "all/b", SIZES[:2])
    local = write_folder(tmp_path / "local", SIZES[:3])
    folder: dict[str, object] = {"type": "local", "instance_data_dir": str(local), "id": "c"}
    first: dict[str, object] = {"id": "a", "dataset_name": "org/a", "probability": 0.7}
    second: dict[str, object] = {"id": "b", "dataset_name": "org/b"}
    several = write_entries(tmp_path / "several.json", first, second, folder)
    plans = plan_entries(several, tmp_path / "all", **KEYS)
    assert {name: len(plan.scan.names) for name, plan in plans.items()} == {"a": 5, "b": 2, "c": 3}
    assert plans["a"].probability == 0.7
    one = write_entries(tmp_path / "one.json", first, folder)
    plans = plan_entries(one, tmp_path / "all/b", **KEYS)
    assert {name: len(plan.scan.names) for name, plan in plans.items()} == {"a": 2, "c": 3}
    with pytest.raises(ConfigError, match="entry a: it is a data set; mount the file and say"):
        plan_entries(one, **KEYS)


def test_what_is_remembered_is_where_the_entry_says(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "XDG_CACHE_HOME", str(tmp_path / "xdg"))
    plan_folder(folder, **KEYS)
    plan_folder(folder, **KEYS, cache_dir=str(tmp_path / "mine"))
    assert list((tmp_path / "xdg/hffs/store/scans").iterdir())
    assert list((tmp_path / "mine/store/scans").iterdir())


def test_what_a_program_should_know_is_logged(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    scans = tmp_path / "cache/store/scans"
    scans.parent.mkdir(parents=True)
    scans.write_text("a file where a folder has to be")
    plan = plan_folder(folder, **KEYS, cache_dir=str(tmp_path / "cache"))
    assert len(plan.scan.names) == len(SIZES)
    (line,) = caplog.messages
    assert "is not remembered" in line
