"""The rules of docs/rendering.md, written a second time in numpy; and hostile bytes."""

from __future__ import annotations

import doctest
import gc
import hashlib
import io
import logging
import re
import resource
import struct
import subprocess
import sys
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, features

from hffs.core.formats import MediaFormat, sniff
from hffs.errors import ConfigError, RenderError
from hffs.view import codecs
from hffs.view.codecs import (
    Measured,
    Target,
    extension,
    measure,
    parse_target,
    passes_through,
    reading,
)  # fmt: skip

HEIGHT, WIDTH = 24, 31
ORIENTATION = 274
LAYOUTS: dict[str, dict[str, Any]] = {"strips": {}, "lzw": {"compression": "tiff_lzw"}}


def render(data: bytes | memoryview, target: Target) -> bytes:
    """The one file of an image that is not reshaped."""
    (image,) = codecs.render(data, target)
    return image


def upright(width: int, height: int) -> Measured:
    return Measured(width, height, 1)


@pytest.fixture(autouse=True)
def _silent_pillow() -> Iterator[None]:
    logger, level = logging.getLogger("PIL"), logging.getLogger("PIL").level
    with warnings.catch_warnings():
        codecs.silence_warnings()
        yield
    logger.setLevel(level)


def noise(*channels: int, top: int = 256, dtype: type = np.uint8) -> NDArray[Any]:
    """Random pixels, (h, w, c): what no encoder can guess."""
    drawn = np.random.default_rng(7).integers(0, top, (HEIGHT, WIDTH, *channels))
    return np.asarray(drawn, dtype)


def smooth() -> Image.Image:
    """A colourful slope, which lossy codecs keep."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return Image.fromarray(np.stack([x * 8, y * 10, (x + y) * 4], axis=2).astype(np.uint8))


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def pixels(data: bytes) -> NDArray[Any]:
    return np.asarray(decode(data))


def over_white(color: NDArray[Any], alpha: NDArray[Any]) -> NDArray[np.uint8]:
    wide, cover = color.astype(int), alpha.astype(int)
    cover = cover[..., None] if wide.ndim > cover.ndim else cover
    return np.asarray((wide * cover + 255 * (255 - cover) + 127) // 255, np.uint8)


def to_8_bits(gray: NDArray[Any]) -> NDArray[np.uint8]:
    return np.round(gray.astype(float) / 257).astype(np.uint8)


def assert_jpeg_of(data: bytes, expected: NDArray[np.uint8]) -> None:
    """The JPEG that these bytes become is the one that the expected pixels become."""
    rendered = render(data, "jpg")
    assert sniff(rendered) is MediaFormat.JPEG
    plain = encode(Image.fromarray(expected), "JPEG", quality=95, subsampling=0)
    assert decode(rendered).mode == ("L" if expected.ndim == 2 else "RGB")
    assert np.array_equal(pixels(rendered), pixels(plain))


def assert_png_of(data: bytes, mode: str, expected: NDArray[Any]) -> None:
    rendered = render(data, "png")
    assert sniff(rendered) is MediaFormat.PNG
    assert decode(rendered).mode == mode
    assert np.array_equal(pixels(rendered), expected)


def png(
    *chunks: tuple[bytes, bytes], size: tuple[int, int] = (1, 1), depth: int = 8, color: int = 2
) -> bytes:
    """A PNG with a header (RGB, if `color` is not given) and whatever chunks."""
    header = struct.pack(">IIBBBBB", *size, depth, color, 0, 0, 0)
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        crc = zlib.crc32(kind + body)
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc))
    return b"".join(parts)


def tiff(size: tuple[int, int], tags: Mapping[int, int | tuple[int, ...]], strip: bytes) -> bytes:
    """An uncompressed TIFF of one strip, for layouts that Pillow reads and does not write."""
    every = {256: size[0], 257: size[1], 259: 1, 278: size[1], 279: len(strip), **tags}
    offset = 8 + 2 + 12 * (len(every) + 1) + 4
    every[273] = offset
    entries = b""
    for tag, value in sorted(every.items()):
        values = value if isinstance(value, tuple) else (value,)
        form = 3 if len(values) < 3 and max(values) < 65536 else 4  # SHORT (two fit), LONG
        body = struct.pack(f"<{len(values)}{'H' if form == 3 else 'I'}", *values).ljust(4, b"\0")
        entries += struct.pack("<HHI", tag, form, len(values)) + body
    return b"II*\0" + struct.pack("<IH", 8, len(every)) + entries + bytes(4) + strip


def samples() -> dict[str, bytes]:
    """One small image of every format and common layout."""
    image, turned = smooth(), smooth().transpose(Image.Transpose.ROTATE_180)
    frames: dict[str, Any] = {"save_all": True, "append_images": [turned]}
    return {
        "jpeg": encode(image, "JPEG"),
        "jpeg progressive": encode(image, "JPEG", progressive=True),
        "jpeg cmyk": encode(image.convert("CMYK"), "JPEG"),
        "png": encode(image, "PNG"),
        "png palette": encode(image.quantize(16), "PNG", transparency=b"\0\x80"),
        "png animated": encode(image, "PNG", **frames),
        "webp": encode(image, "WEBP"),
        "webp lossless": encode(image, "WEBP", lossless=True),
        "webp animated": encode(image, "WEBP", **frames),
        "gif": encode(image, "GIF"),
        "gif animated": encode(image, "GIF", **frames),
        "tiff": encode(image, "TIFF"),
        "tiff lzw": encode(image, "TIFF", compression="tiff_lzw"),
        "tiff pages": encode(image, "TIFF", **frames),
        "bmp": encode(image, "BMP"),
    }


SAMPLES = samples()
each_sample = pytest.mark.parametrize("data", SAMPLES.values(), ids=SAMPLES)


# What passes through, and names


def test_parse_target_takes_the_three_and_nothing_else() -> None:
    assert [parse_target(text) for text in ("jpg", "png", "source")] == ["jpg", "png", "source"]
    with pytest.raises(ConfigError, match="cannot use image_format JPG: it is one of jpg, png"):
        parse_target("JPG")


@pytest.mark.parametrize("kind", MediaFormat)
def test_only_the_target_itself_passes_through(kind: MediaFormat) -> None:
    assert passes_through(kind, "jpg") == (kind is MediaFormat.JPEG)
    assert passes_through(kind, "png") == (kind is MediaFormat.PNG)
    assert passes_through(kind, "source")
    assert extension(kind, "source") == kind.extension
    assert (extension(kind, "jpg"), extension(kind, "png")) == ("jpg", "png")


@each_sample
@pytest.mark.parametrize("target", ["jpg", "png"])
def test_extension_agrees_with_the_bytes_and_size_with_the_header(
    data: bytes, target: Target
) -> None:
    rendered = render(data, target)
    assert sniff(rendered).extension == extension(sniff(data), target)
    assert measure(data) == measure(rendered) == upright(WIDTH, HEIGHT)


def test_encoder_identity_names_target_libraries_and_rules() -> None:
    identity = codecs.encoder_identity("jpg")
    assert identity != codecs.encoder_identity("png")
    assert f"Pillow {PIL.__version__}, " in identity
    for name in ("libjpeg_turbo", "webp", "libtiff"):
        assert f"{name} {features.version(name)}" in identity
    assert f"zlib {zlib.ZLIB_RUNTIME_VERSION}" in identity
    assert identity == codecs.encoder_identity("jpg")


def test_source_is_nothing_to_render() -> None:
    with pytest.raises(KeyError):
        render(SAMPLES["gif"], "source")


# Modes


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_rgb_and_gray_keep_their_pixels(kind: str) -> None:
    for array in (noise(3), noise()):
        data = encode(Image.fromarray(array), kind)
        assert_jpeg_of(data, array)
        assert_png_of(data, "RGB" if array.ndim == 3 else decode(data).mode, array)


def test_lossy_webp_is_what_its_decoder_says() -> None:
    expected = pixels(SAMPLES["webp"])
    assert_jpeg_of(SAMPLES["webp"], expected)
    assert_png_of(SAMPLES["webp"], "RGB", expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_goes_over_white_and_stays_in_png(kind: str) -> None:
    array = noise(4)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    data = encode(Image.fromarray(array, "RGBA"), kind, **options)
    assert_jpeg_of(data, over_white(array[..., :3], array[..., 3]))
    assert_png_of(data, "RGBA", array)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_gray_with_alpha_stays_gray(kind: str) -> None:
    array = noise(2)
    data = encode(Image.fromarray(array, "LA"), kind)
    assert_jpeg_of(data, over_white(array[..., 0], array[..., 1]))
    assert_png_of(data, "LA", array)


def test_premultiplied_alpha_is_divided_out_first() -> None:
    for mode, tags, bits in (("LA", {262: 1}, (8, 8)), ("RGBA", {262: 2}, (8, 8, 8, 8))):
        whole = Image.fromarray(noise(len(bits)), mode)
        multiplied = whole.convert("La" if mode == "LA" else "RGBa")
        layout = {**tags, 277: len(bits), 338: 1, 258: bits if len(bits) == 2 else 8}
        data = tiff(whole.size, layout, multiplied.tobytes())
        assert decode(data).mode in ("La", "RGBA")
        straight = np.asarray(multiplied.convert(mode))
        assert_png_of(data, mode, straight)
        color = straight[..., 0] if mode == "LA" else straight[..., :3]
        assert_jpeg_of(data, over_white(color, straight[..., -1]))


def test_one_bit_is_black_and_white() -> None:
    array = noise(top=2).astype(bool)
    for kind in ("PNG", "BMP", "TIFF"):
        data = encode(Image.fromarray(array), kind)
        assert_jpeg_of(data, array.astype(np.uint8) * 255)
        assert_png_of(data, "1", array)


def palette_image(used: int) -> tuple[Image.Image, NDArray[Any], NDArray[Any]]:
    indices, colors = noise(top=used), noise(3)[0, :used]
    image = Image.fromarray(indices, "P")
    image.putpalette(colors.tobytes())
    return image, indices, colors


@pytest.mark.parametrize("kind", ["PNG", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("used", [2, 16, 23])
def test_palettes_become_their_colors(kind: str, used: int) -> None:
    image, indices, colors = palette_image(used)
    data = encode(image, kind)
    assert_jpeg_of(data, colors[indices])
    rendered = decode(render(data, "png"))
    assert np.array_equal(np.asarray(rendered.convert("RGB")), colors[indices])


def test_palette_transparency_goes_over_white() -> None:
    image, indices, colors = palette_image(16)
    for kind, transparency in (("PNG", bytes(range(0, 256, 16))), ("PNG", 3), ("GIF", 3)):
        data = encode(image, kind, transparency=transparency)
        alpha = np.full(16, 255)
        alpha[3] = 0
        if isinstance(transparency, bytes):
            alpha = np.frombuffer(transparency, np.uint8)
        assert_jpeg_of(data, over_white(colors[indices], alpha[indices]))
        rendered = np.asarray(decode(render(data, "png")).convert("RGBA"))
        assert np.array_equal(rendered[..., 3], alpha[indices])
        assert np.array_equal(rendered[..., :3], colors[indices])


def test_regression_png_keeps_indices_beyond_the_palette_black() -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.putpixel((1, 0), 200)
    data = encode(image, "BMP")
    assert len(decode(data).getpalette() or []) == 6
    assert_png_of(data, "RGB", np.array([[[10, 20, 30], [0, 0, 0]]]))


def test_transparent_color_of_8_bit_png_is_white() -> None:
    array, gray = noise(3), noise()
    key = tuple(int(part) for part in array[5, 5])
    visible = np.where((array == array[5, 5]).all(axis=2), 0, 255)
    data = encode(Image.fromarray(array), "PNG", transparency=key)
    assert_jpeg_of(data, over_white(array, visible))
    data = encode(Image.fromarray(gray), "PNG", transparency=int(gray[5, 5]))
    assert_jpeg_of(data, np.where(gray == gray[5, 5], 255, gray).astype(np.uint8))
    bits = noise(top=2).astype(bool)
    data = encode(Image.fromarray(bits), "PNG", transparency=0)
    assert_jpeg_of(data, np.full((HEIGHT, WIDTH), 255, np.uint8))


@pytest.mark.parametrize("mode", ["I;16", "I;16B"])
def test_16_bit_gray_is_scaled_so_that_white_stays_white(mode: str) -> None:
    array = noise(top=65536, dtype=np.uint16)
    array[0, :6] = 0, 128, 129, 256, 257, 65535
    order = "<u2" if mode == "I;16" else ">u2"
    image = Image.frombytes(mode, (WIDTH, HEIGHT), array.astype(order).tobytes())
    for kind in ("PNG", "TIFF"):
        data = encode(image, kind)
        assert_jpeg_of(data, to_8_bits(array))
        assert_png_of(data, "I;16", array)
    assert to_8_bits(array)[0, :6].tolist() == [0, 0, 1, 1, 1, 255]


def test_regression_16_bit_gray_with_a_transparent_value() -> None:
    array = noise(top=65536, dtype=np.uint16)
    data = encode(Image.fromarray(array), "PNG", transparency=int(array[0, 0]))
    assert_jpeg_of(data, to_8_bits(np.where(array == array[0, 0], 65535, array)))
    again = decode(render(data, "png"))
    assert again.info["transparency"] == int(array[0, 0])
    assert np.array_equal(np.asarray(again), array)


def test_regression_16_bit_transparent_color_is_not_compared_by_its_low_bytes() -> None:
    row = struct.pack(">7H", 0, 1000, 1000, 1000, 0xE8E8, 0xE8E8, 0xE8E8)[1:]
    key = struct.pack(">3H", 1000, 1000, 1000)  # 0x03E8
    data = png((b"tRNS", key), (b"IDAT", zlib.compress(row)), size=(2, 1), depth=16)
    assert_jpeg_of(data, np.array([[[255] * 3, [0xE8] * 3]], np.uint8))


def test_16_bit_color_keeps_its_high_bytes() -> None:
    array = noise(3, top=65536, dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in array)
    data = png((b"IDAT", zlib.compress(rows)), size=(WIDTH, HEIGHT), depth=16)
    assert_jpeg_of(data, (array >> 8).astype(np.uint8))


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_regression_16_bit_tiff_whose_zero_is_white(layout: dict[str, Any]) -> None:
    array = noise(top=65536, dtype=np.uint16)
    data = encode(Image.fromarray(array), "TIFF", tiffinfo={262: 0}, **layout)
    assert_jpeg_of(data, to_8_bits(65535 - array))
    assert_png_of(data, "I;16", 65535 - array)


def test_regression_12_bit_tiff_is_as_bright_as_it_was() -> None:
    strip = bytes([0xFF, 0xF0, 0x00, 0x80, 0x08, 0x00])  # 4095, 0, 2048, 2048
    data = tiff((4, 1), {258: 12, 262: 1, 277: 1}, strip)
    assert decode(data).mode == "I;16"
    assert_png_of(data, "I;16", np.array([[65535, 0, 32776, 32776]]))
    assert_jpeg_of(data, np.array([[255, 0, 128, 128]], np.uint8))


def test_32_bit_integers_pass_as_16_bit_or_not_at_all() -> None:
    array = noise(top=65536, dtype=np.int32)
    assert_jpeg_of(encode(Image.fromarray(array), "TIFF"), to_8_bits(array))
    assert_png_of(encode(Image.fromarray(array), "TIFF"), "I;16", array)
    for wrong in (-1, 65536):
        array[3, 3] = wrong
        with pytest.raises(RenderError, match="no range that means white"):
            render(encode(Image.fromarray(array), "TIFF"), "jpg")


@pytest.mark.parametrize("target", ["jpg", "png"])
def test_floating_point_is_refused(target: Target) -> None:
    data = encode(Image.fromarray(noise(dtype=np.float32)), "TIFF")
    with pytest.raises(RenderError, match="floating point"):
        render(data, target)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_becomes_rgb_by_the_plain_formula(kind: str) -> None:
    data = encode(Image.fromarray(noise(4), "CMYK"), kind)
    ink = np.asarray(decode(data)).astype(int)
    paper = 255 - ink[..., 3:]
    expected = (paper - (ink[..., :3] * paper + 127) // 255).clip(0, 255).astype(np.uint8)
    assert_jpeg_of(data, expected)
    assert_png_of(data, "RGB", expected)


@pytest.mark.parametrize("mode", ["LAB", "YCbCr"])
def test_other_spaces_become_rgb_as_pillow_converts_them(mode: str) -> None:
    data = encode(smooth().convert(mode), "TIFF")
    assert decode(data).mode == mode
    expected = np.asarray(decode(data).convert("RGB"))
    assert_jpeg_of(data, expected)
    assert_png_of(data, "RGB", expected)


@pytest.mark.parametrize("name", ["webp animated", "gif animated", "tiff pages", "png animated"])
def test_first_frame_of_many(name: str) -> None:
    kind = name.split()[0].upper()
    first = decode(SAMPLES[name]).convert("RGB")
    assert_jpeg_of(SAMPLES[name], np.asarray(first))
    alone = decode(encode(smooth(), kind)).convert("RGB")
    assert np.abs(np.asarray(first).astype(int) - np.asarray(alone)).max() < 40


def test_gif_frame_smaller_than_its_canvas_leaves_the_rest_transparent() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpixel((0, 0), 0)
    image.putpalette([0, 0, 255, 255, 0, 0])
    data = bytearray(encode(image, "GIF", transparency=0))
    data[6:10] = struct.pack("<HH", 8, 4)
    expected = np.full((4, 8, 3), 255, np.uint8)
    expected[:, :4] = 255, 0, 0
    expected[0, 0] = 255
    assert_jpeg_of(bytes(data), expected)


def test_photos(photos: list[tuple[str, bytes]]) -> None:
    rendered = 0
    for _, data in photos:
        image = decode(data)
        if image.width * image.height < 600_000 and image.mode in ("L", "RGB"):
            assert_jpeg_of(data, np.asarray(image))
            assert_png_of(data, image.mode, np.asarray(image))
            rendered += 1
    assert rendered > 5


# EXIF and colour profiles


def exif_of(turn: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ORIENTATION], exif[0x010E] = turn, "at home" * 20_000
    return exif


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize("target", ["jpg", "png"])
def test_orientation_is_kept_and_the_rest_of_exif_left(kind: str, target: Target) -> None:
    rendered = render(encode(smooth(), kind, exif=exif_of(6)), target)
    assert dict(decode(rendered).getexif()) == {ORIENTATION: 6}
    assert decode(rendered).size == (WIDTH, HEIGHT)
    for turn in (0, 1, 9):
        rendered = render(encode(smooth(), kind, exif=exif_of(turn)), target)
        assert dict(decode(rendered).getexif()) == {}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_tiff_orientation_is_applied_once(layout: dict[str, Any]) -> None:
    data = encode(Image.fromarray(noise(3)), "TIFF", tiffinfo={ORIENTATION: 6}, **layout)
    assert measure(data) == upright(HEIGHT, WIDTH)
    assert_jpeg_of(data, np.rot90(noise(3), -1))
    assert dict(decode(render(data, "jpg")).getexif()) == {}


def test_broken_exif_is_no_orientation() -> None:
    for broken in (b"II*\0\xff\xff\xff\xff", b"no TIFF header"):
        data = encode(smooth(), "PNG", exif=b"Exif\0\0" + broken)
        assert dict(decode(render(data, "jpg")).getexif()) == {}


def test_comments_are_left_even_those_too_long_for_a_jpeg() -> None:
    for comment in (b"by me", b"by me" * 20_000):
        assert b"by me" not in render(encode(smooth(), "GIF", comment=comment), "jpg")


def profile(kind: bytes) -> bytes:
    return bytes(16) + kind + b"a profile".ljust(108, b"\0")


@pytest.mark.parametrize(
    ("mode", "kind", "kept"),
    [
        ("RGB", b"RGB ", True),
        ("RGBA", b"RGB ", True),
        ("P", b"RGB ", True),
        ("L", b"GRAY", True),
        ("LA", b"GRAY", True),
        ("I;16", b"GRAY", True),
        ("L", b"RGB ", False),
        ("RGB", b"GRAY", False),
        ("RGB", b"CMYK", False),
        ("CMYK", b"CMYK", False),
    ],
)
def test_a_profile_is_kept_where_it_describes_the_pixels(
    mode: str, kind: bytes, kept: bool
) -> None:
    image = Image.new(mode, (3, 2))
    data = encode(image, "TIFF" if mode == "CMYK" else "PNG", icc_profile=profile(kind))
    assert decode(data).info["icc_profile"] == profile(kind)
    for rendered in (render(data, "jpg"), render(data, "png")):
        assert decode(rendered).info.get("icc_profile") == (profile(kind) if kept else None)


def test_a_profile_that_no_jpeg_can_hold_is_left() -> None:
    data = encode(smooth(), "TIFF", icc_profile=profile(b"RGB ") + bytes(255 * 65_519))
    assert "icc_profile" not in decode(render(data, "jpg")).info


# Determinism


@each_sample
def test_same_bytes_on_every_thread(data: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(lambda _: render(data, "jpg"), range(12)))) == 1


def test_same_bytes_in_a_fresh_process_which_has_not_loaded_every_plugin() -> None:
    code = (
        "import hashlib, sys; from hffs.view.codecs import render;"
        "print(hashlib.sha256(render(sys.stdin.buffer.read(), 'jpg')[0]).hexdigest())"
    )
    data = SAMPLES["tiff lzw"]
    ran = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert ran.stdout.decode().strip() == hashlib.sha256(render(data, "jpg")).hexdigest()


def test_a_view_of_bytes_renders_and_measures_like_bytes() -> None:
    for data in SAMPLES.values():
        padded = memoryview(b"xx" + data + b"xx")[2:-2]
        assert render(padded, "png") == render(data, "png")
        assert measure(padded) == measure(data)


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
@pytest.mark.parametrize("size", [(1, 1), (300, 16_383), (16_383, 2)])
def test_measure_agrees_with_the_decoder_of_webp(
    options: dict[str, Any], size: tuple[int, int]
) -> None:
    data = encode(Image.new("RGB", size), "WEBP", method=0, **options)
    assert measure(data) == upright(*decode(data).size) == upright(*size)


def test_measure_lets_go_of_the_buffer_even_when_it_fails() -> None:
    for data in (SAMPLES["jpeg"], b"no image"):
        buffer, failure = bytearray(data), None
        with memoryview(buffer) as view:
            try:
                measure(view)
            except RenderError as error:
                failure = error
        buffer.append(0)  # BufferError while anything still looks at it
        assert (failure is None) == (data == SAMPLES["jpeg"])


@pytest.mark.parametrize("name", ["jpeg", "png", "gif", "bmp", "webp"])
def test_measure_reads_no_further_than_the_header(name: str) -> None:
    large = encode(Image.fromarray(np.tile(noise(3), (20, 20, 1))), name)
    header = large[: 1100 if name == "gif" else 700]
    assert len(large) > 50_000
    assert measure(header) == upright(20 * WIDTH, 20 * HEIGHT)


# Hostile bytes


def bomb(name: str) -> bytes:
    """A few hundred bytes that claim more pixels than any camera makes."""
    side, data = 60_000, bytearray(SAMPLES[name])
    if name == "png":
        return png((b"IDAT", zlib.compress(bytes(1000))), size=(100_000, 100_000))
    if name == "webp lossless":
        data[21:25] = struct.pack("<I", 16382 | 16382 << 14)
    elif name == "jpeg":
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = struct.pack(">HH", side, side)
    elif name == "gif":
        data[6:10] = struct.pack("<HH", side, side)
    elif name == "bmp":
        data[18:26] = struct.pack("<ii", side, side)
    else:
        return tiff((side, side), {258: 8, 262: 1, 277: 1}, b"\0")
    return bytes(data)


@pytest.mark.parametrize("name", ["jpeg", "png", "webp lossless", "gif", "bmp", "tiff"])
@pytest.mark.parametrize("work", [measure, lambda data: render(data, "png")])
def test_bombs_are_refused_quickly_and_in_little_memory(
    name: str, work: Callable[[bytes], object]
) -> None:
    data = bomb(name)
    gc.collect()
    peak, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(RenderError, match="pixels"):
        work(data)
    assert time.monotonic() - started < 2
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak < 64 * 1024


@pytest.mark.parametrize("kind", [b"iCCP", b"zTXt"])
def test_compressed_text_and_profiles_do_not_swell(kind: bytes) -> None:
    swollen = b"name\0\0" + zlib.compress(bytes(50 * 2**20))
    data = png((kind, swollen), (b"IDAT", zlib.compress(b"\0\1\2\3")))
    with pytest.raises(RenderError, match="too large"):
        render(data, "jpg")


def test_our_limits_hold_whatever_pillow_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    with pytest.raises(RenderError, match="100000 x 100000 pixels, over 178956970"):
        measure(bomb("png"))
    monkeypatch.setattr(reading, "MAX_PIXELS", WIDTH * HEIGHT - 1)
    with pytest.raises(RenderError, match="cannot render: 31 x 24 pixels, over 743"):
        render(SAMPLES["gif"], "jpg")
    monkeypatch.setattr(reading, "MAX_PIXELS", WIDTH * HEIGHT)
    monkeypatch.setattr(reading, "MAX_ENCODED_BYTES", len(SAMPLES["gif"]))
    assert render(SAMPLES["gif"], "jpg")
    with pytest.raises(RenderError, match="bytes, over"):
        render(SAMPLES["gif"] + b"\0", "jpg")


@pytest.mark.parametrize("target", ["jpg", "png"])
def test_a_side_longer_than_a_jpeg_has_is_refused(target: Target) -> None:
    fits, over = (encode(Image.new("L", (side, 1)), "PNG") for side in (65_500, 65_501))
    assert measure(render(fits, target)) == upright(65_500, 1)
    assert measure(over) == upright(65_501, 1)
    with pytest.raises(RenderError, match="65501 x 1 pixels, a side over 65500"):
        render(over, target)


@each_sample
def test_truncated_is_all_or_an_error(data: bytes) -> None:
    whole, refused = render(data, "png"), 0
    for sixteenth in range(16):
        try:
            rendered = render(data[: len(data) * sixteenth // 16], "png")
        except RenderError:
            refused += 1
        else:
            assert rendered == whole  # what was lost was no pixel of the first frame
    assert refused >= 6


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xd8\xff",
        b"GIF89a",
        b"no image at all",
        b"%!PS-Adobe-3.0 EPSF-3.0\n",
        b"P6 1 1 255 abc",
    ],
)
def test_bytes_that_are_no_image(data: bytes) -> None:
    with pytest.raises(RenderError, match="not one of JPEG, PNG, WEBP, GIF, TIFF, BMP"):
        render(data, "jpg")
    with pytest.raises(RenderError, match=r"^cannot measure: \S.*$"):
        measure(data)


@pytest.mark.parametrize("target", ["jpg", "png"])
def test_regression_palette_image_without_its_palette(target: Target) -> None:
    rows = (b"IDAT", zlib.compress(b"\0\5"))
    assert render(png((b"PLTE", bytes(18)), rows, color=3), target)
    with pytest.raises(RenderError, match="cannot render: a palette image without its palette"):
        render(png(rows, color=3), target)


def test_an_assertion_of_pillow_is_bad_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(Image, "open", refuse)
    for work in (measure, lambda data: render(data, "jpg")):
        with pytest.raises(RenderError, match="AssertionError"):
            work(SAMPLES["png"])


@settings(max_examples=150, deadline=2000)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    flips=st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), min_size=1, max_size=6),
    target=st.sampled_from(["jpg", "png"]),
)
def test_flipped_bytes_give_an_image_or_an_error(
    name: str, flips: list[tuple[int, int]], target: Target
) -> None:
    data = bytearray(SAMPLES[name])
    for at, value in flips:
        data[at % len(data)] = value
    try:
        rendered = render(bytes(data), target)
    except RenderError as error:
        failure = error.why
    else:
        failure = "none"
        assert measure(bytes(data))[:2] == decode(rendered).size
    assert failure
    assert " at 0x" not in failure  # an object of ours is no news to a reader


# The page


@pytest.mark.lossless
def test_the_examples_of_the_page() -> None:
    page = Path(__file__).parents[3] / "docs" / "rendering.md"
    example = "".join(re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL))
    test = doctest.DocTestParser().get_doctest(example, {}, page.name, str(page), 0)
    result = doctest.DocTestRunner().run(test)
    assert result.attempted > 20
    assert result.failed == 0
