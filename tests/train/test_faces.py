"""Faces: where one is, whichever way it is stored, and what is looked at a second time."""

from __future__ import annotations

import io
import json
import os
import re
import sys
import types
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from hffs.core.types import Size
from hffs.errors import SourceError, UsageError
from hffs.train import decoding, faces, plan_folder
from hffs.train.faces import find_faces
from hffs.train.scanning.scan import scan_folder

FACE = (112, 56)
"""The nose of the astronaut, shrunk to 256 x 256."""

NEAR_PX = 8
NONE = [-1, -1]


@dataclass
class Seen:
    """A watcher that notes what it is told."""

    notices: list[str] = field(default_factory=list)
    steps: list[tuple[str, int, int]] = field(default_factory=list)

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        self.steps.append((what, done, total))

    def notice(self, text: str) -> None:
        self.notices.append(text)


@dataclass
class Place:
    """A folder of images, a cache, and which files are opened to look for faces."""

    folder: Path
    cache: Path
    opened: list[str] = field(default_factory=list)
    seen: Seen = field(default_factory=Seen)

    def find(self, *, upright: bool = True, workers: int = 2) -> dict[str, list[int]]:
        self.opened.clear()
        scan = scan_folder(self.folder, None, 1, Seen())
        found = find_faces(scan, self.cache, workers, self.seen, upright=upright)
        assert found.dtype == np.int32
        assert found.shape == (len(scan.names), 2)
        return dict(zip(scan.names.to_pylist(), found.tolist(), strict=True))

    def put(self, name: str, image: Image.Image, orientation: int = 1) -> None:
        exif = Image.Exif()
        exif[0x0112] = orientation
        image.save(self.folder / name, exif=exif)


@pytest.fixture(scope="session")
def astronaut(photos: list[tuple[str, bytes]]) -> Image.Image:
    return Image.open(io.BytesIO(dict(photos)["astronaut.png"])).convert("RGB")


@pytest.fixture(scope="session")
def person(astronaut: Image.Image) -> Image.Image:
    return astronaut.resize((256, 256), Image.Resampling.LANCZOS)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "images").mkdir()
    place = Place(tmp_path / "images", tmp_path / "cache")
    real = decoding.open_regular

    def note(path: Path) -> BinaryIO:
        place.opened.append(path.name)
        return real(path)

    monkeypatch.setattr(faces, "open_regular", note)
    return place


@pytest.fixture
def three(place: Place, person: Image.Image) -> Place:
    """Two images of a person, and one of nobody."""
    place.put("a.jpg", person)
    place.put("b.jpg", person.crop((40, 0, 256, 256)))
    place.put("c.jpg", Image.new("RGB", (200, 200), "gray"))
    return place


def is_near(found: list[int], wanted: tuple[int, int], most: int = NEAR_PX) -> bool:
    return max(abs(found[0] - wanted[0]), abs(found[1] - wanted[1])) <= most


def test_a_face_is_found_where_it_is(three: Place) -> None:
    found = three.find()
    assert is_near(found["a.jpg"], FACE)
    assert is_near(found["b.jpg"], (FACE[0] - 40, FACE[1]))
    assert found["c.jpg"] == NONE
    assert three.seen.steps == [("faces", 3, 3)]


def test_a_large_image_is_shrunk_and_its_face_is_where_it_was(
    place: Place, astronaut: Image.Image
) -> None:
    large = Image.new("L", (4001, 2503), 90)
    large.paste(astronaut.resize((1536, 1536)), (2300, 900))
    place.put("large.jpg", large)
    place.put("large.png", large)
    wanted = (2300 + 6 * FACE[0], 900 + 6 * FACE[1])
    for found in place.find().values():
        assert is_near(found, wanted, 48)


def test_of_two_faces_the_larger_is_taken(place: Place, person: Image.Image) -> None:
    wide = Image.new("RGB", (700, 384), "gray")
    wide.paste(person, (0, 0))
    wide.paste(person.resize((384, 384)), (300, 0))
    place.put("two.png", wide)
    assert is_near(place.find()["two.png"], (300 + 3 * FACE[0] // 2, 3 * FACE[1] // 2), 12)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["jpg", "png", "tif"])
def test_a_turned_image_is_shown_upright(
    place: Place, person: Image.Image, orientation: int, kind: str
) -> None:
    shown = person.crop((0, 0, 230, 256))
    turn = decoding.TURNS[orientation]
    # All but two of the turns are their own inverse.
    inverse = {
        Image.Transpose.ROTATE_90: Image.Transpose.ROTATE_270,
        Image.Transpose.ROTATE_270: Image.Transpose.ROTATE_90,
    }
    place.put(
        f"0.{kind}",
        shown if turn is None else shown.transpose(inverse.get(turn, turn)),
        orientation,
    )
    (upright,) = place.find().values()
    assert is_near(upright, FACE)
    (stored,) = place.find(upright=False).values()
    assert place.opened == []
    scan = scan_folder(place.folder, None, 1, Seen())
    if scan.orientation[0] == 1:
        assert stored == upright
        return
    spot = Image.new("L", shown.size)
    spot.putpixel((upright[0], upright[1]), 255)
    back = np.asarray(spot if turn is None else spot.transpose(inverse.get(turn, turn)))
    assert back[stored[1], stored[0]] == 255


def test_what_has_no_face_has_none_in_any_coordinates(place: Place) -> None:
    for orientation in range(1, 9):
        place.put(f"{orientation}.jpg", Image.new("RGB", (64, 48)), orientation)
    assert set(map(tuple, place.find(upright=False).values())) == {(-1, -1)}


@pytest.mark.parametrize("size", [(1, 1), (23, 400), (30, 3000), (3000, 1), (24, 24)])
def test_images_of_any_shape_are_looked_at(place: Place, size: tuple[int, int]) -> None:
    place.put("0.png", Image.new("RGB", size))
    assert place.find() == {"0.png": NONE}
    assert place.opened == ["0.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_images_of_all_modes_are_looked_at(place: Place, person: Image.Image, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(np.asarray(person.convert("L")).astype(np.uint16) * 257)
    else:
        image = person.convert(mode)
    place.put("0.jpg" if mode == "CMYK" else "0.png", image)
    (found,) = place.find().values()
    assert is_near(found, FACE)


def test_a_second_run_looks_at_nothing(three: Place) -> None:
    first = three.find()
    assert sorted(three.opened) == ["a.jpg", "b.jpg", "c.jpg"]
    three.seen.steps.clear()
    assert three.find() == first
    assert three.opened == []
    assert three.seen.steps == []


def test_without_a_cache_nothing_is_kept(three: Place) -> None:
    scan = scan_folder(three.folder, None, 1, three.seen)
    first = find_faces(scan, None, 1, three.seen, upright=True)
    assert find_faces(scan, None, 3, three.seen, upright=True).tolist() == first.tolist()
    assert len(three.opened) == 6
    assert not three.cache.exists()


def test_what_is_new_or_was_changed_is_looked_at(three: Place, person: Image.Image) -> None:
    first = three.find()
    three.put("c.jpg", person.crop((0, 20, 256, 256)))
    three.put("d.jpg", person.crop((30, 0, 256, 256)))
    (three.folder / "a.jpg").unlink()
    found = three.find()
    assert sorted(three.opened) == ["c.jpg", "d.jpg"]
    assert found["b.jpg"] == first["b.jpg"]
    assert is_near(found["c.jpg"], (FACE[0], FACE[1] - 20))
    assert is_near(found["d.jpg"], (FACE[0] - 30, FACE[1]))
    assert three.find() == found
    assert three.opened == []


def test_a_file_of_the_same_size_and_another_time_is_looked_at(three: Place) -> None:
    three.find()
    status = (three.folder / "b.jpg").stat()
    os.utime(three.folder / "b.jpg", ns=(0, status.st_mtime_ns + 1))
    three.find()
    assert three.opened == ["b.jpg"]


def test_what_another_detector_found_is_not_believed(
    three: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    three.find()
    monkeypatch.setattr(faces, "_NEIGHBOURS", 9)
    three.find()
    assert len(three.opened) == 3
    monkeypatch.setattr(cv2, "__version__", "4.8.0")
    three.find()
    assert len(three.opened) == 3


@pytest.mark.parametrize("damage", [b"", b"hffs scan 1\nnothing", None])
def test_a_damaged_cache_is_replaced(three: Place, damage: bytes | None) -> None:
    first = three.find()
    (kept,) = three.cache.iterdir()
    data = kept.read_bytes()
    kept.write_bytes(data[:-9] + b"x" + data[-8:] if damage is None else damage)
    assert three.find() == first
    assert len(three.opened) == 3
    assert kept.read_bytes() == data


def test_what_was_found_before_an_interrupt_is_kept(
    place: Place, person: Image.Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "_AT_ONCE", 2)
    monkeypatch.setattr(faces, "PART_FILES", 3)
    for number in range(9):
        place.put(f"{number}.jpg", person.crop((4 * number, 0, 256, 256)))

    def interrupt(what: str, done: int, total: int, unit: str = "") -> None:
        if done == 6:
            raise KeyboardInterrupt

    monkeypatch.setattr(place.seen, "progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        place.find(workers=1)
    assert len(list(place.cache.glob("*.part"))) == 2
    monkeypatch.setattr(place.seen, "progress", Seen().progress)
    found = place.find()
    assert sorted(place.opened) == ["6.jpg", "7.jpg", "8.jpg"]
    assert all(is_near(found[f"{n}.jpg"], (FACE[0] - 4 * n, FACE[1])) for n in range(9))
    assert [path.suffix for path in place.cache.iterdir()] == [".scan"]
    assert place.find() == found
    assert place.opened == []


def test_what_cannot_be_read_has_no_face_and_is_tried_again(
    three: Place, person: Image.Image
) -> None:
    sound = (three.folder / "a.jpg").read_bytes()
    (three.folder / "a.jpg").write_bytes(sound[: len(sound) // 2])
    first = three.find()
    assert first["a.jpg"] == NONE
    assert three.find() == first
    assert three.opened == ["a.jpg"]
    (three.folder / "a.jpg").write_bytes(sound)
    assert is_near(three.find()["a.jpg"], FACE)


def test_what_changed_since_the_scan_has_no_face(three: Place, person: Image.Image) -> None:
    scan = scan_folder(three.folder, None, 1, Seen())
    (three.folder / "a.jpg").unlink()
    three.put("b.jpg", person)
    found = find_faces(scan, three.cache, 2, three.seen, upright=True)
    assert found.tolist() == [NONE, NONE, NONE]
    three.put("a.jpg", person)
    assert is_near(three.find()["a.jpg"], FACE)


def test_of_a_view_the_fingerprint_tells_what_is_known(
    three: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faces, "find_type", lambda _: "fuse.hffs")
    os.setxattr(three.folder, "user.hffs.view", json.dumps({"fingerprint": "f1"}).encode())
    first = three.find()
    for path in three.folder.iterdir():
        os.utime(path, ns=(0, 1))
    assert three.find() == first
    assert three.opened == []
    os.setxattr(three.folder, "user.hffs.view", json.dumps({"fingerprint": "f2"}).encode())
    assert three.find() == first
    assert len(three.opened) == 3


def test_a_folder_that_is_gone_is_told_of(three: Place) -> None:
    scan = scan_folder(three.folder, None, 1, Seen())
    three.folder.rename(three.folder.with_name("elsewhere"))
    with pytest.raises(SourceError, match=r"cannot look for faces in .*images: No such file"):
        find_faces(scan, None, 1, Seen(), upright=True)


def test_threads_of_opencv_are_as_they_were(three: Place) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(2)
        three.find()
        assert cv2.getNumThreads() == 2
    finally:
        cv2.setNumThreads(before)


def test_the_same_files_give_the_same_faces(three: Place) -> None:
    found = [three.find(workers=1)]
    for workers in (2, 5):
        for path in three.cache.iterdir():
            path.unlink()
        found.append(three.find(workers=workers))
    assert found[0] == found[1] == found[2]


class _Without(types.ModuleType):
    """An OpenCV that lacks something."""

    __version__ = "5.0.0"


@pytest.fixture(params=["missing", "five", "bare", "moved"])
def refused(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Why no faces can be found."""
    lacking = _Without("cv2")
    why = "OpenCV 5.0.0 here has no haarcascade_frontalface_default.xml"
    if request.param in ("bare", "moved"):
        lacking.CascadeClassifier = cv2.CascadeClassifier  # type: ignore[attr-defined]
    if request.param == "moved":
        lacking.data = types.SimpleNamespace(haarcascades="/nowhere")  # type: ignore[attr-defined]
    if request.param == "missing":
        why = "no OpenCV here"
    absent = None if request.param == "missing" else lacking
    monkeypatch.setitem(sys.modules, "cv2", absent)
    return why


def test_without_opencv_it_says_what_to_install(three: Place, refused: str) -> None:
    line = f"cannot use crop_style face: {refused}; pip install 'hffs-mount[faces]'"
    with pytest.raises(UsageError, match=f"^{re.escape(line)}$"):
        three.find()
    with pytest.raises(UsageError, match=f"^{re.escape(line)}$"):
        plan_folder(three.folder / "nowhere", resolution=128, crop=True, crop_style="face")


@pytest.mark.parametrize("orientation", ["upright", "as-is"])
@pytest.mark.parametrize("turn", [1, 6])
def test_a_crop_keeps_the_face(
    place: Place, person: Image.Image, orientation: str, turn: int
) -> None:
    wide = Image.new("RGB", (1024, 256), "gray")
    wide.paste(person, (600, 0))
    wanted = np.array([600 + FACE[0], FACE[1]])
    size = np.array(wide.size)
    if turn == 6:
        place.put("0.jpg", wide.transpose(Image.Transpose.ROTATE_90), 6)
        if orientation == "as-is":
            wanted, size = np.array([wanted[1], size[0] - 1 - wanted[0]]), size[::-1]
    else:
        place.put("0.jpg", wide)

    def is_inside(style: str) -> bool:
        plan = plan_folder(
            place.folder, resolution=128, aspect_bucket_alignment=64, crop=True, crop_style=style,
            orientation=orientation,
        )  # fmt: skip
        made = plan.assignment
        assert made.sizes[made.bucket].tolist() == [[128, 128]]
        at: NDArray[np.float64] = wanted * made.resized[0] / size - made.crop[0]
        return bool((at > 16).all() and (at < 112).all())

    assert is_inside("face")
    assert not is_inside("corner")


def test_bytes_of_no_image_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(OSError, match="cannot identify"):
        faces._show(io.BytesIO(b"%!PS-Adobe"), Size(10, 10), 1)
