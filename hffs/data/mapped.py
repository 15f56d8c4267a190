"""Files mapped read-only, so that rows are slices of them.

Owns the map of a file, the advice to the kernel about it, and finding the formats of values in it.
Knows nothing of what a file holds.

A file that is replaced by renaming keeps serving its old bytes; one that is changed in place is
noticed by `MappedFile.check`, unless its size and mtime are as before. One that is cut short in
place ends the process with SIGBUS if bytes behind the new end are touched before `check` was
called: no program can catch that. A daemon therefore reads what it gives or looks at
(`MappedFile.read_into`, `read`, `UntouchedFile`), or hands slices of a map to the kernel, which
answers EFAULT instead.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import stat
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import numpy as np
from numpy.typing import NDArray

from hffs.core.formats import Media, count_sniffed, sniff_many
from hffs.errors import AccessError, DataError, HffsError, SourceError, StaleError

if TYPE_CHECKING:
    import pyarrow as pa

_ADVICE_BYTES = 128 << 10
"""MADV_WILLNEED silently stops at the device's read-ahead window, which is 128 KiB or more."""
_ADVICE_PAGES = _ADVICE_BYTES // mmap.PAGESIZE
_LOOKED_AT = 4
"""Pages that tell whether there is anything to ask for."""

_SNIFF_BATCH = 1 << 16  # the gathered indexes take eight times the bytes


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class MappedFile:
    """A file mapped read-only for random access, as it was when `open_mapped` opened it.

    `view` and its slices stay valid after `close`, which gives back the descriptor only.
    """

    path: Path
    view: memoryview
    size_bytes: int
    mtime_ns: int
    _descriptor: int
    _map: mmap.mmap | None

    def open_native(self) -> pa.NativeFile:
        """The file for pyarrow, which copies nothing of it."""
        import pyarrow as pa  # not at the top: most mounts never need it

        return pa.BufferReader(pa.py_buffer(self.view))

    def read(self, offset: int, length: int) -> memoryview:
        """A copy of a range, whole and as it was; StaleError if the file was changed in place."""
        data = memoryview(bytearray(length))
        self.read_into(data, offset)
        return data.toreadonly()

    def read_into(self, buffer: memoryview, offset: int) -> None:
        """Have a range in a buffer, whole and as it was; raises as `read` does.

        Of what is read in order the kernel reads ahead, as it does not of a map.
        """
        left = buffer
        try:
            while left and (count := os.preadv(self._descriptor, [left], offset)):
                left, offset = left[count:], offset + count
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise DataError("cannot read", str(self.path), why=why) from error
        self.check()
        if left:
            raise DataError("cannot read", str(self.path), why="it is shorter than it was")

    def leave_untouched(self) -> UntouchedFile:
        """The same file, for who decodes what lies in it."""
        return UntouchedFile(
            self.path, self.view, self.size_bytes, self.mtime_ns, self._descriptor, self._map, self
        )

    def advise(self, offset: int, length: int) -> None:
        """Ask the kernel to begin reading a range, as far as the file has it (MADV_WILLNEED)."""
        if self._map is None:
            return
        end = min(offset + length, self.size_bytes)
        for start in range(offset - offset % mmap.PAGESIZE, end, _ADVICE_BYTES):
            self._map.madvise(mmap.MADV_WILLNEED, start, min(_ADVICE_BYTES, end - start))

    def advise_pages(self, offsets: NDArray[np.int64]) -> None:
        """Ask for the memory page at each offset; adjoining pages are asked for together.

        Nothing is asked where a few of them are in memory already: the others are too, most often,
        and would cost more to ask for than to read.
        """
        pages = np.unique(offsets[offsets < self.size_bytes] // mmap.PAGESIZE)
        if self._map is None or not len(pages):
            return
        if len(pages) > _LOOKED_AT and self.is_cached(
            pages[:: len(pages) // _LOOKED_AT] * mmap.PAGESIZE
        ):
            return
        cuts = np.flatnonzero((np.diff(pages) > 1) | (pages[1:] % _ADVICE_PAGES == 0)) + 1
        starts = pages[np.append(0, cuts)] * mmap.PAGESIZE
        lengths = np.diff(np.append(np.append(0, cuts), len(pages))) * mmap.PAGESIZE
        madvise, advice = self._map.madvise, mmap.MADV_WILLNEED
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            madvise(advice, start, length)

    def is_cached(self, offsets: NDArray[np.int64]) -> bool:
        """Whether the pages at these offsets can be read without waiting; False if unsure."""
        byte = [bytearray(1)]
        try:
            for offset in offsets.tolist():
                os.preadv(self._descriptor, byte, offset, os.RWF_NOWAIT)
        except OSError:  # EAGAIN for a page on the disk, ENOTSUP of file systems that cannot tell
            return False
        return True

    def advise_ranges(self, offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> None:
        """Ask for ranges, each of at least a byte, that may be many and small."""
        first, last = offsets // mmap.PAGESIZE, (offsets + lengths - 1) // mmap.PAGESIZE
        counts = last - first + 1
        steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        self.advise_pages((np.repeat(first, counts) + steps) * mmap.PAGESIZE)

    def check(self) -> None:
        """Raise `StaleError` if the file was changed in place since it was opened."""
        now = os.fstat(self._descriptor)
        if (now.st_size, now.st_mtime_ns) != (self.size_bytes, self.mtime_ns):
            raise StaleError(
                "cannot read", str(self.path), why="it was changed while mounted", fix="mount again"
            )

    def close(self) -> None:
        """Close the descriptor; the map goes with the last view of it."""
        os.close(self._descriptor)

    def close_unused(self) -> None:
        """`close`, once nobody has this any more; at once its number might be another file's."""
        weakref.finalize(self, os.close, self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True, eq=False)
class UntouchedFile(MappedFile):
    """A mapped file that pyarrow reads, and copies from, rather than touch the map.

    It has the descriptor of the other, which has to stay open: to open another one here would
    fail, and be taken for a broken file, where a process has no more of them.
    """

    _original: MappedFile

    def open_native(self) -> pa.NativeFile:
        """The file for pyarrow; bytes that are not there any more are an error to it."""
        import pyarrow as pa

        return pa.PythonFile(_Stream(self, self._descriptor), mode="r")


class _Stream(io.RawIOBase):
    """Reads a descriptor, whose own position nobody moves; closing it leaves that open."""

    def __init__(self, file: UntouchedFile, descriptor: int) -> None:
        self._file, self._descriptor = file, descriptor  # which is open as long as one has the file
        self._size_bytes, self._at = file.size_bytes, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + (0, self._at, self._size_bytes)[whence]
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(self._size_bytes - self._at, 0)
        data = os.pread(self._descriptor, left if size < 0 else min(size, left), self._at)
        self._at += len(data)
        return data


def open_mapped(path: Path) -> MappedFile:
    """Map a regular file; raises `SourceError`, `AccessError`, or `DataError` where a process has
    no more descriptors or memory.
    """
    try:
        # O_NONBLOCK: opening a pipe must not wait for its writer; files ignore it
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            return _map_descriptor(path, descriptor)
        except (OSError, SourceError):
            os.close(descriptor)
            raise
    except OSError as error:
        denied = error.errno in (errno.EACCES, errno.EPERM)
        kind: type[HffsError] = AccessError if denied else SourceError
        if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
            kind = DataError
        raise kind("cannot open", str(path), why=error.strerror or str(error)) from error


def _map_descriptor(path: Path, descriptor: int) -> MappedFile:
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        raise SourceError("cannot open", str(path), why="not a regular file")
    size = status.st_size
    mapped = mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) if size else None
    if mapped is not None:
        mapped.madvise(mmap.MADV_RANDOM)
    view = memoryview(b"" if mapped is None else mapped)
    return MappedFile(path, view, size, status.st_mtime_ns, descriptor, mapped)


def sniff_values(
    data: memoryview,
    offsets: NDArray[np.int64],
    lengths: NDArray[np.int64],
    advise: Callable[[NDArray[np.int64]], None] | None = None,
    media: Media = "image",
) -> NDArray[np.uint8]:
    """Format codes of the values at these places of `data`; those without bytes are `UNKNOWN`."""
    codes = np.zeros(len(offsets), np.uint8)
    filled = np.flatnonzero(lengths)
    source, columns = np.frombuffer(data, np.uint8), np.arange(count_sniffed(media))
    for batch in np.split(filled, range(_SNIFF_BATCH, len(filled), _SNIFF_BATCH)):
        starts, sizes = offsets[batch], lengths[batch]
        if advise is not None:
            advise(np.concatenate([starts, starts + np.minimum(sizes, len(columns)) - 1]))
        inside = columns < sizes[:, None]
        heads = source[np.where(inside, starts[:, None] + columns, starts[:, None])]
        codes[batch] = sniff_many(np.where(inside, heads, np.uint8(0)), media)
    return codes
