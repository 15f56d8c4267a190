"""Where the images and captions of an entry are read from: a folder, or what opens a view itself.

Owns what is asked of either. Must not know what becomes of a file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol

from hffs.errors import StaleError
from hffs.train import decoding


class Stamp(NamedTuple):
    """What a file was when it was identified; one that was written to has another."""

    size_bytes: int
    mtime_ns: int


class Files(Protocol):
    """Files by their names, as the scan of a folder has them; any thread may ask."""

    def read(self, name: str) -> bytes:
        """All of a file. Raises OSError (FileNotFoundError where there is none) or DataError."""
        ...


class OpenFiles(Protocol):
    """Opens files, on this or another host: it is pickled."""

    def __call__(self) -> AbstractContextManager[Files]:
        """The files, open to the end of the block."""
        ...


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The files of a folder, which also opens itself.

    `stamps` are of files that must be as they were, by name.
    """

    folder: Path
    stamps: Mapping[str, Stamp] | None = None

    def __call__(self) -> AbstractContextManager[FolderFiles]:
        """Nothing has to be opened."""
        return nullcontext(self)

    def read(self, name: str) -> bytes:
        """All of a plain file; StaleError where it is not what it was, before or after."""
        path = self.folder / name
        stamp = None if self.stamps is None else self.stamps.get(name)
        if stamp is None:
            return decoding.read_regular(path)
        with decoding.open_regular(path, buffering=0) as file:
            _require_same(path, file, stamp)
            data = file.read()
            _require_same(path, file, stamp)
        return data


def _require_same(path: Path, file: BinaryIO, stamp: Stamp) -> None:
    status = os.fstat(file.fileno())
    if (status.st_size, status.st_mtime_ns) != stamp:
        raise changed(path, "it changed while it was being used")


def changed(path: Path, why: str) -> StaleError:
    """What to say of a file that is not what a plan was made of."""
    return StaleError("cannot use", str(path), why=why, fix="run this again")
