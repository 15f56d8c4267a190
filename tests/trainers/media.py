"""The videos and sounds that trainers are shown, and how to tell whether they saw them as they are.

They are real ones, whose bytes a mount shows as they are. Each trainer decodes, scales and cuts in
its own way: what it hands out of a mount is compared with what it hands out of the files themselves
in a plain folder, and how many frames or samples there are with what is known of them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from hffs.core.formats import FORMATS, Media
from tests.clips import find_clips, find_recordings, tell_format


@dataclass(frozen=True, slots=True)
class Take:
    """A row of the source; it has `length` frames or samples."""

    file: Path
    caption: str
    length: int
    size: tuple[int, int] = (0, 0)
    """Width and height of a video."""
    lyrics: str | None = None

    def name(self, number: int) -> str:
        """What the mount calls it."""
        return f"{number}.{tell_format(self.file).extension}"


def list_clips() -> list[Take]:
    """Short videos of three sizes, in two containers."""
    clips = find_clips()
    return [
        Take(clips["carphone_pristine.mp4"], 'a man on the phone, "Größe" 写真', 120, (176, 144)),
        Take(clips["bikes.mp4"], "bikes, in a street", 250, (640, 272)),
        Take(clips["movie-hello.avi"], "hello", 209, (1024, 576)),
    ]


def list_songs() -> list[Take]:
    """Short sounds in three formats, of which two have lyrics."""
    sounds = find_recordings()
    return [
        Take(sounds["debian.wav"], "a voice, spoken", 238_447, lyrics="De-\nbian, größer 写真"),
        Take(sounds["deleted.mp3"], "another voice", 91_773, lyrics="deleted"),
        Take(sounds["debian.ogg"], "a voice, compressed", 238_447),
    ]


def write_takes(path: Path, media: Media, takes: Sequence[Take]) -> Path:
    """A Parquet file as `datasets` writes one, with the columns MEDIA, caption and lyrics."""
    cells = [{"bytes": take.file.read_bytes(), "path": take.file.name} for take in takes]
    captions, lyrics = ([getattr(take, name) for take in takes] for name in ("caption", "lyrics"))
    table = pa.table({media: cells, "caption": captions, "lyrics": pa.array(lyrics, pa.string())})
    features = {media: {"_type": media.capitalize()}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(metadata), path, compression="none")
    return path


def write_folder(folder: Path, takes: Sequence[Take]) -> Path:
    """The files in a plain folder, under the names and with the texts of the mount."""
    folder.mkdir()
    for number, take in enumerate(takes):
        (folder / take.name(number)).write_bytes(take.file.read_bytes())
        (folder / f"{number}.txt").write_text(take.caption, encoding="utf-8")
        if take.lyrics is not None:
            (folder / f"{number}.lyrics").write_text(take.lyrics, encoding="utf-8")
    return folder


def by_name(takes: Sequence[Take], what: str) -> dict[str, object]:
    """An attribute of each by its name on the mount."""
    return {take.name(number): getattr(take, what) for number, take in enumerate(takes)}


@contextmanager
def untouched(folder: Path, takes: Sequence[Take]) -> Iterator[None]:
    """Check that the files of a mount are the originals, before and after."""
    check_files(folder, takes)
    yield
    check_files(folder, takes)


def check_files(folder: Path, takes: Sequence[Take]) -> None:
    """Check that the files of a mount are the originals, and the texts those of the rows."""
    for number, take in enumerate(takes):
        assert (folder / take.name(number)).read_bytes() == take.file.read_bytes()
        assert (folder / f"{number}.txt").read_text(encoding="utf-8") == take.caption


def list_untaken(media: Media, extensions: Sequence[str]) -> set[str]:
    """Extensions of a mount that are not among those which a trainer takes, dots or none."""
    taken = {extension.lower().removeprefix(".") for extension in extensions}
    return {kind.extension for kind in FORMATS[media]} - taken


def digest(array: npt.NDArray[np.generic]) -> str:
    """A name for an array, the same for the same numbers alone."""
    whole = np.ascontiguousarray(array)
    shape = "x".join(map(str, whole.shape))
    return f"{shape} {whole.dtype} {hashlib.sha256(whole.tobytes()).hexdigest()[:16]}"
