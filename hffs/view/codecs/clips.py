"""What the header of a video or a sound tells: FFmpeg reads it, and the first packets if it has to.

Owns how FFmpeg may be used on data that nobody vouches for, and `probe`. Must not know what a view
keeps. Invariants: the demuxer is the one of the format that the bytes began with, never FFmpeg's
guess, and it opens no other file and no address, so that no playlist or reference leads anywhere;
`MOST_READ_BYTES` are read of a file at most; every failure on bad data is a RenderError. Safe on
several threads at once; FFmpeg works without the interpreter's lock.
"""

from __future__ import annotations

import io
import math
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import NoReturn

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from hffs.core.formats import MediaFormat
from hffs.core.image_headers import MAX_PIXELS
from hffs.errors import HffsError, RenderError
from hffs.view.codecs.ranges import Seekable

MOST_READ_BYTES = 64 * 2**20
"""Read of one file at most: the index of a film of hours has a few, a header that leads in circles
any number.
"""

_TURNS = threading.BoundedSemaphore(8)
"""Containers that are open at a time: an index of a kilobyte can be written that FFmpeg unfolds to
a gigabyte, and there may be as many threads as a host has cores.
"""

_PROBE_BYTES = (512, 1 << 16, 5_000_000)
"""Read behind a header that does not tell all: next to nothing at first, which nearly always does
and takes FFmpeg a third of the time, then more, at last as much as FFmpeg itself would read.
"""

_ANALYZED_US = 5_000_000
_BUFFER_BYTES = 1 << 15

DEMUXERS = {
    MediaFormat.MP4: "mov", MediaFormat.MOV: "mov", MediaFormat.M4A: "mov",
    MediaFormat.MKV: "matroska", MediaFormat.WEBM: "matroska", MediaFormat.WEBA: "matroska",
    MediaFormat.AVI: "avi", MediaFormat.MPEG: "mpeg", MediaFormat.FLV: "flv",
    MediaFormat.WMV: "asf", MediaFormat.OGV: "ogg", MediaFormat.OGG: "ogg",
    MediaFormat.OPUS: "ogg", MediaFormat.WAV: "wav", MediaFormat.FLAC: "flac",
    MediaFormat.MP3: "mp3", MediaFormat.AAC: "aac", MediaFormat.AIFF: "aiff",
}  # fmt: skip
"""FFmpeg's name of the demuxer of each format; of an MPEG that is no program stream another."""

_UNTOLD = {MediaFormat.MPEG, MediaFormat.AAC, MediaFormat.MP3, MediaFormat.WMV, MediaFormat.FLV}
"""Formats whose rates are found in their packets: a few of these would mislead."""

_ELEMENTARY_MPEG, _SEQUENCE_HEADER = "mpegvideo", b"\0\0\1\xb3"

_MOST_PX = 1 << 16
_MOST_FRAMES = 2**31 - 1
_MOST_SECONDS = 1e7
_MOST_FPS = 960
"""Above is no rate but the unit of time, which demuxers tell where there is none."""
_MOST_SAMPLE_RATE = 1 << 28
_MOST_CHANNELS = 255

_FRAMES_TAG = re.compile(r"NUMBER_OF_FRAMES(?:-eng)?", re.ASCII)
_DURATION_TAG = re.compile(r"DURATION(?:-eng)?", re.ASCII)
_COUNT = re.compile(r"(\d{1,10})\0*", re.ASCII)
_CLOCK = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)\0*", re.ASCII)

# What PyAV raises on bad data, beside FFmpeg's own errors, some of which are these as well. Not a
# broad except: an error in the rules themselves (AttributeError, NameError, ...) is not among them.
BAD_CLIP = (
    av.error.FFmpegError, ArithmeticError, ValueError, LookupError, MemoryError, RuntimeError,
    TypeError, OSError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Probe:
    """What a container's header tells; 0 or "" where it does not, or where no such number can be.

    `width` and `height` are in pixels, as stored: a phone's rotation is not applied. `frames` are
    those that the container counts (MP4 and QuickTime, AVI; Matroska where its writer left a tag),
    else `duration_s` times `fps`, rounded: of WebM, FLV, MPEG, WMV and Ogg, one or two off where
    the rate varies or frames repeat, and of AVI empty frames count, too. `duration_s` is that of
    the video where there is one, else of the sound; of MPEG it ends with the last time stamp,
    behind which there may be some frames. Of AAC that has no container, and of MPEG that is no
    program stream, it is only estimated, by the bit rate of the beginning.
    """

    width: int = 0
    height: int = 0
    frames: int = 0
    duration_s: float = 0.0
    fps: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    video_codec: str = ""
    audio_codec: str = ""


class _Guarded(io.RawIOBase):
    """A file for FFmpeg: it ends where `most` bytes were read of it, or nothing more can be.

    What is raised inside FFmpeg's callbacks may come up later, in another call on the same thread,
    or never. So `failure` is remembered, for who called FFmpeg to look at.
    """

    def __init__(self, file: Seekable, most: int) -> None:
        self.failure: HffsError | None = None
        self._file, self._left = file, most

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        if self.failure is not None or size is None:
            return b""
        if self._left <= 0:
            self.failure = RenderError("cannot read", why="its header leads on and on")
            return b""
        try:
            part = self._file.read(size)
        except HffsError as error:
            self.failure = error.anew()
            return b""
        self._left -= max(len(part), 1)
        return part

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        if whence == io.SEEK_END:  # FFmpeg looks for the size by the last byte, also of nothing
            size = self._file.seek(0, io.SEEK_END)
            offset, whence = max(size + offset, 0), io.SEEK_SET
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()


@contextmanager
def open_clip(
    file: Seekable, kind: MediaFormat, most_bytes: int = MOST_READ_BYTES, probe_bytes: int = 0
) -> Iterator[InputContainer]:
    """Open a container, of which `most_bytes` may be read; RenderError for bad data within too.

    What `file` raises (it is away, it changed) is raised anew.
    """
    av.logging.set_level(None)
    guarded = _Guarded(file, most_bytes)
    guarded.seek(0)
    try:
        with (
            _TURNS,
            av.open(
                guarded,
                "r",
                format=_name_demuxer(file, kind),
                options=_limit(probe_bytes or _PROBE_BYTES[-1]),
                metadata_errors="replace",
                buffer_size=_BUFFER_BYTES,
                io_open=_refuse,
            ) as container,
        ):
            yield container
    except BAD_CLIP as error:
        if guarded.failure is None:
            raise RenderError("cannot read", why=explain(error)) from error
    if guarded.failure is not None:
        raise guarded.failure


def _name_demuxer(file: Seekable, kind: MediaFormat) -> str:
    if kind not in DEMUXERS:
        raise RenderError("cannot read", why="it is in no known format")
    if kind is MediaFormat.MPEG:
        file.seek(0)
        if file.read(4) == _SEQUENCE_HEADER:
            return _ELEMENTARY_MPEG
    return DEMUXERS[kind]


def _limit(probe_bytes: int) -> dict[str, str]:
    return {
        "probesize": str(probe_bytes),
        "analyzeduration": str(_ANALYZED_US),
        "max_pixels": str(MAX_PIXELS),
        "max_streams": "64",
        "protocol_whitelist": "none",
    }


def _refuse(url: str, flags: int, options: object) -> NoReturn:
    """Stand in for FFmpeg's own way to open what a container names."""
    raise PermissionError(f"a container names another file: {url[:100]}")


def probe(file: Seekable, kind: MediaFormat) -> Probe:
    """What the header tells of a file in a format; RenderError where it cannot be read.

    A few tens of KB are read, wherever in the file the header is, and often the first picture; of
    MPEG a few hundred.
    """
    found = Probe()
    for probe_bytes in _PROBE_BYTES[1:] if kind in _UNTOLD else _PROBE_BYTES:
        with open_clip(file, kind, probe_bytes=probe_bytes) as container:
            found = _describe(container, kind, may_guess=probe_bytes > _PROBE_BYTES[0])
        if _is_complete(found, kind):
            break
    if found == Probe(video_codec=found.video_codec, audio_codec=found.audio_codec):
        raise RenderError("cannot read", why="its header tells nothing")
    return found


def _is_complete(found: Probe, kind: MediaFormat) -> bool:
    if found.audio_codec and not found.sample_rate:
        return False
    return kind.media == "audio" or bool(found.width and found.height and found.fps)


def _describe(container: InputContainer, kind: MediaFormat, *, may_guess: bool) -> Probe:
    video = find_video(container) if kind.media == "video" else None
    audio = next(iter(container.streams.audio), None)
    if video is None and (audio is None or kind.media == "video"):
        raise ValueError(f"it has no {'sound' if kind.media == 'audio' else 'picture'}")
    sound = _describe_audio(audio) if audio is not None else Probe()
    if video is None:
        duration = _tell_duration(container, audio)
        return Probe(
            duration_s=duration, sample_rate=sound.sample_rate, channels=sound.channels,
            audio_codec=sound.audio_codec,
        )  # fmt: skip
    seen, rate, duration = (
        _describe_video(video),
        _tell_rate(video, may_guess=may_guess),
        _tell_duration(container, video),
    )
    return Probe(
        width=seen.width, height=seen.height, frames=_count_frames(video, duration, rate),
        duration_s=duration, fps=rate, sample_rate=sound.sample_rate, channels=sound.channels,
        video_codec=seen.video_codec, audio_codec=sound.audio_codec,
    )  # fmt: skip


def find_video(container: InputContainer) -> VideoStream | None:
    """The first video of a container that is not the picture of a cover."""
    covers = Disposition.attached_pic | Disposition.still_image
    streams = container.streams.video
    return next((stream for stream in streams if not stream.disposition & covers), None)


def name_codec(stream: Stream | None) -> str:
    """What FFmpeg calls the codec of a stream; empty where it knows none."""
    context = None if stream is None else stream.codec_context
    return "" if context is None else context.codec.canonical_name


def _describe_video(stream: VideoStream) -> Probe:
    context = stream.codec_context
    if context is None:
        return Probe()
    width, height = (_within(side, _MOST_PX) for side in (context.width, context.height))
    return Probe(int(width), int(height), video_codec=name_codec(stream))


def _describe_audio(stream: AudioStream) -> Probe:
    context = stream.codec_context
    if context is None:
        return Probe()
    rate = int(_within(context.sample_rate, _MOST_SAMPLE_RATE))
    channels = int(_within(context.channels, _MOST_CHANNELS))
    return Probe(sample_rate=rate, channels=channels, audio_codec=name_codec(stream))


def _tell_rate(stream: VideoStream, *, may_guess: bool) -> float:
    """Frames a second as told, or by the time stamps of some packets: of one it would be wrong."""
    rates = (stream.average_rate, *((stream.guessed_rate, stream.base_rate) if may_guess else ()))
    return next((rate for rate in (_within(rate, _MOST_FPS) for rate in rates) if rate), 0.0)


def _tell_duration(container: InputContainer, stream: Stream | None) -> float:
    """Seconds of a stream, else of all."""
    told: list[float | Fraction | None] = []
    if stream is not None:
        # Matroska has durations of all streams together, and in a tag those of each.
        clock = _find_tag(stream, _DURATION_TAG, _CLOCK)
        if clock is not None:
            hours, minutes, seconds = clock.groups()
            told.append(int(hours) * 3600 + int(minutes) * 60 + float(seconds))
        if stream.duration is not None and stream.time_base is not None:
            told.append(stream.duration * stream.time_base)
    if container.duration is not None:
        told.append(container.duration / av.time_base)
    return next((known for known in (_within(each, _MOST_SECONDS) for each in told) if known), 0.0)


def _count_frames(stream: VideoStream, duration_s: float, fps: float) -> int:
    counted = _within(stream.frames, _MOST_FRAMES)
    tag = _find_tag(stream, _FRAMES_TAG, _COUNT)
    if not counted and tag is not None:
        counted = _within(int(tag[1]), _MOST_FRAMES)
    estimated = _within(round(duration_s * fps), _MOST_FRAMES)
    # The index of an MP4 in fragments counts those of the first one, if any.
    return int(counted if counted and estimated <= counted * 1.02 + 1 else estimated)


def _find_tag(stream: Stream, name: re.Pattern[str], form: re.Pattern[str]) -> re.Match[str] | None:
    texts = (text for key, text in stream.metadata.items() if name.fullmatch(key))
    return next(filter(None, map(form.fullmatch, texts)), None)


def _within(number: float | Fraction | None, most: float) -> float:
    """A number that is above 0 and at most that; else 0, also for NaN."""
    if number is None:
        return 0.0
    value = float(number)
    return value if math.isfinite(value) and 0 < value <= most else 0.0


def explain(error: BaseException) -> str:
    """Why a file was refused, in a few words."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__
