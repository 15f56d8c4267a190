"""Where the images and captions of an entry are read from: a folder, or what opens a view itself.

Owns what is asked of either. Must not know what becomes of a file.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hffs.train import decoding


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
    """The files of a folder, which also opens itself."""

    folder: Path

    def __call__(self) -> AbstractContextManager[FolderFiles]:
        """Nothing has to be opened."""
        return nullcontext(self)

    def read(self, name: str) -> bytes:
        """All of a plain file."""
        return decoding.read_regular(self.folder / name)
