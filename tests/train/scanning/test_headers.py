"""One file's size: by the core parser or Pillow, the same as a mount would measure; or why not."""

from __future__ import annotations

import errno
import io
import os
import socket
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from hffs.core.image_headers import Header
from hffs.errors import DataError, RenderError
from hffs.train.scanning.headers import OPENING, read_open_header
from hffs.view.codecs import measure

SIZE = (31, 24)


def look(path: Path) -> Header:
    opened = os.open(path, OPENING)
    try:
        return read_open_header(opened, os.fstat(opened))
    finally:
        os.close(opened)


def refusal(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        look(path)
    return caught.value.why


def encode(kind: str, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize(SIZE).convert(mode).save(file, kind, **options)
    return file.getvalue()


def packet(text: str) -> PngImagePlugin.PngInfo:
    info = PngImagePlugin.PngInfo()
    info.add_itxt("XML:com.adobe.xmp", text)
    return info


def turned(turn: int) -> Image.Exif:
    block = Image.Exif()
    block[0x0112] = turn
    block[0x010F] = "a maker"
    return block


FILES = {
    "jpeg": encode("JPEG", exif=turned(6)),
    "progressive": encode("JPEG", progressive=True, icc_profile=bytes(9000), exif=turned(3)),
    "filled": b"\xff\xd8\xff\xff\xff" + encode("JPEG", exif=turned(8))[3:],
    "png": encode("PNG", exif=turned(5)),
    "palette": encode("PNG", "P"),
    "webp": encode("WEBP", exif=turned(7)),
    "gif": encode("GIF", "P"),
    "bmp": encode("BMP"),
    "tiff": encode("TIFF", exif=turned(6)),
    "xmp": encode("PNG", pnginfo=packet('<x tiff:Orientation="4"/>')),
}


def put(folder: Path, data: bytes) -> Path:
    path = folder / "a.jpg"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", FILES)
def test_a_file_has_the_size_that_a_mount_measures(tmp_path: Path, name: str) -> None:
    assert tuple(look(put(tmp_path, FILES[name]))) == tuple(measure(FILES[name]))


def test_real_photos_have_the_size_that_a_mount_measures(
    tmp_path: Path, photos: list[tuple[str, bytes]]
) -> None:
    for _, data in photos:
        assert tuple(look(put(tmp_path, data))) == tuple(measure(data))


def test_exif_behind_the_pixels_of_an_unusual_png_counts(tmp_path: Path) -> None:
    plain, late = FILES["xmp"], FILES["png"]
    start = late.index(b"eXIf") - 4
    length = int.from_bytes(late[start : start + 4], "big")
    data = plain[:-12] + late[start : start + 12 + length] + plain[-12:]
    assert tuple(look(put(tmp_path, data))) == tuple(measure(data)) == (*SIZE, 5)


@pytest.mark.filterwarnings("ignore")  # of Pillow's, about metadata, while a mount measures
@given(st.sampled_from(sorted(FILES)), st.data())
def test_whatever_is_damaged_both_agree_where_both_answer(
    tmp_path_factory: pytest.TempPathFactory, name: str, draw: st.DataObject
) -> None:
    data = bytearray(FILES[name])
    for _ in range(draw.draw(st.integers(1, 4))):
        data[draw.draw(st.integers(0, min(len(data), 700) - 1))] = draw.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / f"damaged-{os.getpid()}"
    path.write_bytes(data)
    try:
        found = look(path)
        measured = measure(bytes(data))
    except (DataError, RenderError):
        return
    assert tuple(found) == tuple(measured)


def test_what_is_no_image_says_why(tmp_path: Path) -> None:
    formats = "not one of JPEG, PNG, WEBP, GIF, TIFF, BMP"
    jpeg = FILES["jpeg"]
    assert refusal(put(tmp_path, b"")) == "empty file"
    assert refusal(put(tmp_path, b"just a text")) == formats
    assert refusal(put(tmp_path, b"%PDF-1.4")) == formats
    assert refusal(put(tmp_path, jpeg[:100])) == "truncated JPEG"
    assert refusal(put(tmp_path, FILES["png"][:40])) == "truncated PNG"
    assert refusal(put(tmp_path, FILES["png"].replace(b"IHDR", b"IHDR\0"))) == "damaged PNG"
    assert "decoder" in refusal(put(tmp_path, b"RIFF\0\0\0\0WEBPVP8 garbage"))
    assert refusal(put(tmp_path, b"\xff\xd8\xff\xff\xff\xc0\0\x02")) != ""
    assert refusal(tmp_path) == "not a regular file"


def test_too_many_pixels_are_refused(tmp_path: Path) -> None:
    large = FILES["bmp"][:18] + (20_000).to_bytes(4, "little") * 2 + FILES["bmp"][26:]
    assert refusal(put(tmp_path, large)) == "20000 x 20000 pixels, over 178956970"
    unusual = FILES["filled"].replace(b"\0\x18\0\x1f\3", b"\xff\xff\xff\xff\3")
    assert "pixels" in refusal(put(tmp_path, unusual))


def test_a_palette_image_without_its_palette_is_refused(tmp_path: Path) -> None:
    start = FILES["palette"].index(b"PLTE") - 4
    length = int.from_bytes(FILES["palette"][start : start + 4], "big")
    data = FILES["palette"][:start] + FILES["palette"][start + 12 + length :]
    assert refusal(put(tmp_path, data)) == "a palette image without its palette"


@pytest.mark.filterwarnings("ignore")  # of Pillow's, while a mount measures
def test_exif_that_nobody_can_read_turns_nothing(tmp_path: Path) -> None:
    for block in (b"no TIFF", b"II*\0" + bytes(2), b"II*\0" + (4).to_bytes(4, "little")):
        data = encode("PNG", exif=b"Exif\0\0" + block)
        assert tuple(look(put(tmp_path, data))) == tuple(measure(data)) == (*SIZE, 1)


def test_a_pipe_and_a_socket_do_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jpg")
    assert refusal(tmp_path / "a.jpg") == "not a regular file"
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(tmp_path / "b.jpg"))
        with pytest.raises(OSError, match="No such device") as caught:
            look(tmp_path / "b.jpg")
    assert caught.value.errno == errno.ENXIO


def test_an_error_of_reading_is_told_as_that_though_pillow_met_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = FILES["tiff"]
    opened = os.open(put(tmp_path, data), os.O_WRONLY)  # a descriptor that cannot be read
    status = os.fstat(opened)
    heads = iter([data[:100]])
    real = os.pread

    def pread(descriptor: int, length: int, offset: int) -> bytes:
        return next(heads, None) or real(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", pread)
    with pytest.raises(OSError, match="Bad file descriptor"):
        read_open_header(opened, status)
    os.close(opened)
    assert stat.S_ISREG(status.st_mode)
