"""Thumbnails: what a viewer would show of a file, small; hostile images are refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageCms

from hffs.core.composites import plan_composite
from hffs.core.types import Size
from hffs.errors import RenderError
from hffs.view.codecs import reading
from hffs.view.codecs.thumbnails import EDGE_PX, make_thumbnail
from tests.view.conftest import encode

KINDS = ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"]


def open_jpeg(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    image.load()
    return image


def save(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def quarters(width: int, height: int) -> Image.Image:
    """Red, green over blue, yellow."""
    image = Image.new("RGB", (width, height), "red")
    image.paste("lime", (width // 2, 0, width, height // 2))
    image.paste("blue", (0, height // 2, width // 2, height))
    image.paste("yellow", (width // 2, height // 2, width, height))
    return image


def colour_at(image: Image.Image, across: float, down: float) -> tuple[int, ...]:
    place = (int(image.width * across), int(image.height * down))
    pixel = image.convert("RGB").getpixel(place)
    assert isinstance(pixel, tuple)
    return tuple(round(part / 255) for part in pixel)


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_is_shrunk_to_an_edge(kind: str) -> None:
    thumbnail = make_thumbnail(encode(kind, size=(1000, 500)))
    assert thumbnail.size == Size(1000, 500)
    assert open_jpeg(thumbnail.jpeg).size == (EDGE_PX, EDGE_PX // 2)


def test_a_small_image_is_not_enlarged() -> None:
    thumbnail = make_thumbnail(encode("PNG", size=(20, 10)))
    assert open_jpeg(thumbnail.jpeg).size == (20, 10)


def test_a_long_strip_keeps_a_pixel_of_its_short_edge() -> None:
    thumbnail = make_thumbnail(save(Image.new("L", (5000, 2))))
    assert open_jpeg(thumbnail.jpeg).size == (EDGE_PX, 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_applied_and_not_kept(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    stored = quarters(800, 400)
    thumbnail = make_thumbnail(save(stored, kind, exif=exif))
    shown = open_jpeg(thumbnail.jpeg)
    assert thumbnail.size == (Size(400, 800) if orientation > 4 else Size(800, 400))
    assert (shown.width < shown.height) == (orientation > 4)
    assert not shown.getexif()
    corners = [colour_at(shown, x, y) for y in (0.25, 0.75) for x in (0.25, 0.75)]
    red, lime, blue, yellow = (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)
    assert corners == {
        1: [red, lime, blue, yellow], 2: [lime, red, yellow, blue],
        3: [yellow, blue, lime, red], 4: [blue, yellow, red, lime],
        5: [red, blue, lime, yellow], 6: [blue, red, yellow, lime],
        7: [yellow, lime, blue, red], 8: [lime, yellow, red, blue],
    }[orientation]  # fmt: skip


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_a_tile_of_the_image_as_it_is_displayed(kind: str, orientation: int) -> None:
    composite = plan_composite(4, "2x2", "all")
    turn = {1: None, 3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}[orientation]
    displayed = quarters(1601, 800)  # large enough for a JPEG to be decoded smaller
    stored = displayed if turn is None else displayed.transpose(turn)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    data = save(stored, kind, exif=exif)
    for tile, colour in enumerate([(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0)]):
        thumbnail = make_thumbnail(data, composite, tile)
        assert thumbnail.size == Size(800, 400)
        assert colour_at(open_jpeg(thumbnail.jpeg), 0.5, 0.5) == colour


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16"])
def test_every_mode_becomes_a_jpeg(mode: str) -> None:
    kind = "TIFF" if mode == "CMYK" else "PNG"
    assert open_jpeg(make_thumbnail(save(Image.new(mode, (300, 300)), kind)).jpeg).size == (
        192,
        192,
    )


def test_a_small_colour_profile_is_kept_and_a_large_one_is_not() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = Image.new("RGB", (300, 300))
    for given, kept in ((profile, profile), (profile + bytes(5000), None)):
        thumbnail = make_thumbnail(save(image, icc_profile=given))
        assert open_jpeg(thumbnail.jpeg).info.get("icc_profile") == kept


def test_photos_become_small_files(photos: list[tuple[str, bytes]]) -> None:
    sizes = [len(make_thumbnail(data).jpeg) for _, data in photos]
    assert max(sizes) < 32_000


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a", b"not an image", encode("JPEG", size=(200, 200))[:3000], encode("PNG")[:200]],
)
def test_bad_data_is_a_render_error(data: bytes) -> None:
    with pytest.raises(RenderError, match="cannot show"):
        make_thumbnail(data)


def test_too_many_bytes_and_pixels_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode("PNG")
    monkeypatch.setattr(reading, "MAX_PIXELS", 1000)
    with pytest.raises(RenderError, match="40 x 30 pixels"):
        make_thumbnail(data)
    monkeypatch.setattr(reading, "MAX_ENCODED_BYTES", 100)
    with pytest.raises(RenderError, match="over 100"):
        make_thumbnail(data)


def test_a_composite_smaller_than_its_grid_is_refused() -> None:
    data = save(Image.fromarray(np.zeros((3, 1, 3), np.uint8)))
    with pytest.raises(RenderError, match="smaller than a grid"):
        make_thumbnail(data, plan_composite(2, "horizontal", "all"))


def test_a_text_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RenderError, match="not one of"):
        make_thumbnail(Path(__file__).read_bytes())
