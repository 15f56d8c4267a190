"""Videos and sounds that need no codec: bytes that begin as their format does."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hffs.core.formats import Media, MediaFormat

HEADS = {
    MediaFormat.MP4: b"\0\0\0\x20ftypisom\0\0\2\0",
    MediaFormat.MOV: b"\0\0\0\x14ftypqt  \0\0\2\0",
    MediaFormat.WEBM: b"\x1a\x45\xdf\xa3\x01B\x82\x84webm",
    MediaFormat.AVI: b"RIFF\x24\0\0\0AVI LIST",
    MediaFormat.WAV: b"RIFF\x24\0\0\0WAVEfmt ",
    MediaFormat.FLAC: b"fLaC\0\0\0\x22",
    MediaFormat.MP3: b"ID3\4\0\0\0\0\0\x23",
    MediaFormat.OGG: b"OggS\x00\x02" + bytes(22) + b"\x01vorbis",
    MediaFormat.OPUS: b"OggS\x00\x02" + bytes(22) + b"OpusHead",
    MediaFormat.JPEG: b"\xff\xd8\xff\xe0\x00\x10JFIF",
}


def make_media(kind: MediaFormat, size_bytes: int = 1000, seed: int = 0) -> bytes:
    """A file of a format, as far as its first bytes tell."""
    head = HEADS[kind]
    return head + random.Random(seed).randbytes(size_bytes - len(head))  # noqa: S311


def write_media(path: Path, media: Media, cells: Sequence[object], **columns: object) -> Path:
    """A Parquet file with a column of a medium: `{bytes, path}` cells, or what else is given."""
    values = [{"bytes": c, "path": None} if isinstance(c, bytes) else c for c in cells]
    table = pa.table({media: values, **columns})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    return path


def pack(path: Path) -> Path:
    """The same file, compressed: its values have to be decoded."""
    pq.write_table(pq.read_table(path), path, compression="snappy")
    return path
