import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.formats import (
    EXTENSIONS,
    FORMATS,
    SNIFF_BYTES,
    Media,
    MediaFormat,
    count_sniffed,
    find_media,
    list_extensions,
    name_format,
    sniff,
    sniff_many,
)

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


OGG = b"OggS\x00\x02" + bytes(22)
EBML = b"\x1a\x45\xdf\xa3\x9fB\x86\x81\x01B\xf7\x81\x01B\xf2\x81\x04B\xf3\x81\x08B\x82\x84"
BEGINNINGS: list[tuple[bytes, MediaFormat, MediaFormat]] = [
    # bytes, what they are among videos, what among sounds
    (b"\0\0\0\x20ftypisom\0\0\2\0", MediaFormat.MP4, MediaFormat.M4A),
    (b"\0\0\0\x20ftypM4A \0\0\2\0", MediaFormat.MP4, MediaFormat.M4A),
    (b"\0\0\0\x14ftypqt  \0\0\2\0", MediaFormat.MOV, MediaFormat.M4A),
    (b"\0\0\0\x08wide\0\0\2\0mdat", MediaFormat.MOV, MediaFormat.UNKNOWN),
    (b"RIFF\x24\0\0\0AVI LIST", MediaFormat.AVI, MediaFormat.UNKNOWN),
    (b"RIFF\x24\0\0\0WAVEfmt ", MediaFormat.UNKNOWN, MediaFormat.WAV),
    (b"RF64\xff\xff\xff\xffWAVEds64", MediaFormat.UNKNOWN, MediaFormat.WAV),
    (b"\0\0\1\xba\x21\0\1\0", MediaFormat.MPEG, MediaFormat.UNKNOWN),
    (b"\0\0\1\xb3\x16\0\xf0\xc4", MediaFormat.MPEG, MediaFormat.UNKNOWN),
    (b"FLV\1\5\0\0\0\x09", MediaFormat.FLV, MediaFormat.UNKNOWN),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), MediaFormat.WMV, MediaFormat.UNKNOWN),
    (OGG + b"\x80theora\3", MediaFormat.OGV, MediaFormat.OGG),
    (OGG + b"\1vorbis\0", MediaFormat.UNKNOWN, MediaFormat.OGG),
    (OGG + b"OpusHead\1", MediaFormat.UNKNOWN, MediaFormat.OPUS),
    (EBML + b"webm\x42\x87", MediaFormat.WEBM, MediaFormat.WEBA),
    (EBML + b"matroska", MediaFormat.MKV, MediaFormat.UNKNOWN),
    (b"fLaC\0\0\0\x22", MediaFormat.UNKNOWN, MediaFormat.FLAC),
    (b"ID3\4\0\0\0\0\0\x23", MediaFormat.UNKNOWN, MediaFormat.MP3),
    (b"\xff\xfb\x90\x64", MediaFormat.UNKNOWN, MediaFormat.MP3),
    (b"\xff\xf3\x40\xc0", MediaFormat.UNKNOWN, MediaFormat.MP3),
    (b"\xff\xfb\xf0\x64", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"\xff\xfb\x9c\x64", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"\xff\xeb\x90\x64", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"\xff\xfd\x90\x64", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"\xff\xf1\x50\x80", MediaFormat.UNKNOWN, MediaFormat.AAC),
    (b"\xff\xfb", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"FORM\0\0\0\0AIFFCOMM", MediaFormat.UNKNOWN, MediaFormat.AIFF),
    (b"FORM\0\0\0\0AIFCFVER", MediaFormat.UNKNOWN, MediaFormat.AIFF),
    (b"\xff\xd8\xff\xe0\x00\x10JFIF", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"#EXTM3U\n/etc/passwd", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"ffconcat version 1.0", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
    (b"", MediaFormat.UNKNOWN, MediaFormat.UNKNOWN),
]


@pytest.mark.parametrize(("head", "video", "audio"), BEGINNINGS)
def test_videos_and_sounds(head: bytes, video: MediaFormat, audio: MediaFormat) -> None:
    assert (sniff(head, "video"), sniff(head, "audio")) == (video, audio)
    assert sniff(head + bytes(200), "video") is video


@pytest.mark.parametrize("media", ["image", "video", "audio"])
@given(heads=st.lists(st.sampled_from([h for h, _, _ in BEGINNINGS]) | st.binary(max_size=120)))
def test_many_of_a_medium_agree_with_one_by_one(media: Media, heads: list[bytes]) -> None:
    count = count_sniffed(media)
    padded = [head[:count].ljust(count, b"\0") for head in heads]
    table = np.frombuffer(b"".join(padded), np.uint8).reshape(-1, count)
    found = [MediaFormat(code) for code in sniff_many(table, media)]
    assert found == [sniff(head, media) for head in padded]
    assert all(kind is MediaFormat.UNKNOWN or kind in FORMATS[media] for kind in found)


def test_every_format_is_of_one_medium_and_has_an_extension() -> None:
    assert sorted(kind for kinds in FORMATS.values() for kind in kinds) == list(MediaFormat)[1:]
    assert {kind.extension for kind in MediaFormat} == EXTENSIONS
    for media, kinds in FORMATS.items():
        assert all(name_format(kind.extension, media) is kind for kind in kinds)


@pytest.mark.parametrize(
    ("extension", "media", "kind"),
    [
        ("MP4", "video", MediaFormat.MP4),
        ("m4v", "video", MediaFormat.MP4),
        ("qt", "video", MediaFormat.MOV),
        ("mp4", "audio", MediaFormat.M4A),
        ("webm", "audio", MediaFormat.WEBA),
        ("oga", "audio", MediaFormat.OGG),
        ("wav", "video", MediaFormat.UNKNOWN),
        ("mp4", "image", MediaFormat.UNKNOWN),
        ("jpg", "video", MediaFormat.UNKNOWN),
    ],
)
def test_an_extension_means_something_in_one_medium(
    extension: str, media: Media, kind: MediaFormat
) -> None:
    assert name_format(extension, media) is kind


@pytest.mark.parametrize(
    ("extension", "media"),
    [("jpg", "image"), ("mp4", "video"), ("opus", "audio"), ("txt", None), ("bin", None)],
)
def test_an_extension_of_a_view_tells_its_medium(extension: str, media: Media | None) -> None:
    assert find_media(extension) == media


def test_extensions_are_those_of_a_medium() -> None:
    assert {"jpg", "jpeg", "tif"} <= list_extensions("image")
    assert not list_extensions("image") & list_extensions("audio")
