"""Files that cells name and that are read where they lie: found by name, kept on disk.

Owns the form of a listing; the reasons for which a cell is dropped are those of files here
(`hffs.data.cells.paths`). Must not know who told of the files.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hffs.data.arrays import Stored, load_arrays, save_arrays
from hffs.data.cells.paths import EMPTY_FILE, MISSING, OUTSIDE
from hffs.errors import FormatError


class Listed(NamedTuple):
    """A file: its path below the root of the data set, and what pins its content."""

    name: bytes
    size_bytes: int
    etag: bytes


class Listing:
    """The files of a data set by their names."""

    def __init__(self, files: Iterable[Listed]) -> None:
        self._files = {file.name: file for file in files}

    def find(self, path: bytes) -> Listed | str:
        """The file that a cell's path names, or the reason why the cell is dropped."""
        name = posixpath.normpath(path)
        if name.startswith((b"/", b"..")):
            return OUTSIDE
        found = self._files.get(name)
        if found is None:
            return MISSING
        return found if found.size_bytes else EMPTY_FILE


def save_listing(folder: Path, files: Sequence[Listed]) -> None:
    """Keep a listing as a folder, which is whole or not there."""
    arrays = {
        "size_bytes": np.array([file.size_bytes for file in files], np.int64),
        **_join("name", [file.name for file in files]),
        **_join("etag", [file.etag for file in files]),
    }
    save_arrays(folder, Stored(arrays, {}))


def load_listing(folder: Path) -> Listing:
    """The listing in a folder; raises FormatError if there is none, or it is damaged."""
    stored = load_arrays(folder)
    if stored is None:
        raise FormatError("cannot read", str(folder), why="it is gone", fix="mount again")
    names, etags = (_split(stored, what) for what in ("name", "etag"))
    sizes = stored.arrays["size_bytes"].tolist()
    return Listing(map(Listed, names, sizes, etags))


def _join(what: str, texts: Sequence[bytes]) -> dict[str, NDArray[np.int64] | NDArray[np.uint8]]:
    ends = np.cumsum([len(text) for text in texts], dtype=np.int64)
    return {what: np.frombuffer(b"".join(texts), np.uint8), f"{what}_ends": ends}


def _split(stored: Stored, what: str) -> Iterable[bytes]:
    blob, start = stored.arrays[what].tobytes(), 0
    for end in stored.arrays[f"{what}_ends"].tolist():
        yield blob[start:end]
        start = end
