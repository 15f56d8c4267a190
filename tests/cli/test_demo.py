"""`hffs demo`: its photos, the data set made of them, and the whole run as a user sees it."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from hffs.cli import demo
from hffs.errors import MountError, SourceError, UsageError


def test_every_caption_has_its_photo_in_the_installed_package() -> None:
    assert [photo.name for photo in demo.find_photos()] == list(demo.CAPTIONS)


@pytest.mark.parametrize("installed", [False, True])
def test_missing_photos_are_one_line_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: bool
) -> None:
    spec = importlib.util.find_spec("json") if installed else None
    if spec:
        spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    with pytest.raises(SourceError, match="pip install scikit-image"):
        demo.find_photos()


def test_the_set_holds_the_photos_and_their_captions(tmp_path: Path) -> None:
    photos = demo.find_photos()
    rows = pq.read_table(demo.build_photo_set(photos, tmp_path)).to_pylist()
    assert [row["image"]["bytes"] for row in rows] == [photo.read_bytes() for photo in photos]
    assert [row["caption"] for row in rows] == list(demo.CAPTIONS.values())
    assert (rows[0]["width"], rows[0]["height"]) == (512, 512)


def test_the_set_is_one_that_datasets_reads_as_images(tmp_path: Path) -> None:
    import datasets

    path = demo.build_photo_set(demo.find_photos()[:2], tmp_path)
    read = datasets.Dataset.from_parquet(str(path), cache_dir=str(tmp_path / "cache"))
    assert isinstance(read.features["image"], datasets.Image)
    assert read[0]["image"].size == (read[0]["width"], read[0]["height"])


def test_the_table_tells_passed_through_from_rendered(tmp_path: Path) -> None:
    photos = [photo for photo in demo.find_photos() if photo.name in {"moon.png", "rocket.jpg"}]
    (tmp_path / "0.jpg").write_bytes(photos[1].read_bytes())
    (tmp_path / "1.jpg").write_bytes(photos[1].read_bytes())
    _, moon, rocket = demo.size_table(photos, tmp_path)
    assert moon.split() == ["0.jpg", "640x427", "112525", "rendered:", "moon.png"]
    assert rocket.split() == ["1.jpg", "640x427", "112525", "passed", "through:", "rocket.jpg"]


def test_a_folder_to_keep_must_be_empty(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(UsageError, match="not empty"):
        demo.demo(keep=tmp_path)


def test_a_command_that_fails_stops_the_demo_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(MountError, match=r"stopped at `ls nowhere`: .*No such file"):
        demo._show("ls nowhere", tmp_path)


def _run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hffs", "demo", *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.fuse
def test_the_demo_shows_a_mounted_data_set_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    done = _run()
    assert (done.returncode, done.stderr) == (0, "")
    for shown in (
        "$ hffs mount photos.parquet photos\n",
        "0.jpg",
        "0.txt",
        "the face of Chelsea",
        "size=451x300",
        "passed through: rocket.jpg",
        "rendered: chelsea.png",
        "$ hffs umount photos\n",
    ):
        assert shown in done.stdout
    assert not list(tmp_path.glob("hffs-demo-*"))
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


@pytest.mark.fuse
def test_a_kept_demo_stays_and_is_unmounted(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert _run("--keep", os.fspath(kept)).returncode == 0
    assert (kept / "photos.parquet").is_file()
    assert not list((kept / "photos").iterdir())
