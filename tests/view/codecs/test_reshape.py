"""Tiles and turns: the rules of docs/rendering.md, judged by what Pillow shows of the grid."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image, ImageOps

from hffs.core.composites import Composite, file_sizes, grid_of, plan_composite, tile_box, turn_size
from hffs.core.formats import MediaFormat, sniff
from hffs.core.types import Size
from hffs.errors import RenderError
from hffs.view import codecs
from hffs.view.codecs import (
    Reshape,
    Target,
    extension,
    measure,
    passes_through,
    reading,
    render,
    turbojpeg,
)

ORIENTATION = 274
PROFILE = bytes(16) + b"RGB " + b"a profile".ljust(108, b"\0")

Pixels = NDArray[np.int64]


@pytest.fixture(autouse=True)
def _silent_pillow() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\b")
        yield


@pytest.fixture
def _no_library(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(turbojpeg, "_NAMES", ())
    turbojpeg._load.cache_clear()
    yield
    turbojpeg._load.cache_clear()


def picture(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Slopes with coarse noise over them: no two parts alike, and no part that JPEG cannot keep."""
    y, x = np.mgrid[0:height, 0:width]
    slopes = np.stack([x * 200 // width, y * 200 // height, (x + y) * 90 // width], 2)
    coarse = np.random.default_rng(5).integers(0, 50, (-(-height // 8), -(-width // 8), 3))
    noise = np.kron(coarse, np.ones((8, 8, 1), int))[:height, :width]
    return Image.fromarray((slopes + noise).astype(np.uint8)).convert(mode)


def encode(image: Image.Image, kind: str = "JPEG", orientation: int = 0, **options: Any) -> bytes:
    file, exif = io.BytesIO(), Image.Exif()
    if orientation:
        exif[ORIENTATION], exif[0x010E] = orientation, "at home"
        options["exif"] = exif
    image.save(file, kind, **options)
    return file.getvalue()


def decode(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


def shown(data: bytes) -> Pixels:
    """Pixels as a viewer shows them."""
    return np.asarray(ImageOps.exif_transpose(decode(data))).astype(int)


def tile_of(whole: Pixels, composite: Composite, tile: int) -> Pixels:
    left, top, width, height = tile_box(composite, Size(whole.shape[1], whole.shape[0]), tile)
    return whole[top : top + height, left : left + width]


def grid(count: int, layout: str = "auto", select: Literal["all"] = "all") -> Composite:
    return plan_composite(count, layout, select)


def worst(left: Pixels, right: Pixels, border: int = 0) -> int:
    """The largest difference, but for so many pixels at each side."""
    assert left.shape == right.shape
    inside = abs(left - right)[border or None : -border or None, border or None : -border or None]
    return int(inside.max())


def tables(data: bytes) -> list[list[int]]:
    image = Image.open(io.BytesIO(data))
    return [list(table) for _, table in sorted(image.quantization.items())]  # type: ignore[attr-defined] # of JPEGs


# What passes, what it is called


@pytest.mark.parametrize("kind", MediaFormat)
@pytest.mark.parametrize("target", ["jpg", "png", "source"])
def test_what_is_reshaped_never_passes(kind: MediaFormat, target: Target) -> None:
    assert not passes_through(kind, target, True)
    expected = target if target != "source" else "jpg" if kind is MediaFormat.JPEG else "png"
    assert extension(kind, target, True) == expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "TIFF", "BMP"])
@pytest.mark.parametrize("target", ["jpg", "png", "source"])
def test_the_extension_of_a_tile_agrees_with_its_bytes(kind: str, target: Target) -> None:
    data = encode(picture(64, 64), kind)
    for tile in render(data, target, Reshape(grid(4))):
        assert sniff(tile).extension == extension(sniff(data), target, True)
        assert decode(tile).size == (32, 32)


def test_identity_names_all_that_a_reshaped_image_depends_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plain = codecs.encoder_identity("jpg")
    assert "turbojpeg" not in plain
    reshapes = [
        Reshape(), Reshape(upright=True), Reshape(grid(4)), Reshape(grid(4), True),
        Reshape(grid(9)), Reshape(grid(4, "2x2")),
    ]  # fmt: skip
    names = [codecs.encoder_identity("jpg", reshape) for reshape in reshapes]
    assert names[0] == plain
    assert len(set(names)) == len(names)
    monkeypatch.setattr(turbojpeg, "describe_library", lambda: "another")
    changed = [codecs.encoder_identity("jpg", reshape) for reshape in reshapes]
    assert [old == new for old, new in zip(names, changed, strict=True)] == [True] + 5 * [False]


# Lossless tiles


REAL_GRIDS = [
    (2, "horizontal", (512, 256)), (2, "auto", (256, 512)), (4, "2x2", (512, 512)),
    (4, "horizontal", (512, 128)), (4, "vertical", (128, 512)), (9, "3x3", (192, 192)),
    (9, "auto", (144, 144)), (6, "2x3", (192, 128)), (1, "auto", (100, 60)),
]  # fmt: skip


@pytest.mark.lossless
@pytest.mark.parametrize(("count", "layout", "size"), REAL_GRIDS)
@pytest.mark.parametrize("options", [{"subsampling": 0}, {"progressive": True, "subsampling": 0}])
def test_lossless_tiles_are_the_pixels_of_the_decoded_grid(
    count: int, layout: str, size: tuple[int, int], options: dict[str, Any]
) -> None:
    composite = grid(count, layout)
    for mode in ("RGB", "L", "CMYK"):
        data = encode(picture(*size, mode), **options, icc_profile=PROFILE)
        whole = shown(data)
        for tile, file in enumerate(render(data, "jpg", Reshape(composite))):
            assert worst(shown(file), tile_of(whole, composite, tile)) == 0
            assert decode(file).mode == mode
            assert tables(file) == tables(data)


@pytest.mark.lossless
@pytest.mark.parametrize(
    ("subsampling", "block"), [("4:2:0", (16, 16)), ("4:2:2", (16, 8)), ("4:4:0", (8, 16))]
)
def test_with_less_chroma_only_the_border_of_a_tile_differs(
    subsampling: str, block: tuple[int, int]
) -> None:
    composite = grid(4, "2x2")
    image = picture(8 * block[0], 8 * block[1])
    if subsampling == "4:4:0":  # which Pillow does not write
        stored = encode(image.transpose(Image.Transpose.TRANSPOSE), orientation=5, subsampling=1)
        (data,) = render(stored, "jpg", Reshape(upright=True))
    else:
        data = encode(image, subsampling=subsampling, quality=92)
    whole, luma = shown(data), luminance(data)
    for tile, file in enumerate(render(data, "jpg", Reshape(composite))):
        assert worst(shown(file), tile_of(whole, composite, tile), border=1) == 0
        assert worst(luminance(file), tile_of(luma, composite, tile)) == 0
        assert tables(file) == tables(data)


def luminance(data: bytes) -> Pixels:
    """The first component as it is decoded, without any chroma."""
    image = Image.open(io.BytesIO(data))
    image.draft("L", image.size)
    assert image.mode == "L"
    return np.asarray(image).astype(int)


@pytest.mark.lossless
@pytest.mark.parametrize(
    ("options", "count", "size"),
    [
        ({"subsampling": 0}, 2, (250, 128)),  # 125: the second tile begins inside a block
        ({"subsampling": 2}, 4, (528, 528)),  # 264 is a border at 4:4:4, not at 4:2:0
        ({"subsampling": 2}, 9, (100, 100)),
        ({"subsampling": 1}, 3, (99, 40)),
    ],
)
def test_what_begins_inside_a_block_is_encoded_again(
    options: dict[str, Any], count: int, size: tuple[int, int]
) -> None:
    data, composite = encode(picture(*size), quality=95, **options), grid(count)
    whole = shown(data)
    files = render(data, "jpg", Reshape(composite))
    assert tables(files[0]) == tables(data)  # the upper left one always fits
    assert worst(shown(files[0]), tile_of(whole, composite, 0), border=1) == 0
    for tile, file in enumerate(files):
        expected = tile_of(whole, composite, tile)
        assert shown(file).shape == expected.shape
        assert abs(shown(file) - expected).mean() < 2
    again = encode(Image.fromarray(tile_of(whole, composite, 1).astype(np.uint8)), quality=95,
                   subsampling=0)  # fmt: skip
    assert worst(shown(files[1]), shown(again)) == 0


@pytest.mark.lossless
@pytest.mark.parametrize("name", ["restart", "trailing", "second", "fill"])
def test_odd_but_sound_files_are_cut_losslessly(name: str) -> None:
    data = encode(picture(128, 128), restart_marker_blocks=3 if name == "restart" else 0)
    if name == "trailing":
        data += b"\0garbage" * 100
    if name == "second":
        data += encode(picture(64, 64))  # as in a multi-picture file
    if name == "fill":
        data = data[:2] + b"\xff" * 50 + data[2:]
    whole = shown(data)
    for tile, file in enumerate(render(data, "jpg", Reshape(grid(4)))):
        assert worst(shown(file), tile_of(whole, grid(4), tile), border=1) == 0
        assert tables(file) == tables(data)
        assert b"garbage" not in file


def test_a_tile_does_not_depend_on_those_asked_for_with_it() -> None:
    for size in ((128, 128), (136, 136), (129, 127)):
        data = encode(picture(*size))
        files = render(data, "jpg", Reshape(grid(4)))
        for tile in range(4):
            assert render(data, "jpg", Reshape(grid(4)), [tile]) == [files[tile]]
        assert render(data, "jpg", Reshape(grid(4)), [3, 1, 1]) == [files[3], files[1], files[1]]
        some = plan_composite(4, "auto", (2, 1))
        assert render(data, "jpg", Reshape(some)) == files[1:3]


def test_same_tiles_on_every_thread() -> None:
    data = encode(picture(128, 128))
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: render(data, "jpg", Reshape(grid(4), True)), range(24)))
    assert done == [done[0]] * 24


@pytest.mark.lossless
def test_one_part_that_cannot_be_written_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, cut = encode(picture(128, 128)), turbojpeg.transform
    expected = render(data, "jpg", Reshape(grid(4)))

    def refuse(data: bytes, boxes: list[Any], *rest: Any) -> turbojpeg.Transformed:
        if any(box.left and box.top for box in boxes):
            return turbojpeg.Transformed([None] * len(boxes))
        return cut(data, boxes, *rest)

    monkeypatch.setattr(turbojpeg, "transform", refuse)
    files = render(data, "jpg", Reshape(grid(4)))
    assert files[:3] == expected[:3]
    assert [files[3]] == render(data, "jpg", Reshape(grid(4)), [3])
    assert tables(files[3]) != tables(data)


@pytest.mark.lossless
def test_a_part_of_another_size_than_asked_for_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    data, cut = encode(picture(128, 128)), turbojpeg.transform

    def grow(data: bytes, boxes: list[Any], *rest: Any) -> turbojpeg.Transformed:
        return cut(data, [box._replace(width=box.width + 1) for box in boxes], *rest)

    monkeypatch.setattr(turbojpeg, "transform", grow)
    (file,) = render(data, "jpg", Reshape(grid(4)), [0])
    assert decode(file).size == (64, 64)


# Orientation


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("size", [(256, 128), (250, 128), (256, 120)])
def test_a_strip_stays_a_strip_however_it_is_stored(
    orientation: int, upright: bool, size: tuple[int, int]
) -> None:
    composite = grid(2, "horizontal")
    data = encode(picture(*size), orientation=orientation, quality=95, subsampling=0)
    whole = shown(data)
    for tile, file in enumerate(render(data, "jpg", Reshape(composite, upright))):
        assert decode(file).getexif().get(ORIENTATION, 1) == (1 if upright else orientation)
        expected = tile_of(whole, composite, tile)
        assert shown(file).shape == expected.shape
        assert abs(shown(file) - expected).mean() < 1.5
        if turbojpeg.is_available() and size == (256, 128):
            assert tables(file) == transposed(tables(data), upright and orientation > 4)


def transposed(found: list[list[int]], quarter: bool) -> list[list[int]]:
    if not quarter:
        return found
    return [np.array(table).reshape(8, 8).T.ravel().tolist() for table in found]


@pytest.mark.lossless
@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("size", [(64, 48), (65, 48), (64, 49), (63, 47)])
def test_upright_is_lossless_where_no_partial_block_comes_to_the_front(
    orientation: int, size: tuple[int, int]
) -> None:
    data = encode(picture(*size), orientation=orientation, subsampling=0, quality=85)
    (file,) = render(data, "jpg", Reshape(upright=True))
    assert dict(decode(file).getexif()) == {}
    assert abs(shown(file) - shown(data)).mean() < 2
    free = {5: "xy", 2: "y", 4: "x", 6: "x", 8: "y"}.get(orientation, "")
    lossless = (size[0] % 8 == 0 or "x" in free) and (size[1] % 8 == 0 or "y" in free)
    assert (tables(file) == transposed(tables(data), orientation > 4)) == lossless
    assert not lossless or worst(shown(file), shown(data)) <= 4  # rounding of the inverse DCT


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_other_formats_are_turned_as_they_are_rendered(kind: str, orientation: int) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(picture(66, 40), kind, orientation, **options)
    whole = shown(data)
    if kind == "TIFF":
        assert measure(data) == (whole.shape[1], whole.shape[0], 1)
    (file,) = render(data, "png", Reshape(upright=True))
    assert np.array_equal(np.asarray(decode(file)), whole)
    assert dict(decode(file).getexif()) == {}
    composite = grid(3, "horizontal")
    for upright in (False, True):
        for tile, part in enumerate(render(data, "png", Reshape(composite, upright))):
            assert np.array_equal(shown(part), tile_of(whole, composite, tile))


# Metadata of lossless results


@pytest.mark.lossless
@pytest.mark.parametrize("reshape", [Reshape(upright=True), Reshape(grid(4)), Reshape(grid(1))])
def test_of_metadata_only_profile_density_and_orientation_stay(reshape: Reshape) -> None:
    data = encode(
        picture(128, 128), orientation=6, icc_profile=PROFILE, comment=b"at home", dpi=(300, 300),
        xmp=b"at home",
    )  # fmt: skip
    for file in render(data, "jpg", reshape):
        image = decode(file)
        assert tables(file) == transposed(tables(data), reshape.upright)
        assert image.info["icc_profile"] == PROFILE
        assert image.info["jfif_density"] == (300, 300)
        assert b"at home" not in file
        assert dict(image.getexif()) == ({} if reshape.upright else {ORIENTATION: 6})
        assert not {"comment", "xmp"} & set(image.info)


# Pixels of other formats


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "LA", "RGBA", "I;16"])
def test_png_grids_are_cut_to_the_pixel(mode: str) -> None:
    image = Image.new("I;16", (90, 61), 40_000) if mode == "I;16" else picture(90, 61, mode)
    data, composite = encode(image, "PNG"), grid(4)
    for tile, file in enumerate(render(data, "source", Reshape(composite))):
        box = tile_box(composite, Size(90, 61), tile)
        part = image.crop((box.left, box.top, box.left + box.width, box.top + box.height))
        assert decode(file).mode == mode
        colours = "RGBA" if mode == "P" else mode
        found, expected = (np.asarray(each.convert(colours)) for each in (decode(file), part))
        assert np.array_equal(found, expected)
    for target in ("jpg", "png"):
        whole = render(data, target)[0]
        for tile, file in enumerate(render(data, target, Reshape(composite))):
            mean = abs(shown(file) - tile_of(shown(whole), composite, tile)).mean()
            assert mean < (0.01 if target == "png" else 6)


def test_a_12_bit_tiff_is_cut_after_it_was_scaled() -> None:
    # Its meaning is in tags, which a part of it would not have.
    image = Image.fromarray(np.full((32, 32), 4095, np.uint16))
    data = encode(image, "TIFF", tiffinfo={262: 0})
    (whole,) = render(data, "png")
    for file in render(data, "png", Reshape(grid(4))):
        assert np.array_equal(shown(file), shown(whole)[:16, :16])


@pytest.mark.usefixtures("_no_library")
def test_without_the_library_tiles_are_decoded_and_encoded() -> None:
    data = encode(picture(128, 128), orientation=6, quality=95, subsampling=0)
    whole = shown(data)
    for upright in (False, True):
        for tile, file in enumerate(render(data, "jpg", Reshape(grid(4), upright))):
            expected = tile_of(whole, grid(4), tile)
            assert abs(shown(file) - expected).mean() < 1
            assert decode(file).getexif().get(ORIENTATION, 1) == (1 if upright else 6)
    assert "no libturbojpeg" in codecs.encoder_identity("jpg", Reshape(upright=True))


# Bad data


def test_an_image_smaller_than_its_grid_is_refused() -> None:
    for kind in ("JPEG", "PNG"):
        with pytest.raises(RenderError, match="cannot render: 1 x 9 pixels, smaller than a grid"):
            render(encode(picture(1, 9), kind), "jpg", Reshape(grid(4, "2x2")))


def test_a_damaged_jpeg_is_refused() -> None:
    data = encode(picture(256, 256), quality=95)
    for reshape in (Reshape(grid(4)), Reshape(upright=True), Reshape(grid(1))):
        for size in (100, len(data) // 2, len(data) * 9 // 10):
            with pytest.raises(RenderError, match="cannot render"):
                render(data[:size], "jpg", reshape)


@pytest.mark.lossless
def test_what_the_library_warns_of_is_encoded_again_as_pillow_sees_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    transform = turbojpeg.transform

    def count(data: bytes, boxes: list[Any], *rest: Any) -> turbojpeg.Transformed:
        calls.append(len(boxes))
        return transform(data, boxes, *rest)

    monkeypatch.setattr(turbojpeg, "transform", count)
    data = encode(picture(128, 128), quality=85)
    at = data.index(b"\xff\xd9")
    stray = data[:at] + bytes(100) + data[at:]
    for file in render(stray, "jpg", Reshape(grid(4))):
        assert tables(file) != tables(data)
        assert decode(file).size == (64, 64)
    assert calls == [4]  # nothing is to be had by asking for one tile after the other


def test_limits_hold_for_reshaped_images(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode(picture(128, 128))
    monkeypatch.setattr(reading, "MAX_PIXELS", 128 * 128 - 1)
    with pytest.raises(RenderError, match="128 x 128 pixels, over"):
        render(data, "jpg", Reshape(grid(4)))
    monkeypatch.undo()
    monkeypatch.setattr(reading, "MAX_ENCODED_BYTES", len(data) - 1)
    with pytest.raises(RenderError, match="bytes, over"):
        render(data, "jpg", Reshape(grid(4)))


SAMPLES = {
    "jpeg": encode(picture(64, 48), orientation=6),
    "jpeg gray": encode(picture(64, 48, "L")),
    "jpeg cmyk": encode(picture(64, 48, "CMYK")),
    "jpeg progressive": encode(picture(64, 48), progressive=True, orientation=3),
    "jpeg restarts": encode(picture(64, 48), restart_marker_blocks=2, subsampling=0),
    "png": encode(picture(64, 48), "PNG", orientation=8),
    "webp": encode(picture(64, 48), "WEBP", orientation=5),
}


@settings(max_examples=300)
@given(
    name=st.sampled_from(sorted(SAMPLES)),
    flips=st.lists(st.tuples(st.integers(0, 3000), st.integers(0, 255)), min_size=1, max_size=5),
    upright=st.booleans(),
    count=st.sampled_from([0, 1, 2, 4, 12]),
)
def test_flipped_bytes_give_tiles_of_the_measured_size_or_an_error(
    name: str, flips: list[tuple[int, int]], upright: bool, count: int
) -> None:
    data = bytearray(SAMPLES[name])
    for at, value in flips:
        data[at % len(data)] = value
    reshape = Reshape(grid(count) if count else None, upright or not count)
    try:
        files = render(bytes(data), "source", reshape)
    except RenderError:
        return
    assert len(files) == max(count, 1)
    expected = sizes_of(bytes(data), reshape)
    assert {Size(*decode(file).size) for file in files} == {expected}


def sizes_of(data: bytes, reshape: Reshape) -> Size:
    columns = [np.array([value]) for value in measure(data)]
    width, height = file_sizes(reshape.composite, reshape.upright, *columns)
    return Size(int(width[0]), int(height[0]))


@settings(max_examples=100)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "TIFF"]),
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    orientation=st.integers(0, 8),
    upright=st.booleans(),
    count=st.sampled_from([0, 1, 2, 3, 4, 6, 9]),
)
def test_sizes_that_are_foretold_are_those_that_are_made(
    kind: str, size: tuple[int, int], orientation: int, upright: bool, count: int
) -> None:
    data = encode(picture(*size), kind, orientation)
    reshape = Reshape(grid(count) if count else None, upright)
    expected = sizes_of(data, reshape)
    try:
        files = render(data, "png", reshape)
    except RenderError:
        files = []
    assert {decode(file).size for file in files} == ({expected} if all(expected) else set())
    displayed = turn_size(Size(*measure(data)[:2]), measure(data).orientation)
    assert len(files) in (0, 1 if not count else np.prod(grid_of(grid(count), displayed)))


# Measuring orientations


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("orientation", range(10))
def test_measure_tells_the_stored_size_and_the_orientation(kind: str, orientation: int) -> None:
    expected = orientation if orientation in range(2, 9) else 1
    assert measure(encode(picture(31, 24), kind, orientation)) == (31, 24, expected)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("broken", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM", b"nothing"])
def test_a_broken_exif_is_no_orientation(kind: str, broken: bytes) -> None:
    data = encode(picture(31, 24), kind, exif=broken)
    assert measure(data) == (31, 24, 1)
    assert decode(render(data, "jpg", Reshape(upright=True))[0]).size == (31, 24)


@pytest.mark.parametrize("kind", ["JPEG", "WEBP"])
def test_an_orientation_of_xmp_counts_as_it_does_for_pillow(kind: str) -> None:
    xmp = b'<x tiff:Orientation="6"/>'
    data = encode(picture(31, 24), kind, xmp=xmp)
    assert measure(data) == (31, 24, 6)
    assert decode(render(data, "jpg", Reshape(upright=True))[0]).size == (24, 31)


def test_metadata_of_a_webp_is_found_behind_its_pixels_and_only_if_announced() -> None:
    data = bytearray(encode(picture(31, 24), "WEBP", 6))
    assert measure(bytes(data)) == (31, 24, 6)
    assert measure(bytes(data[:60])) == (31, 24, 1)  # pixels and what is behind them are lost
    odd = data[:30] + b"ODD \1\0\0\0x\0" + data[30:]  # chunks are padded to an even length
    assert measure(bytes(odd)) == (31, 24, 6)
    data[20] = 0
    assert measure(bytes(data)) == (31, 24, 1)
    announced = data[:20] + b"\x08" + data[21:30] + b"EXIF\0\0\0\0" * 20_000
    assert measure(bytes(announced)) == (31, 24, 1)


@pytest.mark.parametrize(("behind", "found"), [(0, 6), (3000, 6), (5000, 1)])
def test_the_orientation_of_a_png_may_stand_near_its_end(behind: int, found: int) -> None:
    data = encode(picture(31, 24), "PNG", 6)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    late = data[:start] + data[end:-12] + data[start:end] + bytes(behind) + data[-12:]
    assert measure(late) == (31, 24, found)
    upright = render(late, "png", Reshape(upright=True))[0]
    assert decode(upright).size == ((24, 31) if found == 6 else (31, 24))
    assert decode(render(late, "jpg")[0]).getexif().get(ORIENTATION, 1) == found
    broken = bytearray(late)
    broken[late.index(b"eXIf") + 8] ^= 1  # its checksum tells that this is none
    assert measure(bytes(broken)) == (31, 24, 1)
