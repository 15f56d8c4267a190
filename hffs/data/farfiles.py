"""Files that cells name and that lie elsewhere, and parts of such: fetched when they are read.

Owns which of these ranges are fetched ahead, and how large one may be that is fetched whole. Must
not know how ranges are fetched (`RangeReader`), nor by which pieces a part of one is
(`hffs.data.blocks`). Thread-safe.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from hffs.data.blocks import BLOCK_BYTES, Blocks, clip
from hffs.data.cells.index import CellIndex
from hffs.data.recent import Recent
from hffs.data.remote.files import Ahead, Range, RangeReader, RemoteFile
from hffs.data.shards import Located
from hffs.errors import FormatError

_MOST_BYTES = 256 << 20
_OPEN_WHOLE = 8
"""Of ranges that were fetched whole, and are read by parts: each is a map of the disk cache."""


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
        self._blocks = Blocks(reader)
        self._whole: Recent[memoryview] = Recent(_MOST_BYTES, _OPEN_WHOLE, len)

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

    def size(self, number: int) -> int:
        """How many bytes a range has; nobody is asked."""
        return self._find(number)[1].size_bytes

    def read_part(self, number: int, start: int, stop: int) -> memoryview:
        """Bytes of a range from `start` up to `stop`, as far as it has them; it may be of any size.

        Raises as fetching does. Other ranges are not fetched ahead, but more of this one is.
        """
        file, place = self._find(number)
        whole = self._whole.get(number)
        if whole is None and self._is_whole(file, place):
            (whole,) = self._reader.read(file, [place])
            self._whole.put(number, whole)
        if whole is None:
            return self._blocks.read(file, place, start, stop)
        start, stop = clip(len(whole), start, stop)
        return whole[start:stop]

    def has_part(self, number: int, start: int, stop: int) -> bool:
        """Whether nobody has to be asked for a part."""
        file, place = self._find(number)
        return (
            self._whole.get(number) is not None
            or self._is_whole(file, place)
            or self._blocks.has(file, place, start, stop)
        )

    def _is_whole(self, file: RemoteFile, place: Range) -> bool:
        """Whether a range that is more than a block was fetched whole, and is kept."""
        is_fetched = BLOCK_BYTES < place.size_bytes <= _MOST_BYTES
        return is_fetched and self._reader.holds(file, place)

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
