"""Parquet files that lie elsewhere, as pyarrow reads them: footers first, then chosen columns.

Owns what is asked for together: the ends of many files at once, and of each the column chunks that
a reader is about to want, so that no reader waits for one range after the other. Must not know
what is read, nor how ranges are fetched (`RangeReader`).
Invariant: nothing is fetched twice that is held; what is held at once is bounded by `_BYTES_AHEAD`,
and by the chunks of one file.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from hffs.core.tails import TAIL_BYTES as TRAILER_BYTES
from hffs.core.tails import find_footer
from hffs.data.arrow import format_errors
from hffs.data.remote.files import Range, RangeReader, RemoteFile
from hffs.errors import FormatError

TAIL_BYTES = 1 << 16
"""What is read of the end of a file: footer and page indexes of a 100 MB shard take a tenth."""

FETCH_BYTES = 8 << 20
"""How much of a column chunk is fetched at a time where it is read in its order."""

_FILES_AHEAD = 64
_BYTES_AHEAD = 64 << 20
_MOST_BYTES = 256 << 20
"""Of one range: what a footer says of lengths is not trusted."""

Leaves = Callable[[pq.FileMetaData], Sequence[Range]]
"""Which ranges of a file will be read, told from its footer."""


class RangedFile:
    """A remote file: what is held of it is given from memory, anything else is fetched.

    `path` names it in messages. The views that it gives stay valid; closing it only lets go of
    what is held. Without `keeps` what is fetched is not kept in the disk cache.
    """

    def __init__(
        self, reader: RangeReader, file: RemoteFile, path: Path, *, keeps: bool = True
    ) -> None:
        self.path, self.size_bytes = path, file.size_bytes
        self._reader, self._file, self._keeps = reader, file, keeps
        self._starts: list[int] = []
        self._held: list[tuple[Range, memoryview]] = []

    def hold(self, place: Range, data: memoryview) -> None:
        """Keep bytes at hand."""
        at = bisect_right(self._starts, place.start)
        self._starts.insert(at, place.start)
        self._held.insert(at, (place, data))

    def take(self, places: Sequence[Range]) -> list[memoryview]:
        """The bytes of ranges, in order; those that are not held are fetched together.

        Raises FormatError for a range outside of the file, and what fetching raises.
        """
        self._require_inside(places)
        found = [self._find(place) for place in places]
        missing = [place for place, data in zip(places, found, strict=True) if data is None]
        fetched = iter(self._reader.read(self._file, missing, keep=self._keeps) if missing else ())
        return [next(fetched) if data is None else data for data in found]

    def submit(self, places: Sequence[Range]) -> list[Future[memoryview]]:
        """Begin to fetch ranges, held or not; raises FormatError for one outside of the file."""
        self._require_inside(places)
        return self._reader.submit(self._file, places, keep=self._keeps)

    def holds(self, place: Range) -> bool:
        """Whether a range is at hand."""
        return self._find(place) is not None

    def open_native(self) -> pa.NativeFile:
        """The file for pyarrow, which reads it from one thread at a time."""
        return pa.PythonFile(_Stream(self), mode="r")

    def advise(self, offset: int, length: int) -> None:
        """Do nothing: what will be read was asked for already (`open_remote`)."""

    def check(self) -> None:
        """Do nothing: each answer says whether the file is still the one that was found."""

    def close(self) -> None:
        """Let go of what is held."""
        self._starts.clear()
        self._held.clear()

    def _require_inside(self, places: Sequence[Range]) -> None:
        for place in places:
            if not 0 <= place.start <= place.stop <= self.size_bytes:
                why = f"bytes {place.start} to {place.stop} are not inside of it"
                raise FormatError("cannot read", str(self.path), why=why)
            if place.size_bytes > _MOST_BYTES:
                why = f"{place.size_bytes} bytes at once are over {_MOST_BYTES}"
                raise FormatError("cannot read", str(self.path), why=why)

    def _find(self, place: Range) -> memoryview | None:
        if place.start == place.stop:
            return memoryview(b"")
        at = bisect_right(self._starts, place.start) - 1
        if at < 0:
            return None
        (start, stop), data = self._held[at]
        return data[place.start - start : place.stop - start] if place.stop <= stop else None


class _Stream:
    """What `pa.PythonFile` calls: reading and seeking."""

    closed = False

    def __init__(self, file: RangedFile) -> None:
        self._file, self._at = file, 0

    def read(self, size: int = -1) -> memoryview:
        stop = self._file.size_bytes if size < 0 else min(self._at + size, self._file.size_bytes)
        (data,) = self._file.take([Range(min(self._at, stop), stop)])
        self._at = stop
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        self._at = offset + (0, self._at, self._file.size_bytes)[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        pass


def no_leaves(metadata: pq.FileMetaData) -> Sequence[Range]:
    """Read nothing but the footer."""
    return ()


def open_remote(
    reader: RangeReader, files: Iterable[tuple[RemoteFile, Path]], leaves: Leaves = no_leaves
) -> Iterator[RangedFile]:
    """Each file with its footer and its leaves at hand, in order, the next ones on their way.

    Raises FormatError where one has no footer, and what fetching raises.
    """
    opened = _open_ends(reader, files)
    if leaves is no_leaves:
        yield from opened
        return
    under_way: deque[tuple[RangedFile, list[Range], list[Future[memoryview]]]] = deque()
    ahead = 0
    for file in opened:
        with format_errors("cannot read", str(file.path)):
            metadata = pq.read_metadata(file.open_native())
        # One that is larger than all that is held is read piece by piece.
        places = [
            place
            for place in leaves(metadata)
            if not file.holds(place) and place.size_bytes <= _BYTES_AHEAD
        ]
        under_way.append((file, places, file.submit(places)))
        ahead += _sum(places)
        while len(under_way) > 1 and (ahead > _BYTES_AHEAD or len(under_way) > _FILES_AHEAD):
            ahead -= _sum(under_way[0][1])
            yield _settle(*under_way.popleft())
    while under_way:
        yield _settle(*under_way.popleft())


def _open_ends(
    reader: RangeReader, files: Iterable[tuple[RemoteFile, Path]]
) -> Iterator[RangedFile]:
    under_way: deque[tuple[RangedFile, Range, Future[memoryview]]] = deque()
    for file, path in files:
        if file.size_bytes < TRAILER_BYTES:
            why = f"{file.size_bytes} bytes are no Parquet file"
            raise FormatError("cannot read", str(path), why=why)
        tail = Range(max(file.size_bytes - TAIL_BYTES, 0), file.size_bytes)
        opened = RangedFile(reader, file, path)
        (future,) = opened.submit([tail])
        under_way.append((opened, tail, future))
        if len(under_way) >= _FILES_AHEAD:
            yield _take_footer(*under_way.popleft())
    while under_way:
        yield _take_footer(*under_way.popleft())


def _take_footer(file: RangedFile, tail: Range, future: Future[memoryview]) -> RangedFile:
    data = future.result()
    try:
        footer = find_footer(data, file.size_bytes)
    except FormatError as error:
        raise FormatError("cannot read", str(file.path), why=error.why) from error
    if footer.offset < tail.start:
        before = Range(footer.offset, tail.start)
        (more,) = file.take([before])
        data = memoryview(b"".join((more, data)))
        tail = Range(footer.offset, tail.stop)
    file.hold(tail, data)
    return file


def _settle(file: RangedFile, places: list[Range], futures: list[Future[memoryview]]) -> RangedFile:
    for place, future in zip(places, futures, strict=True):
        file.hold(place, future.result())
    return file


def _sum(places: Sequence[Range]) -> int:
    return sum(place.size_bytes for place in places)


def find_chunks(
    metadata: pq.FileMetaData, leaves: Iterable[str], groups: Iterable[int]
) -> list[Range]:
    """Where the chunks of leaves lie in some row groups, in the order of the file.

    A leaf is named as pyarrow names it: by its path, or by that of what it is a part of.
    """
    wanted = tuple(leaves)
    numbers = [
        number
        for number in range(metadata.num_columns)
        if any(_is_part(metadata.schema.column(number).path, name) for name in wanted)
    ]
    chunks = (metadata.row_group(group).column(number) for group in groups for number in numbers)
    return sorted({_place(chunk) for chunk in chunks})


def _is_part(path: str, name: str) -> bool:
    return path == name or path.startswith(f"{name}.")


def _place(chunk: pq.ColumnChunkMetaData) -> Range:
    starts = (chunk.dictionary_page_offset, chunk.data_page_offset)
    start = min((offset for offset in starts if offset), default=0)
    return Range(start, start + chunk.total_compressed_size)
