"""A little of a video or a sound for a person to look at on an HTML page.

Owns `make_preview`, and what browsers play. Must not be used for what a view serves. Invariant:
nothing is encoded but the poster; what is cut is cut between packets, so that what is played is
what the file holds.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from PIL import Image

from hffs.core.formats import MediaFormat
from hffs.core.image_headers import MAX_PIXELS
from hffs.errors import RenderError
from hffs.view.codecs.clips import MOST_READ_BYTES, find_video, name_codec, open_clip
from hffs.view.codecs.ranges import Seekable

POSTER_PX = 320
_QUALITY = 75
_POSTER_BYTES = 32 * 2**20
"""Read at most for a first picture: a key frame has a few MB at most, and may come late."""

_MOST_PACKETS = 2_000
_PACKET_BYTES, _CONTAINER_BYTES = 40, 8192
"""What a container takes for a packet, and at all, beside the packets' own bytes; at most."""

_PLAIN_PCM = {"pcm_u8", "pcm_s16le", "pcm_s24le", "pcm_s32le", "pcm_f32le"}


@dataclass(frozen=True, slots=True)
class _Wrapping:
    """A container that browsers play: FFmpeg's name of it, its media type, what may be in it."""

    muxer: str
    media_type: str
    video: frozenset[str]
    audio: frozenset[str]


_VIDEOS = (
    _Wrapping(
        "mp4", "video/mp4", frozenset({"h264", "hevc", "av1", "vp9"}),
        frozenset({"aac", "mp3", "opus", "flac"}),
    ),
    _Wrapping(
        "webm", "video/webm", frozenset({"vp8", "vp9", "av1"}), frozenset({"opus", "vorbis"})
    ),
)  # fmt: skip
_SOUNDS = (
    _Wrapping("mp3", "audio/mpeg", frozenset(), frozenset({"mp3"})),
    _Wrapping("ipod", "audio/mp4", frozenset(), frozenset({"aac"})),
    _Wrapping("mp4", "audio/mp4", frozenset(), frozenset({"flac"})),  # its own says how long all is
    _Wrapping("ogg", "audio/ogg", frozenset(), frozenset({"vorbis", "opus"})),
    _Wrapping("wav", "audio/wav", frozenset(), frozenset(_PLAIN_PCM)),
)

_WHOLE = {
    MediaFormat.MP4: "video/mp4", MediaFormat.WEBM: "video/webm", MediaFormat.WAV: "audio/wav",
    MediaFormat.FLAC: "audio/flac", MediaFormat.MP3: "audio/mpeg", MediaFormat.OGG: "audio/ogg",
    MediaFormat.OPUS: "audio/ogg", MediaFormat.M4A: "audio/mp4", MediaFormat.AAC: "audio/aac",
    MediaFormat.WEBA: "audio/webm",
}  # fmt: skip
"""Files that browsers play as they are, if their codecs are among those above."""


@dataclass(frozen=True, slots=True)
class Preview:
    """What a browser plays, of a media type; and a JPEG of the first picture, for a video.

    Either is empty where it cannot be had: `data` where no browser plays the codec, or the
    beginning is larger than was allowed.
    """

    media_type: str
    data: bytes
    poster: bytes


def make_preview(file: Seekable, kind: MediaFormat, most_bytes: int) -> Preview:
    """The file itself if it has at most `most_bytes`, else its beginning, and its first picture.

    RenderError where there is nothing to show.
    """
    media_type, data, poster = "", b"", b""
    problem = RenderError("cannot show", why="no browser plays what is in it")
    try:
        media_type, data = _make_playable(file, kind, most_bytes)
    except RenderError as error:
        problem = error
    if kind.media == "video":
        try:
            poster = _make_poster(file, kind)
        except RenderError as error:
            problem = error
    if not data and not poster:
        raise problem
    return Preview(media_type if data else "", data, poster)


def _make_playable(file: Seekable, kind: MediaFormat, most_bytes: int) -> tuple[str, bytes]:
    """Media type and bytes; no bytes where no browser plays any."""
    size = file.seek(0, io.SEEK_END)
    with open_clip(file, kind, MOST_READ_BYTES + most_bytes) as container:
        streams = _pick_streams(container, kind)
        wrapping = _find_wrapping(streams, kind)
        if wrapping is None:
            return "", b""
        if size > most_bytes or kind not in _WHOLE:
            known = wrapping.video | wrapping.audio
            kept = [each for each in streams if name_codec(each) in known]
            return wrapping.media_type, _copy_beginning(container, kept, wrapping, most_bytes)
    file.seek(0)
    return _WHOLE[kind], file.read(size)


def _pick_streams(container: InputContainer, kind: MediaFormat) -> list[Stream]:
    """The video and the sound that a player would play; the video first."""
    video = find_video(container) if kind.media == "video" else None
    audio = next(iter(container.streams.audio), None)
    return [each for each in (video, audio) if each is not None]


def _find_wrapping(streams: list[Stream], kind: MediaFormat) -> _Wrapping | None:
    """The container for these streams, for both of them if there is one."""
    names = [name_codec(stream) for stream in streams]
    if not names:
        return None
    if kind.media == "audio":
        return next((each for each in _SOUNDS if names[0] in each.audio), None)
    fitting = [each for each in _VIDEOS if names[0] in each.video]
    both = [each for each in fitting if names[-1] in each.video | each.audio]
    return next(iter([*both, *fitting]), None)


def _copy_beginning(
    container: InputContainer, streams: list[Stream], wrapping: _Wrapping, most_bytes: int
) -> bytes:
    """As many packets as fit, in another container; empty where not even one does."""
    made = io.BytesIO()
    with av.open(made, "w", format=wrapping.muxer) as output:
        copies = {each.index: output.add_stream_from_template(each) for each in streams}
        count = 0
        for packet in _fit(container.demux(streams), most_bytes):
            packet.stream = copies[packet.stream.index]
            output.mux(packet)
            count += 1
    return made.getvalue() if count and len(made.getvalue()) <= most_bytes else b""


def _fit(packets: Iterator[Packet[Stream]], most_bytes: int) -> Iterator[Packet[Stream]]:
    """Packets until the next would make the whole too large."""
    left = most_bytes - _CONTAINER_BYTES
    for packet in packets:
        left -= packet.size + _PACKET_BYTES
        if left < 0:
            return
        if packet.dts is not None:  # at the end comes one that is none
            yield packet


def _make_poster(file: Seekable, kind: MediaFormat) -> bytes:
    with open_clip(file, kind, _POSTER_BYTES) as container:
        video = find_video(container)
        if video is None or video.codec_context is None:
            return b""
        context = video.codec_context
        _check_pixels(context.width, context.height)
        context.options = {"max_pixels": str(MAX_PIXELS)}
        context.thread_count = 1
        return _draw(_decode_first(container, video))
    return b""


def _decode_first(container: InputContainer, video: VideoStream) -> VideoFrame:
    for packet in islice(container.demux(video), _MOST_PACKETS):
        for frame in packet.decode():
            return frame
    raise ValueError("its beginning has no picture")


def _draw(frame: VideoFrame) -> bytes:
    """A frame as a small JPEG, turned as a player turns the video."""
    _check_pixels(frame.width, frame.height)
    scale = min(1, POSTER_PX / max(frame.width, frame.height))
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    image = Image.fromarray(frame.reformat(width, height, "rgb24").to_ndarray())
    if frame.rotation % 360:
        image = image.rotate(frame.rotation, expand=True)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


def _check_pixels(width: int, height: int) -> None:
    if not 0 < width * height <= MAX_PIXELS:
        raise ValueError(f"{width} x {height} pixels, over {MAX_PIXELS}")
