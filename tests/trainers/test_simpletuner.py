"""SimpleTuner's local backend scans a mount, and keeps its buckets beside the images."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.command import Hffs, Mount
from tests.trainers.driving import drive, find_checkout
from tests.trainers.pictures import RESOLUTION, Picture, check_folder, unchanged

pytestmark = pytest.mark.fuse


def test_buckets_are_found_again(
    mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    checkout = find_checkout("SimpleTuner")
    folder = mount(source, "--for", "simpletuner")
    check_folder(folder, pictures)
    # Its decoder of JPEG is not that of Pillow: what it sees in a folder is what it has to see.
    copied = drive("simpletuner", checkout, shutil.copytree(folder, tmp_path / "copied"))
    with unchanged(folder):
        first = drive("simpletuner", checkout, folder)
    kept = json.loads((folder / "aspect_ratio_bucket_indices_photos.json").read_text())
    names = [f"{number}.jpg" for number in range(len(pictures))]
    placed = [
        Path(path) for paths in kept["aspect_ratio_bucket_indices"].values() for path in paths
    ]
    assert sorted(placed) == sorted(folder / name for name in names)
    about = json.loads((folder / "aspect_ratio_bucket_metadata_photos.json").read_text())
    sizes = {Path(path).name: tuple(known["original_size"]) for path, known in about.items()}
    assert sizes == {n: picture.size for n, picture in zip(names, pictures, strict=True)}
    with unchanged(folder):
        second = drive("simpletuner", checkout, folder)
    for said in (first, second):
        assert said["items"] == len(pictures)
        assert said["captions"] == {n: p.caption for n, p in zip(names, pictures, strict=True)}
        assert said["pixels"] == copied["pixels"]
        assert sorted(said["buckets"].values()) == [len(pictures) // 3] * 3
    assert (first["measured"], second["measured"]) == (len(pictures), 0)


def test_buckets_that_hffs_planned_are_its_own_and_scanned_by_nobody(
    hffs: Hffs, mount: Mount, source: Path, pictures: list[Picture], tmp_path: Path
) -> None:
    checkout = find_checkout("SimpleTuner")
    folder = mount(source, "--for", "simpletuner")
    copied = drive("simpletuner", checkout, shutil.copytree(folder, tmp_path / "copied"))
    hffs(
        "bucket", folder, "--beside", "--id", "photos", "--resolution-type", "pixel",
        "--resolution", str(RESOLUTION), "--crop-style", "center",
    )  # fmt: skip
    planned = drive("simpletuner", checkout, folder)
    assert planned["measured"] == 0
    assert copied["measured"] == len(pictures)
    for told in ("items", "buckets", "captions"):
        assert planned[told] == copied[told]
    own, ours = (
        json.loads((place / "aspect_ratio_bucket_metadata_photos.json").read_text())
        for place in (tmp_path / "copied", folder)
    )
    for path, known in own.items():
        written = ours[str(folder / Path(path).name)]
        for told in ("original_size", "target_size", "intermediary_size", "aspect_ratio"):
            assert written[told] == known[told]
