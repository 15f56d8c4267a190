"""A view file as a whole: written at once, opened for what it holds.

Owns the order of its parts: the table, then packed arrays that no footer tells readers of Parquet
about, then the footer with the header. Must not know what arrays mean.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.data.mapped import open_mapped
from hffs.data.space import find_floor
from hffs.data.viewfile.header import (
    SEAL_KEY,
    VIEW_KEY,
    Header,
    PackedArray,
    read_header,
    refuse,
)
from hffs.data.viewfile.packing import pack, unpack
from hffs.data.viewfile.rows import open_writer, read_captions
from hffs.errors import FormatError, StaleError

Arrays = Mapping[str, NDArray[Any]]
MakeHeader = Callable[[dict[str, PackedArray]], Header]


def write_view_file(
    file: BinaryIO, batches: Iterable[pa.RecordBatch], arrays: Arrays, make_header: MakeHeader
) -> None:
    """Write a file that is empty; `make_header` is told where arrays lie. Raises OSError."""
    with open_writer(file) as writer:
        for batch in batches:
            writer.write_table(pa.Table.from_batches([batch]))
        packed = {name: pack(file, array) for name, array in arrays.items()}
        text, seal = make_header(packed).seal()
        writer.add_key_value_metadata({VIEW_KEY: text, SEAL_KEY: seal})
        writer.close()
    file.flush()


class ViewFile:
    """An open view file; what it gives is unpacked into unnamed files of `folder`."""

    def __init__(self, path: Path, data: memoryview, header: Header, folder: Path) -> None:
        self.path, self.header = path, header
        self._data, self._folder = data, folder

    def array(self, name: str, kind: type, count: int | None = None) -> NDArray[Any]:
        """An array by its name, of a type and a length. Raises FormatError if it is another."""
        packed = self.header.arrays.get(name)
        if packed is None or np.dtype(kind) != packed.dtype or count not in (None, packed.count):
            raise refuse(self.path, f"its {name} are missing, or of another form")
        self._require_space(packed.count * np.dtype(kind).itemsize)
        try:
            return unpack(self._data, packed, self._folder)
        except FormatError as error:
            raise refuse(self.path, f"its {name} are damaged ({error.why})") from error

    def optional(self, name: str, kind: type, count: int | None = None) -> NDArray[Any] | None:
        """As `array`; None where there is none of the name."""
        return self.array(name, kind, count) if name in self.header.arrays else None

    def captions(self, rows: int, each: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """See `read_captions`."""
        try:
            return read_captions(self._data, rows, each, self._folder)
        except FormatError as error:
            raise refuse(self.path, f"its captions are damaged ({error.why})") from error

    def _require_space(self, size_bytes: int) -> None:
        """Refuse what a few bytes may claim before any of it is written."""
        total, _, free = shutil.disk_usage(self._folder)
        if size_bytes > free - find_floor(total):
            why = f"it takes {size_bytes / 1e6:.1f} MB, and {free / 1e6:.1f} MB are free"
            raise refuse(self.path, why, f"free some of {self._folder}")


@contextmanager
def open_view_file(path: Path, seal: str, folder: Path) -> Iterator[ViewFile]:
    """A view file that was looked at before, when it had this seal.

    Raises FormatError, StaleError if it is another one now, and as `open_mapped` does.
    """
    with open_mapped(path) as file:
        found = read_header(path)
        if found is None or found[1] != seal:
            why = "it was changed since it was looked at"
            raise StaleError("cannot use view", str(path), why=why, fix="try again")
        yield ViewFile(path, file.view, found[0], folder)
