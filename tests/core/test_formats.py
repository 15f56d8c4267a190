import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.formats import SNIFF_BYTES, ImageFormat, name_format, sniff, sniff_many

HEADS = {
    b"\xff\xd8\xff\xe0\x00\x10JFIF": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\r": ImageFormat.PNG,
    b"RIFF\x24\x00\x00\x00WEBPVP8 ": ImageFormat.WEBP,
    b"RIFF\x24\x00\x00\x00WAVEfmt ": ImageFormat.UNKNOWN,
    b"GIF89a\x01\x00\x01\x00\x80\x00": ImageFormat.GIF,
    b"GIF87a\x01\x00\x01\x00\x80\x00": ImageFormat.GIF,
    b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00": ImageFormat.TIFF,
    b"MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00": ImageFormat.TIFF,
    b"BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00": ImageFormat.BMP,
    b"<svg xmlns=": ImageFormat.UNKNOWN,
    b"\xff\xd8": ImageFormat.UNKNOWN,
    b"": ImageFormat.UNKNOWN,
}


@pytest.mark.parametrize(("head", "kind"), HEADS.items())
def test_sniff(head: bytes, kind: ImageFormat) -> None:
    assert sniff(head) is kind


@given(st.lists(st.sampled_from(sorted(HEADS)) | st.binary(max_size=SNIFF_BYTES), max_size=20))
def test_many_at_once_agree_with_one_by_one(heads: list[bytes]) -> None:
    table = np.zeros((len(heads), SNIFF_BYTES), np.uint8)
    for i, head in enumerate(heads):
        table[i, : len(head[:SNIFF_BYTES])] = np.frombuffer(head[:SNIFF_BYTES], np.uint8)
    padded = [bytes(row) for row in table]
    assert [ImageFormat(code) for code in sniff_many(table)] == [sniff(head) for head in padded]


def test_every_format_has_its_own_extension() -> None:
    assert len({kind.extension for kind in ImageFormat}) == len(ImageFormat)


@pytest.mark.parametrize(
    ("extension", "kind"),
    [
        ("jpg", ImageFormat.JPEG),
        ("JPEG", ImageFormat.JPEG),
        ("png", ImageFormat.PNG),
        ("TIFF", ImageFormat.TIFF),
        ("tif", ImageFormat.TIFF),
        ("bin", ImageFormat.UNKNOWN),
        ("", ImageFormat.UNKNOWN),
    ],
)
def test_what_an_extension_stands_for(extension: str, kind: ImageFormat) -> None:
    assert name_format(extension) is kind
