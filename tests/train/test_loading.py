"""Decoding of one sample: what a crop is compared with is the whole image, made the plain way."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from hffs.core.types import Size
from hffs.errors import DataError
from hffs.train import decoding
from hffs.train.files import FolderFiles
from hffs.train.loading import load_pixels, read_caption
from hffs.train.plan import Cut
from tests.train.planning import make_image

LANCZOS = Image.Resampling.LANCZOS


def make_cut(stored: Size, resized: Size, box: tuple[int, int, int, int], turn: int = 1) -> Cut:
    left, top, width, height = box
    return Cut(stored, turn, resized, left, top, Size(width, height))


def cut_plainly(image: Image.Image, cut: Cut) -> NDArray[np.uint8]:
    box = (cut.left, cut.top, cut.left + cut.size.width, cut.top + cut.size.height)
    return np.asarray(image.convert("RGB").resize(cut.resized, LANCZOS).crop(box))


def differ(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> int:
    assert one.shape == other.shape
    return int(np.abs(one.astype(int) - other).max())


@st.composite
def cuts(draw: st.DrawFn) -> Cut:
    stored, resized = (
        Size(draw(st.integers(1, most)), draw(st.integers(1, most))) for most in (90, 60)
    )
    width, height = draw(st.integers(1, resized.width)), draw(st.integers(1, resized.height))
    left = draw(st.integers(0, resized.width - width))
    top = draw(st.integers(0, resized.height - height))
    return Cut(stored, 1, resized, left, top, Size(width, height))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts())
def test_a_crop_is_the_part_of_the_resized_image(tmp_path: Path, cut: Cut) -> None:
    # Pale, so that nothing overshoots: of a part Pillow may take the directions in another order,
    # and clips between the two.
    image = make_image(cut.stored, 0).point([90 + 70 * level // 255 for level in range(256)] * 3)
    image.save(tmp_path / "a.png")
    pixels = load_pixels(FolderFiles(tmp_path), "a.png", cut)
    assert pixels.dtype == np.uint8
    assert pixels.flags.writeable
    assert differ(pixels, cut_plainly(image, cut)) <= 2  # rounding, in each of two directions


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("size", [Size(64, 48), Size(640, 480)])  # the latter is drafted
def test_an_image_is_turned_before_anything_else(tmp_path: Path, turn: int, size: Size) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    make_image(size, 3).save(tmp_path / "a.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "a.jpg") as image:
        upright = ImageOps.exif_transpose(image)
    resized = Size(36, 48) if turn >= 5 else Size(48, 36)
    cut = make_cut(size, resized, (3, 5, 20, 30), turn)
    assert differ(load_pixels(FolderFiles(tmp_path), "a.jpg", cut), cut_plainly(upright, cut)) <= 6


@pytest.mark.parametrize(("resized", "decoded"), [
    (Size(400, 300), (800, 600)), (Size(201, 151), (800, 600)), (Size(200, 150), (400, 300)),
    (Size(60, 45), (200, 150)), (Size(10, 8), (100, 75)), (Size(1200, 900), (800, 600)),
])  # fmt: skip
def test_no_jpeg_is_decoded_at_less_than_twice_the_size_wanted(
    tmp_path: Path, resized: Size, decoded: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_image(Size(800, 600), 1).save(tmp_path / "a.jpg", quality=95)
    seen = list[tuple[int, int]]()
    make_rgb = decoding.make_rgb

    def watch(image: Image.Image) -> Image.Image:
        plain = make_rgb(image)
        seen.append(plain.size)
        return plain

    monkeypatch.setattr(decoding, "make_rgb", watch)
    cut = make_cut(Size(800, 600), resized, (0, 0, *resized))
    pixels = load_pixels(FolderFiles(tmp_path), "a.jpg", cut)
    assert seen == [decoded]
    with Image.open(tmp_path / "a.jpg") as image:
        noise = pixels.astype(float) - cut_plainly(image, cut)
    assert (noise**2).mean() < 255**2 / 10**4  # 40 dB


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_drafted_image_of_odd_size_is_not_shifted(tmp_path: Path, turn: int) -> None:
    size = Size(121, 97)  # an eighth of it is 15.125 x 12.125 pixels, decoded as 16 x 13
    across, down = np.meshgrid(np.linspace(0, 255, 121), np.linspace(0, 255, 97))
    pixels = np.stack([across, down, across], axis=2).astype(np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=100, subsampling=0, exif=exif)
    resized = Size(6, 7) if turn >= 5 else Size(7, 6)
    cut = make_cut(size, resized, (1, 1, 4, 4), turn)
    with Image.open(tmp_path / "a.jpg") as image:
        upright = ImageOps.exif_transpose(image)
    # Half a pixel of the decoded 16 would be 8.
    assert differ(load_pixels(FolderFiles(tmp_path), "a.jpg", cut), cut_plainly(upright, cut)) <= 3


def _load_whole(folder: Path, image: Image.Image, name: str = "a.png") -> NDArray[np.uint8]:
    size = Size(*image.size)
    image.save(folder / name)
    return load_pixels(FolderFiles(folder), name, make_cut(size, size, (0, 0, *size)))


def test_what_is_transparent_becomes_white(tmp_path: Path) -> None:
    pixels = np.zeros((2, 3, 4), np.uint8)
    pixels[0, :, 3], pixels[1, :, 3] = [0, 128, 255], 255
    pixels[1, :, 0] = 200
    loaded = _load_whole(tmp_path, Image.fromarray(pixels))
    assert loaded[0, :, 0].tolist() == [255, 127, 0]
    assert loaded[1].tolist() == [[200, 0, 0]] * 3


def test_palettes_with_a_transparent_colour_and_gray_become_rgb(tmp_path: Path) -> None:
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    assert _load_whole(tmp_path, palette).tolist() == [[[10, 20, 30], [40, 50, 60]]]
    palette.info["transparency"] = 1
    assert _load_whole(tmp_path, palette).tolist() == [[[10, 20, 30], [255, 255, 255]]]
    gray = Image.fromarray(np.array([[7, 200]], np.uint8))
    assert _load_whole(tmp_path, gray).tolist() == [[[7] * 3, [200] * 3]]


def test_sixteen_bits_are_scaled_to_eight(tmp_path: Path) -> None:
    gray = Image.fromarray(np.array([[0, 257 * 100, 65535]], np.uint16))
    assert _load_whole(tmp_path, gray)[0, :, 0].tolist() == [0, 100, 255]


def test_cmyk_becomes_rgb(tmp_path: Path) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    loaded = _load_whole(tmp_path, image, "a.jpg")
    assert differ(loaded, np.full((16, 16, 3), (0, 255, 255), np.uint8)) <= 3


def test_a_tiff_is_turned_by_pillow_alone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 3
    image = make_image(Size(8, 8), 0)
    image.save(tmp_path / "a.tif", exif=exif)
    cut = make_cut(Size(8, 8), Size(8, 8), (0, 0, 8, 8), 3)
    turned = image.transpose(Image.Transpose.ROTATE_180)
    assert load_pixels(FolderFiles(tmp_path), "a.tif", cut).tolist() == np.asarray(turned).tolist()


def _save(image: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    image.save(file, kind)
    return file.getvalue()


SMALL = Size(8, 8)
BAD = {
    "it is 9 x 8 pixels, the scan found 8 x 8": _save(Image.new("RGB", (9, 8)), "PNG"),
    "not one of JPEG, PNG, WEBP, GIF, TIFF, BMP": _save(Image.new("RGB", SMALL), "PPM"),
    "floating point pixels have no range that means white": _save(Image.new("F", SMALL), "TIFF"),
    "pixels from -7 to -7 have no range that means white": _save(Image.new("I", SMALL, -7), "TIFF"),
    "truncated": _save(make_image(SMALL, 0), "PNG")[:-60],
}


@pytest.mark.parametrize("why", BAD)
def test_what_cannot_be_read_is_told_by_name(tmp_path: Path, why: str) -> None:
    (tmp_path / "a.png").write_bytes(BAD[why])
    with pytest.raises(DataError, match=r"^cannot read a\.png: .*" + why):
        load_pixels(FolderFiles(tmp_path), "a.png", make_cut(SMALL, SMALL, (0, 0, 8, 8)))


def test_a_missing_file_a_bomb_and_no_memory_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = make_cut(SMALL, SMALL, (0, 0, 8, 8))
    with pytest.raises(DataError, match=r"^cannot read sub/a\.png: No such file or directory$"):
        load_pixels(FolderFiles(tmp_path), "sub/a.png", cut)
    make_image(SMALL, 0).save(tmp_path / "a.png")
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "MAX_PIXELS", 63)
        with pytest.raises(DataError, match="8 x 8 pixels, over 63"):
            load_pixels(FolderFiles(tmp_path), "a.png", cut)

    def exhaust(_: Image.Image) -> Image.Image:
        raise MemoryError

    monkeypatch.setattr(decoding, "make_rgb", exhaust)
    with pytest.raises(DataError, match="not enough memory"):
        load_pixels(FolderFiles(tmp_path), "a.png", cut)


def test_a_palette_image_without_its_palette_is_refused(tmp_path: Path) -> None:
    image = Image.new("P", SMALL)
    data = _save(image, "PNG")
    start = data.index(b"PLTE") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    (tmp_path / "a.png").write_bytes(data[:start] + data[end:])
    with pytest.raises(DataError, match="a palette image without its palette"):
        load_pixels(FolderFiles(tmp_path), "a.png", make_cut(SMALL, SMALL, (0, 0, 8, 8)))


def test_captions_are_the_text_beside_an_image(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/a.b.txt").write_bytes("\ufeffäh\r\nsecond line\n".encode())
    assert read_caption(FolderFiles(tmp_path), "sub/a.b.jpg", "txt") == "äh\r\nsecond line"
    assert read_caption(FolderFiles(tmp_path), "sub/a.b.jpg", "caption") == ""
    (tmp_path / "c.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(DataError, match=r"^cannot read c\.txt: .*utf-8"):
        read_caption(FolderFiles(tmp_path), "c.jpg", "txt")
    (tmp_path / "d.txt").mkdir()
    with pytest.raises(DataError, match=r"^cannot read d\.txt: not a regular file$"):
        read_caption(FolderFiles(tmp_path), "d.jpg", "txt")
