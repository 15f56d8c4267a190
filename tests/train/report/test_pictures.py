"""Pictures of crops: of real photos, of all modes, and of what is no image."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from hffs.core.batches import BatchSpec
from hffs.train import decoding
from hffs.train.plan import Plan
from hffs.train.report import pictures
from hffs.train.report.facts import CropPicture
from hffs.train.report.gathering import Wanted, report_plan
from tests.train.plans import Quiet, make_epoch, make_plan, make_scan


def _take(plan: Plan, crops: int = 48) -> tuple[CropPicture, ...]:
    wanted = Wanted(crops=crops, pictures=True, workers=2)
    report = report_plan(plan, make_epoch(plan, BatchSpec()), BatchSpec(), wanted, Quiet())
    assert report.sheet
    return report.sheet.worst + report.sheet.upscaled


def _open(picture: CropPicture) -> Image.Image:
    assert picture.problem == ""
    image = Image.open(io.BytesIO(base64.b64decode(picture.jpeg)))
    assert image.format == "JPEG"
    assert max(image.size) <= pictures.EDGE_PX
    return image.convert("RGB")


def _plan_files(folder: Path, files: dict[str, Image.Image]) -> Plan:
    for name, image in files.items():
        image.save(folder / name)
    return make_plan(make_scan(folder, list(files), [image.size for image in files.values()]))


def test_pictures_are_of_whole_images(tmp_path: Path, photos: list[tuple[str, bytes]]) -> None:
    sizes = []
    for name, data in photos:
        (tmp_path / name).write_bytes(data)
        sizes.append(Image.open(io.BytesIO(data)).size)
    plan = make_plan(make_scan(tmp_path, [name for name, _ in photos], sizes))
    taken = _take(plan)
    assert len(taken) > 10
    for picture in taken:
        width, height = _open(picture).size
        assert width / height == pytest.approx(picture.crop.width / picture.crop.height, rel=0.02)


def test_an_ordinary_image_of_each_bucket_is_taken(tmp_path: Path) -> None:
    files = {f"{n}.png": Image.new("RGB", (600 + 10 * n, 600)) for n in range(5)}
    files["wide.png"] = Image.new("RGB", (1200, 500))
    plan = _plan_files(tmp_path, files)
    wanted = Wanted(crops=0, pictures=True)
    watcher = Quiet()
    report = report_plan(plan, make_epoch(plan, BatchSpec()), BatchSpec(), wanted, watcher)
    assert report.sheet
    assert report.sheet.worst == report.sheet.upscaled == ()
    assert [picture.crop.name for picture in report.sheet.ordinary] == ["2.png", "wide.png"]
    assert watcher.seen == [("making thumbnails", 2, 2)]


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_as_the_plan_is(
    tmp_path: Path, orientation: int, upright: bool
) -> None:
    stored = Image.new("RGB", (400, 200), "blue")
    stored.paste("red", (0, 0, 100, 50))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.jpg", exif=exif)
    scan = make_scan(tmp_path, ["a.jpg"], [(400, 200)], orientation=[orientation])
    (picture,) = _take(make_plan(scan, upright=upright))
    shown = _open(picture)
    width, height = shown.size
    assert (width > height) == (picture.crop.width > picture.crop.height)
    corners = {
        "top left": (5, 5), "top right": (width - 6, 5), "bottom right": (width - 6, height - 6),
        "bottom left": (5, height - 6),
    }  # fmt: skip
    red = [name for name, at in corners.items() if _is_red(shown, at)]
    # Where row 0 and column 0 of the file belong, by the EXIF specification.
    where = ["top left", "top right", "bottom right", "bottom left"]
    where += ["top left", "top right", "bottom right", "bottom left"]
    assert red == [where[orientation - 1] if upright else "top left"]


def _is_red(image: Image.Image, at: tuple[int, int]) -> bool:
    red, _, blue = np.asarray(image)[at[1], at[0]].tolist()
    return bool(red > blue)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_a_picture(tmp_path: Path, mode: str) -> None:
    ground = Image.new("L", (300, 700), 200)
    if mode == "I;16":
        image = Image.fromarray(np.full((700, 300), 200 << 8, np.uint16))
    else:
        image = ground.convert("RGB").convert(mode) if mode != "LA" else ground.convert("LA")
    extension = "tif" if mode == "CMYK" else "png"
    (picture,) = _take(_plan_files(tmp_path, {f"a.{extension}": image}))
    mean = np.asarray(_open(picture)).mean()
    assert mean == pytest.approx(200, abs=60 if mode == "1" else 3)


def test_what_is_transparent_is_shown_over_white(tmp_path: Path) -> None:
    image = Image.new("RGBA", (300, 700), (0, 0, 0, 0))
    (picture,) = _take(_plan_files(tmp_path, {"a.png": image}))
    assert np.asarray(_open(picture)).min() > 250


def test_what_cannot_be_shown_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["text.jpg", "gone.jpg", "pipe.jpg", "cut.png", "large.png", "other.jpg"]
    (tmp_path / "text.jpg").write_text("<script>")
    os.mkfifo(tmp_path / "pipe.jpg")
    file = io.BytesIO()
    Image.effect_noise((300, 700), 80).save(file, "PNG")
    (tmp_path / "cut.png").write_bytes(file.getvalue()[:9000])
    Image.new("L", (300, 701)).save(tmp_path / "large.png")
    Image.new("L", (300, 700)).save(tmp_path / "other.jpg", "PPM")  # not in the allowlist
    monkeypatch.setattr(decoding, "MAX_PIXELS", 300 * 700)
    sizes = [(300, 700 + number) for number in range(len(names))]
    taken = {each.crop.name: each for each in _take(make_plan(make_scan(tmp_path, names, sizes)))}
    problems = {name: picture.problem for name, picture in taken.items()}
    assert all(picture.jpeg == "" for picture in taken.values())
    assert "truncated" in problems.pop("cut.png")
    allowed = "not one of JPEG, PNG, WEBP, GIF, TIFF, BMP"
    assert problems == {
        "text.jpg": allowed, "other.jpg": allowed, "gone.jpg": "No such file or directory",
        "pipe.jpg": "not a regular file", "large.png": "300 x 701 pixels, over 210000",
    }  # fmt: skip
