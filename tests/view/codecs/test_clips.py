"""What headers tell of videos and sounds, beside what ffprobe counts; and hostile bytes."""

from __future__ import annotations

import io
import json
import math
import socket
import struct
import subprocess
import wave
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.core.formats import FORMATS, MediaFormat, sniff
from hffs.errors import OutageError, RenderError, StaleError
from hffs.view.codecs.clips import DEMUXERS, MOST_READ_BYTES, Probe, probe
from hffs.view.codecs.ranges import RangeFile
from tests.clips import Clip, Sound, encode_clip, encode_sound, tell_format

VIDEO_KINDS = ("mp4", "mov", "mkv", "webm", "avi", "mpeg", "flv", "wmv")
SOUND_KINDS = ("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "aiff")


class Counted(RangeFile):
    """A file in memory that counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        part = super().read(size)
        self.taken += len(part)
        return part


def probe_bytes(data: bytes, kind: MediaFormat | None = None) -> Probe:
    kind = kind or sniff(data, "video") or sniff(data, "audio")
    return probe(RangeFile.over(data), kind)


@pytest.mark.parametrize("kind", VIDEO_KINDS)
@pytest.mark.parametrize("tone", [False, True])
def test_what_a_video_is_made_of_is_told(kind: str, tone: bool) -> None:
    tone = tone and kind in {"mp4", "mov", "mkv", "webm"}
    noise = kind == "mpeg"  # small frames have no time stamp each
    found = probe_bytes(encode_clip(Clip(kind, 64, 48, 50, 25, tone=tone, noise=noise)))
    assert (found.width, found.height) == (64, 48)
    assert 50 - (kind == "mpeg") <= found.frames <= 50
    assert found.duration_s == pytest.approx(2, abs=0.05)
    assert found.fps == pytest.approx(25, abs=0.01)
    assert found.video_codec
    sound = (found.sample_rate, found.channels, found.audio_codec)
    assert sound == ((48_000, 1, "opus" if kind == "webm" else "aac") if tone else (0, 0, ""))


@pytest.mark.parametrize("kind", SOUND_KINDS)
def test_what_a_sound_is_made_of_is_told(kind: str) -> None:
    data = encode_sound(Sound(kind, 48_000, 2, 3.0))
    found = probe_bytes(data, sniff(data, "audio"))
    assert (found.sample_rate, found.channels) == (48_000, 2)
    # A codec adds silence, of a bare AAC the length is estimated.
    assert found.duration_s == pytest.approx(3, abs=0.35 if kind == "aac" else 0.06)
    assert (found.width, found.height, found.frames, found.fps) == (0, 0, 0, 0)
    assert found.video_codec == ""
    assert found.audio_codec in {"vorbis", "pcm_s16le", "pcm_s16be", "aac", kind}


@pytest.mark.parametrize("fps", [Fraction(24000, 1001), Fraction(30000, 1001), 60, 12])
def test_rates_are_told_exactly(fps: Fraction | int) -> None:
    found = probe_bytes(encode_clip(Clip("mp4", frames=37, fps=fps)))
    assert (found.frames, found.fps) == (37, float(fps))


@pytest.mark.parametrize("flags", ["frag_keyframe+empty_moov", "frag_every_frame", "faststart"])
def test_a_video_in_fragments_is_counted(flags: str) -> None:
    found = probe_bytes(encode_clip(Clip("mp4", frames=40, fps=20, options=(("movflags", flags),))))
    assert found.frames == 40
    assert found.duration_s == pytest.approx(2, abs=0.06)


def test_a_video_that_tells_no_rate_is_looked_into() -> None:
    data = encode_clip(Clip("mkv", frames=50, fps=25))
    told = data.index(b"\x23\xe3\x83")  # DefaultDuration: as long an element that says nothing
    length = 4 + (data[told + 3] & 0x7F)
    found = probe_bytes(data[:told] + b"\xec" + bytes([0x80 | length - 2]) + bytes(length - 2)
                        + data[told + length :])  # fmt: skip
    assert found.fps == pytest.approx(25, abs=0.1)
    assert found.frames == 50


def test_a_sound_among_videos_and_a_video_among_sounds() -> None:
    silent = encode_clip(Clip("mp4"))
    with pytest.raises(RenderError, match="it has no sound"):
        probe_bytes(silent, MediaFormat.M4A)
    with pytest.raises(RenderError, match="it has no picture"):
        probe_bytes(encode_sound(Sound("m4a")), MediaFormat.MP4)
    both = probe_bytes(encode_clip(Clip("mp4", tone=True)), MediaFormat.M4A)
    assert (both.width, both.frames, both.video_codec, both.audio_codec) == (0, 0, "", "aac")


# What of the frames that ffprobe decodes a container does not count, or counts twice.
OFF = {
    "movie-hello.avi": 1,  # an empty chunk is counted
    "movie-hello.mp4": 1,  # one lies before its edit list begins
    "movie-hello.ogg": 7,  # of repeated frames Ogg has no bytes
}


def test_frames_of_real_videos_agree_with_ffprobe(clips: dict[str, Path]) -> None:
    for name, path in clips.items():
        asked = "stream=width,height,nb_read_frames:format=duration"
        done = subprocess.run(
            ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_frames",
             "-show_entries", asked, "-of", "json", path],
            capture_output=True, check=True,
        )  # fmt: skip
        told = json.loads(done.stdout)
        (stream,), lasts = told["streams"], float(told["format"]["duration"])
        found = probe(RangeFile.over(path.read_bytes()), tell_format(path))
        assert (found.width, found.height) == (stream["width"], stream["height"])
        assert abs(found.frames - int(stream["nb_read_frames"])) == OFF.get(name, 0), name
        assert found.duration_s == pytest.approx(lasts, abs=0.1)


def test_real_sounds_last_as_long_in_each_format(recordings: dict[str, Path]) -> None:
    probes = {
        name: probe(RangeFile.over(path.read_bytes()), tell_format(path))
        for name, path in recordings.items()
    }
    for name in ("debian", "deleted"):
        lasts = probes[f"{name}.wav"].duration_s
        assert probes[f"{name}.mp3"].duration_s == pytest.approx(lasts, abs=0.06)
        assert probes[f"{name}.ogg"].duration_s == pytest.approx(lasts, abs=0.06)
    assert all(found.duration_s > 0.2 and found.sample_rate for found in probes.values())


@pytest.fixture(scope="module")
def large() -> dict[str, bytes]:
    """Files of about 16 MB."""
    mp4 = Clip("mp4", width=320, height=180, frames=180, noise=True)
    front = replace(mp4, options=(("movflags", "faststart"),))
    wav, length = io.BytesIO(), 8_000_000
    with wave.open(wav, "wb") as made:
        made.setparams((2, 2, 48_000, 0, "NONE", ""))
        made.writeframes(np.random.default_rng(0).bytes(2 * length))
    mp3, flac = encode_sound(Sound("mp3", 48_000)), encode_sound(Sound("flac", 48_000))
    return {
        "mp4, its index behind": encode_clip(mp4),
        "mp4, its index in front": encode_clip(front),
        "mkv": encode_clip(replace(mp4, kind="mkv")),
        "wav": wav.getvalue(),
        "flac": flac + flac[8192:] * 1_300,
        "mp3": mp3 + mp3[1024:] * 1_150,
    }


MOST_READ = {
    "mp4, its index behind": 260_000, "mp4, its index in front": 260_000, "mkv": 260_000,
    "wav": 170_000, "flac": 200_000, "mp3": 100_000,
}  # fmt: skip


@pytest.mark.parametrize("name", list(MOST_READ))
def test_of_a_large_file_the_header_is_read(large: dict[str, bytes], name: str) -> None:
    data = large[name]
    assert len(data) > 14_000_000
    file = Counted.over(data)
    found = probe(file, sniff(data, "video") or sniff(data, "audio"))
    assert found.sample_rate == 48_000 or found.frames == 180
    assert file.taken <= MOST_READ[name]


def test_a_header_that_leads_on_and_on_is_left() -> None:
    start = encode_clip(Clip("mpeg", fps=25))[:64]

    def read(at: int, stop: int) -> bytes:
        return (start[at:stop] if at < len(start) else b"").ljust(stop - at, b"\0")

    file = Counted(1 << 50, read)
    with pytest.raises(RenderError):
        probe(file, MediaFormat.MPEG)
    assert file.taken <= 2 * MOST_READ_BYTES + 2**20


@pytest.mark.parametrize("kind", [*FORMATS["video"], *FORMATS["audio"]])
def test_nothing_that_a_file_names_is_opened(kind: MediaFormat, tmp_path: Path) -> None:
    assert kind in DEMUXERS
    other = tmp_path / "other.mp4"
    other.write_bytes(encode_clip(Clip()))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/x.ts"
        for text in (
            f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{address}\n#EXT-X-ENDLIST\n",
            f"#EXTM3U\n#EXTINF:9,\n{other}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{other}'\n",
            f'<?xml version="1.0"?><MPD><BaseURL>{address}</BaseURL></MPD>',
            f"v=0\nc=IN IP4 127.0.0.1\nm=video {server.getsockname()[1]} RTP/AVP 96\n",
        ):
            try:
                found = probe_bytes(text.encode(), kind)
            except RenderError:
                continue
            assert not found.width
        with pytest.raises(BlockingIOError):
            server.accept()


NUMBERS = [math.nan, math.inf, -math.inf, -5.0, 0.0, 1e300, 1e18]


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("name", [b"duration", b"framerate", b"width", b"height"])
def test_numbers_that_cannot_be_are_not_known(name: bytes, number: float) -> None:
    data = bytearray(encode_clip(Clip("flv", frames=50, fps=25)))
    at = data.index(name + b"\0") + len(name) + 1
    data[at : at + 8] = struct.pack(">d", number)
    found = probe_bytes(bytes(data))
    _check_bounds(found)
    assert found.duration_s in {0, 2} or found.duration_s == pytest.approx(2, abs=0.1)


def _check_bounds(found: Probe) -> None:
    assert 0 <= found.width <= 2**16
    assert 0 <= found.height <= 2**16
    assert 0 <= found.frames < 2**31
    assert 0 <= found.duration_s <= 1e7
    assert 0 <= found.fps < 1000
    assert 0 <= found.sample_rate < 2**31
    assert 0 <= found.channels < 256


DAMAGED = [
    *(encode_clip(Clip(kind, fps=25, tone=kind in {"mp4", "webm"})) for kind in VIDEO_KINDS),
    *(encode_sound(Sound(kind, seconds=0.2)) for kind in SOUND_KINDS),
]


@settings(max_examples=300)
@given(
    number=st.integers(0, len(DAMAGED) - 1),
    edits=st.lists(st.tuples(st.integers(0, 4000), st.binary(min_size=1, max_size=8)), max_size=6),
    cut=st.floats(0, 1),
)
def test_damaged_files_are_told_or_refused(
    number: int, edits: list[tuple[int, bytes]], cut: float
) -> None:
    whole = DAMAGED[number]
    kind = sniff(whole, "video") or sniff(whole, "audio")
    data = bytearray(whole[: int(len(whole) * cut)])
    for at, part in edits:
        data[at % max(len(data), 1) :][: len(part)] = part
        at %= max(len(data), 1)
        data[at : at + len(part)] = part
    try:
        found = probe_bytes(bytes(data), kind)
    except RenderError:
        return
    _check_bounds(found)


@pytest.mark.parametrize("fails_at", [0, 1, 2])
@pytest.mark.parametrize(
    "error", [OutageError("cannot fetch", "a"), StaleError("cannot read", "b")]
)
def test_what_the_source_fails_with_is_raised_and_then_forgotten(
    fails_at: int, error: Exception
) -> None:
    data, reads = encode_sound(Sound("wav", 48_000, 2, 4.0)), 0

    def read(start: int, stop: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads > fails_at:
            raise error
        return data[start:stop]

    with pytest.raises(type(error)) as caught:
        probe(RangeFile(len(data), read), MediaFormat.WAV)
    assert caught.value is not error
    assert probe_bytes(data).sample_rate == 48_000


def test_what_is_in_no_known_format_is_refused() -> None:
    for kind in (MediaFormat.UNKNOWN, MediaFormat.JPEG):
        with pytest.raises(RenderError, match="cannot read: it is in no known format"):
            probe(RangeFile.over(b"abc"), kind)
    for kind in DEMUXERS:
        with pytest.raises(RenderError):
            probe(RangeFile.over(b""), kind)


def test_regression_an_mpeg_without_a_program_stream_is_read() -> None:
    data = encode_clip(Clip("m1v", 64, 48, frames=50, fps=25))
    found = probe_bytes(data, MediaFormat.MPEG)
    assert (found.width, found.height, found.fps) == (64, 48, 25)
