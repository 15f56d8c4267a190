import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.formats import SNIFF_BYTES, MediaFormat, name_format, sniff, sniff_many

HEADS = {
    b"\xff\xd8\xff\xe0\x00\x10JFIF": MediaFormat.JPEG,
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\r": MediaFormat.PNG,
    b"RIFF\x24\x00\x00\x00WEBPVP8 ": MediaFormat.WEBP,
    b"RIFF\x24\x00\x00\x00WAVEfmt ": MediaFormat.UNKNOWN,
    b"GIF89a\x01\x00\x01\x00\x80\x00": MediaFormat.GIF,
    b"GIF87a\x01\x00\x01\x00\x80\x00": MediaFormat.GIF,
    b"II*\x00\x08\x00\x00\x00\x00\x00\x00\x00": MediaFormat.TIFF,
    b"MM\x00*\x00\x00\x00\x08\x00\x00\x00\x00": MediaFormat.TIFF,
    b"BM\x46\x00\x00\x00\x00\x00\x00\x00\x36\x00": MediaFormat.BMP,
    b"<svg xmlns=": MediaFormat.UNKNOWN,
    b"\xff\xd8": MediaFormat.UNKNOWN,
    b"": MediaFormat.UNKNOWN,
}


@pytest.mark.parametrize(("head", "kind"), HEADS.items())
def test_sniff(head: bytes, kind: MediaFormat) -> None:
    assert sniff(head) is kind


@given(st.lists(st.sampled_from(sorted(HEADS)) | st.binary(max_size=SNIFF_BYTES), max_size=20))
def test_many_at_once_agree_with_one_by_one(heads: list[bytes]) -> None:
    table = np.zeros((len(heads), SNIFF_BYTES), np.uint8)
    for i, head in enumerate(heads):
        table[i, : len(head[:SNIFF_BYTES])] = np.frombuffer(head[:SNIFF_BYTES], np.uint8)
    padded = [bytes(row) for row in table]
    assert [MediaFormat(code) for code in sniff_many(table)] == [sniff(head) for head in padded]


def test_every_format_has_its_own_extension() -> None:
    assert len({kind.extension for kind in MediaFormat}) == len(MediaFormat)


@pytest.mark.parametrize(
    ("extension", "kind"),
    [
        ("jpg", MediaFormat.JPEG),
        ("JPEG", MediaFormat.JPEG),
        ("png", MediaFormat.PNG),
        ("TIFF", MediaFormat.TIFF),
        ("tif", MediaFormat.TIFF),
        ("bin", MediaFormat.UNKNOWN),
        ("", MediaFormat.UNKNOWN),
    ],
)
def test_what_an_extension_stands_for(extension: str, kind: MediaFormat) -> None:
    assert name_format(extension) is kind
