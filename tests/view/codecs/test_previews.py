"""Previews, as another reader takes them apart; that browsers play them is seen on pages."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from hffs.core.formats import MediaFormat, sniff
from hffs.errors import OutageError, RenderError
from hffs.view.codecs.clips import probe
from hffs.view.codecs.previews import POSTER_PX, Preview, make_preview
from hffs.view.codecs.ranges import RangeFile
from tests.clips import Clip, Sound, encode_clip, encode_sound, tell_format

MOST = 3_000_000

WHOLE = [
    ("mp4", "video/mp4"), ("webm", "video/webm"), ("wav", "audio/wav"), ("flac", "audio/flac"),
    ("mp3", "audio/mpeg"), ("ogg", "audio/ogg"), ("opus", "audio/ogg"), ("m4a", "audio/mp4"),
    ("aac", "audio/aac"),
]  # fmt: skip


def _encode(kind: str, lasts: int = 1) -> tuple[bytes, MediaFormat]:
    if kind in {"mp4", "mov", "mkv", "webm", "avi", "mpeg", "flv", "wmv"}:
        data = encode_clip(Clip(kind, 400, 300, frames=25 * lasts, fps=25))
        return data, sniff(data, "video")
    data = encode_sound(Sound(kind, 48_000, 2, float(lasts)))
    return data, sniff(data, "audio")


def _preview(data: bytes, kind: MediaFormat, most: int = MOST) -> Preview:
    return make_preview(RangeFile.over(data), kind, most)


@pytest.mark.parametrize(("kind", "media_type"), WHOLE)
def test_a_small_file_is_its_own_preview(kind: str, media_type: str) -> None:
    data, known = _encode(kind)
    preview = _preview(data, known)
    assert (preview.media_type, preview.data) == (media_type, data)
    assert bool(preview.poster) == (known.media == "video")


@pytest.mark.parametrize("kind", [*(kind for kind, _ in WHOLE if kind != "m4a"), "mov", "mkv"])
def test_of_a_large_file_the_beginning_is_taken(kind: str) -> None:
    data, known = _encode(kind, lasts=20)
    most = len(data) // 2
    preview = _preview(data, known, most)
    assert most // 4 < len(preview.data) <= most
    media_type = preview.media_type.partition("/")[0]
    again = sniff(preview.data, "video" if media_type == "video" else "audio")
    whole, part = probe(RangeFile.over(data), known), probe(RangeFile.over(preview.data), again)
    assert (part.video_codec, part.audio_codec) == (whole.video_codec, whole.audio_codec)
    assert (part.width, part.height) == (whole.width, whole.height)
    assert (part.sample_rate, part.channels) == (whole.sample_rate, whole.channels)
    if kind != "webm":  # which only a player that seeks finds the length of
        assert 2 < part.duration_s < 0.8 * whole.duration_s


@pytest.mark.parametrize("kind", ["avi", "mpeg", "flv", "wmv"])
def test_of_what_no_browser_plays_there_is_a_picture(kind: str) -> None:
    preview = _preview(*_encode(kind))
    assert (preview.media_type, preview.data) == ("", b"")
    with Image.open(io.BytesIO(preview.poster)) as image:
        assert (image.format, image.size) == ("JPEG", (POSTER_PX, POSTER_PX * 3 // 4))


@pytest.mark.parametrize(
    ("rotation", "turned"), [(0, False), (-90, True), (180, False), (90, True)]
)
def test_a_picture_is_turned_as_players_turn_the_video(rotation: int, turned: bool) -> None:
    data = encode_clip(Clip("mp4", 64, 48, rotation=rotation))
    with Image.open(io.BytesIO(_preview(data, MediaFormat.MP4).poster)) as image:
        assert image.size == ((48, 64) if turned else (64, 48))
        # Grey grows to the right and down; turned, its dark corner is elsewhere.
        corners = {0: (0, 0), -90: (-1, 0), 180: (-1, -1), 90: (0, -1)}
        x, y = corners[rotation]
        dark = image.convert("L").getpixel((x % image.width, y % image.height))
    assert isinstance(dark, int | float)
    assert dark < 40


def test_what_is_left_of_a_damaged_video_is_shown() -> None:
    data, known = _encode("mp4")
    at = data.index(b"mdat") + 8
    broken = data[:at] + bytes(len(data[at : data.index(b"moov")])) + data[data.index(b"moov") :]
    preview = _preview(broken, known)
    assert preview.poster == b""
    assert preview.data == broken


def test_where_there_is_nothing_to_show_it_is_said() -> None:
    for data, known in (_encode("aiff"), (b"RIFF", MediaFormat.WAV), (b"", MediaFormat.MP4)):
        with pytest.raises(RenderError):
            _preview(data, known)
    with pytest.raises(RenderError, match="no browser plays what is in it"):
        _preview(*_encode("aiff"))


def test_real_videos_and_sounds_have_previews(
    clips: dict[str, Path], recordings: dict[str, Path]
) -> None:
    silent = {"movie-hello.mpeg", "movie-hello.ogg"}  # MPEG-2 and Theora
    for name, path in (clips | recordings).items():
        preview = _preview(path.read_bytes(), tell_format(path), 500_000)
        assert bool(preview.data) == (name not in silent), name
        assert len(preview.data) <= 500_000
        if name in clips:
            with Image.open(io.BytesIO(preview.poster)) as image:
                assert max(image.size) <= POSTER_PX


def test_what_the_source_fails_with_is_raised() -> None:
    data, known = _encode("mp4")

    def read(start: int, stop: int) -> bytes:
        raise OutageError("cannot fetch")

    with pytest.raises(OutageError):
        make_preview(RangeFile(len(data), read), known, MOST)


@settings(max_examples=100)
@given(
    kind=st.sampled_from([*(kind for kind, _ in WHOLE), "mkv", "avi", "flv", "wmv", "mpeg"]),
    edits=st.lists(
        st.tuples(st.integers(0, 20_000), st.binary(min_size=1, max_size=8)), max_size=6
    ),
    most=st.integers(0, 40_000),
)
def test_damaged_files_have_previews_or_are_refused(
    kind: str, edits: list[tuple[int, bytes]], most: int
) -> None:
    whole, known = _encode(kind)
    data = bytearray(whole)
    for at, part in edits:
        at %= len(data)
        data[at : at + len(part)] = part
    try:
        preview = _preview(bytes(data), known, most)
    except RenderError:
        return
    assert len(preview.data) <= most
    assert bool(preview.data) == bool(preview.media_type)
