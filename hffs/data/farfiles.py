"""Files that cells name and that lie elsewhere, and parts of such: fetched when they are read.

Owns which of these ranges are fetched ahead, and how large one may be. Must not know how ranges are
fetched (`RangeReader`). Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from hffs.data.cells.index import CellIndex
from hffs.data.remote.files import Ahead, Range, RangeReader, RemoteFile
from hffs.data.shards import Located
from hffs.errors import FormatError

_MOST_BYTES = 256 << 20


class FileStore:
    """The far ranges of an index; nothing has to be closed but the reader."""

    def __init__(
        self,
        index: CellIndex,
        located: Located,
        reader: RangeReader,
        ahead: Ahead | None = None,
    ) -> None:
        self._files, self._ranges = index.far_files, index.far_ranges
        self._reader, self._ahead = reader, ahead
        self._address = located.address
        self._lock = threading.Lock()

    def read(self, number: int) -> memoryview:
        """A range by its number; FormatError for one that is too large, and as fetching raises."""
        if self._ahead is not None:
            with self._lock:
                wanted = self._ahead.note(number)
            self.begin(wanted)
        file, place = self._find(number)
        if place.size_bytes > _MOST_BYTES:
            raise FormatError("cannot read", file.url, why=f"over {_MOST_BYTES} bytes")
        (data,) = self._reader.read(file, [place])
        return data

    def is_here(self, number: int) -> bool:
        """Whether nobody has to be asked for a range."""
        return self._reader.holds(*self._find(number))

    def begin(self, numbers: Iterable[int]) -> None:
        """Begin to fetch ranges before anybody asks."""
        for number in numbers:
            file, place = self._find(number)
            if place.size_bytes <= _MOST_BYTES:
                self._reader.submit(file, [place], ahead=True)

    def _find(self, number: int) -> tuple[RemoteFile, Range]:
        files, ranges = self._files, self._ranges
        which, start = int(ranges.file[number]), int(ranges.start[number])
        name = files.name(which).decode("utf-8", "surrogateescape")
        etag = files.etags.name(which).decode("ascii", "replace")
        file = RemoteFile(self._address + name, etag, int(files.size_bytes[which]))
        return file, Range(start, start + int(ranges.size[number]))
