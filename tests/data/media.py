"""Small videos and sounds, which begin as they should, and what a data set gives of such."""

from __future__ import annotations

import io
import wave
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from hffs.core.formats import MediaFormat
from hffs.core.readahead import Streams
from hffs.data.cache import DiskCache
from hffs.data.cells.building import load_or_build
from hffs.data.cells.columns import find_media_column
from hffs.data.farfiles import FileStore
from hffs.data.fetchers import Fetchers
from hffs.data.locating.record import Wanted
from hffs.data.pages import PageStore
from hffs.data.remote.opening import open_fetcher
from hffs.data.rows import RowStore
from hffs.data.shards import Located
from hffs.data.source import open_source

_EBML = bytes.fromhex("1a45dfa39f4286810142f7810142f2810442f381084282")
_HEADS = {
    "mp4": b"\0\0\0\x20ftypisom",
    "m4v": b"\0\0\0\x20ftypM4V ",
    "mov": b"\0\0\0\x14ftypqt  ",
    "mkv": _EBML + b"\x88matroska",
    "webm": _EBML + b"\x84webm",
    "avi": b"RIFF\xff\xff\0\0AVI LIST",
    "m4a": b"\0\0\0\x20ftypM4A ",
    "flac": b"fLaC\0\0\0\x22",
    "mp3": b"ID3\4\0\0",
    "opus": b"OggS\0\2" + bytes(20) + b"\1\x13OpusHead",
    "ogg": b"OggS\0\2" + bytes(20) + b"\1\x1e\1vorbis",
    "jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0",
    "png": b"\x89PNG\r\n\x1a\n",
}


def make_clip(kind: str, seed: int = 0, size: int = 700) -> bytes:
    """A file that begins as its extension says, and is noise behind that; a WAV is a whole one."""
    noise = np.random.default_rng([*kind.encode(), seed]).bytes(size)
    if kind != "wav":
        return _HEADS[kind] + noise
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(noise)
    return out.getvalue()


def make_clips(*names: str) -> dict[str, bytes]:
    """Files by names, each another one."""
    return {
        name: make_clip(name.rpartition(".")[2].lower(), seed) for seed, name in enumerate(names)
    }


class Silent:
    """A watcher of work of which a person need not know anything."""

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        """See `Watcher`."""

    def notice(self, text: str) -> None:
        """See `Watcher`."""
        pytest.fail(text)


class Cell(NamedTuple):
    """What is read of a cell; the format and length are those that its index tells."""

    row: int
    item: int
    format: str
    length: int
    data: bytes


def read_cells(
    located: Located, wanted: Wanted, folder: Path, fetchers: Fetchers | None = None
) -> tuple[list[Cell], dict[str, int]]:
    """Every cell of a source, and what its index left out; of what is elsewhere too."""
    with ExitStack() as stack:
        cache = DiskCache(folder / "blobs", 1 << 30)
        request = wanted.request
        reader = open_fetcher(cache, request.name, None, offline=False) if wanted.is_far else None
        if reader is not None:
            stack.callback(reader.close)
        source = open_source(located, reader)
        column = find_media_column(source, wanted.column, wanted.media)
        index = load_or_build(folder / "index", source, column, lambda done, total: None)
        if reader is not None:
            ahead = Streams(np.array([0, max(len(index.far_ranges), 1)]))
            files = FileStore(index, located, reader, ahead)
            fetchers = Fetchers(None, PageStore(index, located, reader, cache, ahead), files)
        rows = RowStore(index, located, cache, fetchers=fetchers or Fetchers())
        stack.callback(rows.close)
        cells = [
            Cell(
                int(index.row[cell]),
                int(index.item[cell]),
                MediaFormat(int(index.format[cell])).name,
                int(index.length[cell]),
                bytes(rows.load(cell)),
            )
            for cell in range(len(index))
        ]
        return cells, dict(index.dropped)


def tell(cells: list[Cell]) -> list[list[Any]]:
    """Cells as JSON has them."""
    return [[*cell[:4], cell.data.hex()] for cell in cells]


def as_cells(told: list[list[Any]]) -> list[Cell]:
    """Cells that were told."""
    return [
        Cell(row, item, kind, length, bytes.fromhex(data)) for row, item, kind, length, data in told
    ]


def expect(files: dict[str, bytes], *named: tuple[str, str]) -> list[Cell]:
    """The cells of one file a row, each given with the name of its format."""
    return [
        Cell(row, 0, kind, len(files[name]), files[name]) for row, (name, kind) in enumerate(named)
    ]
