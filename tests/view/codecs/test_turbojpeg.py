"""The binding itself: what it gives back, and that it gives up rather than guess."""

from __future__ import annotations

import ctypes.util
import io
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from hffs.core.composites import Box
from hffs.view.codecs import turbojpeg
from hffs.view.codecs.turbojpeg import TURN_UPRIGHT, Turn, transform

LEFT, RIGHT = Box(0, 0, 32, 48), Box(32, 0, 32, 48)


def grid() -> bytes:
    """A JPEG of 64 x 48 pixels in blocks of 16."""
    noise = np.random.default_rng(3).integers(0, 256, (6, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(np.kron(noise, np.ones((8, 8, 1), np.uint8))).save(file, "JPEG", quality=90)
    return file.getvalue()


GRID = grid()


def shape(data: bytes | None) -> tuple[int, int]:
    assert data is not None
    return Image.open(io.BytesIO(data)).size


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(turbojpeg, "_NAMES", ("libno-such-library.so.0",))
    turbojpeg._load.cache_clear()
    yield
    turbojpeg._load.cache_clear()


@pytest.mark.lossless
def test_several_boxes_come_in_their_order() -> None:
    boxes = [RIGHT, LEFT, None, Box(16, 16, 5, 7)]
    done = transform(GRID, boxes)
    assert [shape(image) for image in done.images] == [(32, 48), (32, 48), (64, 48), (5, 7)]
    assert not done.is_damaged
    assert done.images[:2] == [transform(GRID, [box]).images[0] for box in boxes[:2]]


@pytest.mark.lossless
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turn_is_the_one_that_exif_asks_for_and_can_be_taken_back(orientation: int) -> None:
    image = Image.open(io.BytesIO(GRID)).convert("L")
    image.getexif()[274] = orientation
    turned = transform(GRID, [None], TURN_UPRIGHT[orientation]).images[0]
    assert turned is not None
    expected = np.asarray(ImageOps.exif_transpose(image)).astype(int)
    found = np.asarray(Image.open(io.BytesIO(turned)).convert("L")).astype(int)
    assert found.shape == expected.shape
    assert abs(found - expected).max() <= 4  # the inverse DCT rounds another way when turned
    back = {6: Turn.COUNTERCLOCKWISE, 8: Turn.CLOCKWISE}.get(orientation, TURN_UPRIGHT[orientation])
    again = transform(turned, [None], back).images
    assert again == transform(GRID, [None]).images  # to the byte: no coefficient is lost


@pytest.mark.lossless
def test_what_cannot_be_done_is_no_result() -> None:
    odd = transform(GRID, [Box(0, 0, 31, 47)]).images[0]
    assert odd is not None
    for turn in Turn:
        possible = turn in (Turn.NONE, Turn.TRANSPOSE)
        assert (transform(odd, [None], turn).images[0] is not None) == possible
    for box in (Box(8, 0, 16, 16), Box(48, 0, 32, 16), Box(-16, 0, 16, 16)):
        assert transform(GRID, [box]) == ([None], False), box
        assert transform(GRID, [LEFT, box]) == ([None, None], False)
    assert transform(GRID, []) == ([], False)


@pytest.mark.lossless
@pytest.mark.parametrize(
    "data",
    [GRID[:-2], GRID[: len(GRID) // 2], GRID.replace(b"\xff\xda", b"xxx\xff\xda")],
    ids=["no end", "half", "stray bytes"],
)
def test_a_warning_of_the_library_is_no_result(data: bytes) -> None:
    assert transform(data, [LEFT, RIGHT]) == ([None, None], True)


@pytest.mark.lossless
@pytest.mark.parametrize("data", [b"", b"no JPEG", GRID[:30], b"\xff\xd8\xff\xd9"])
def test_no_jpeg_is_no_result(data: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    assert transform(data, [None]).images == [None]
    assert capfd.readouterr() == ("", "")


@pytest.mark.lossless
def test_many_threads_and_read_only_views() -> None:
    view = memoryview(b"x" + GRID + b"trailing")[1:]
    alone = transform(GRID, [LEFT, RIGHT])
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: transform(view, [LEFT, RIGHT]), range(64)))
    assert done == [alone] * 64


@pytest.mark.lossless
def test_the_library_is_named_by_its_version() -> None:
    assert turbojpeg.describe_library() in ("libturbojpeg 2", "libturbojpeg 3")


@pytest.mark.usefixtures("_no_library")
def test_without_the_library_nothing_is_done_and_that_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert transform(GRID, [LEFT, None]) == ([None, None], False)
    assert not turbojpeg.is_available()
    assert turbojpeg.describe_library() == "no libturbojpeg"
    assert [entry.message for entry in caplog.records] == [
        "libturbojpeg is not installed: JPEGs that are cut or turned are encoded again"
    ]


@pytest.mark.usefixtures("_no_library")
def test_a_library_without_the_functions_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    (name,) = {ctypes.util.find_library("c")} - {None}
    monkeypatch.setattr(turbojpeg, "_NAMES", (name,))
    assert not turbojpeg.is_available()


@pytest.mark.lossless
def test_no_memory_for_a_handle_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    library = turbojpeg._load()
    monkeypatch.setattr(library, "tjInitTransform", lambda: None)
    assert transform(GRID, [LEFT]) == ([None], False)
