"""Tars that lie elsewhere: what a table is made of is fetched of them, and nothing else.

Owns in which steps that is fetched, several tars at once, and how what came is kept: a *piece* is
some members in a row, with the values of their texts and the first bytes of media; one that is in
the disk cache is not fetched again, so that who is interrupted goes on where he was. It must not
know how ranges are fetched (`RangeReader`), nor the form of a tar (`hffs.data.prepare.tarindex`).
Invariant: what is in memory at a time is a window and a piece of each tar that is being read.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.core.formats import count_sniffed
from hffs.data.cache import DiskCache
from hffs.data.prepare.fields import MAX_VALUE_BYTES, find_kind
from hffs.data.prepare.samples import split_name
from hffs.data.prepare.tarindex import Member, read_members
from hffs.data.prepare.tars import OpenTar, Report, Tar
from hffs.data.prepare.unpacking import HEAD_BYTES, find_packing
from hffs.data.remote.files import Range, RangeReader, RemoteFile
from hffs.errors import DataError, FormatError

AT_ONCE = 16
"""Tars that are read at a time: the requests of one wait for each other."""

GAP_BYTES = 32 << 10
"""What is fetched and thrown away rather than asking twice, as of `Limits`: more is a leap."""

FIRST_BYTES = 16 << 10
"""The first window, before it is known how much lies between two images."""

_LEAST_BYTES, _MOST_RUN_BYTES, _MOST_BYTES = 4 << 10, 64 << 10, 1 << 20
_PIECE_MEMBERS, _PIECE_BYTES = 1 << 10, 1 << 20
_REPORT_S = 0.2

_PIECE = 2
"""Raised when a piece holds something else of the same tar."""

_SCHEMA = pa.schema(
    [("name", pa.string()), ("offset", pa.int64()), ("length", pa.int64()), ("head", pa.binary())]
)


def count_needed(member: Member) -> int:
    """How many bytes of a member a table is made of: texts are read, media named by their heads."""
    split = split_name(member.name)
    kind = None if split is None else find_kind(split[1])
    if kind is None:
        return 0
    if kind.media:
        return min(member.length, count_sniffed(kind.media))
    return member.length if member.length <= MAX_VALUE_BYTES else 0


class Windows:
    """The bytes of a file elsewhere for one who goes through it forwards (`Take`).

    A window is fetched where what is asked for is in none. Behind a leap it is as large as what was
    taken between the leaps before; where there is none, it doubles.
    """

    def __init__(self, reader: RangeReader, file: RemoteFile) -> None:
        self._reader, self._file = reader, file
        self._held, self._place = memoryview(b""), Range(0, 0)
        self._step = self._run = FIRST_BYTES
        self._landed = self._taken = 0

    def __call__(self, start: int, stop: int) -> memoryview:
        """The bytes from `start` up to `stop`, or the end of the file. Raises as fetching does."""
        stop = min(stop, self._file.size_bytes)
        leaps = start > self._taken + GAP_BYTES
        if leaps:
            run = 1 << (self._taken - self._landed - 1).bit_length()
            self._run = min(max(run, self._run // 2, _LEAST_BYTES), _MOST_RUN_BYTES)
            self._landed = start
        if start < self._place.start or stop > self._place.stop:
            self._step = self._run if leaps else self._step
            self._fetch(start, stop)
        self._taken = stop
        at = start - self._place.start
        return self._held[at : at + stop - start]

    def _fetch(self, start: int, stop: int) -> None:
        end = min(max(start + self._step, stop), self._file.size_bytes)
        self._place = Range(start, end)
        self._step = min(self._step * 2, _MOST_BYTES)
        # Its bytes are kept as pieces: windows are many, and are mostly bytes of images.
        (self._held,) = self._reader.read(self._file, [self._place], keep=False)


@dataclass(frozen=True, slots=True, eq=False)
class _Piece:
    """Some members in a row, and of each as much as is needed (`count_needed`).

    The next piece begins at `end`, which is -1 behind the last.
    """

    members: list[Member]
    heads: list[bytes]
    end: int

    def encode(self) -> pa.Buffer:
        """As it is kept."""
        rows = [
            {"name": member.name, "offset": member.offset, "length": member.length, "head": head}
            for member, head in zip(self.members, self.heads, strict=True)
        ]
        schema = _SCHEMA.with_metadata({"end": str(self.end)})
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema))
        return sink.getvalue()

    @classmethod
    def decode(cls, data: memoryview) -> _Piece:
        """One that was kept."""
        with pa.ipc.open_stream(pa.py_buffer(data)) as stream:
            table = stream.read_all()
        *columns, heads = (column.to_pylist() for column in table.columns)
        members = list(map(Member, *columns))
        return cls(members, heads, int(table.schema.metadata[b"end"]))


@dataclass(slots=True, eq=False)
class _FarTar:
    """A tar that lies elsewhere; `which` names it in messages. One thread at a time may use it."""

    file: RemoteFile
    which: str
    url: str
    reader: RangeReader
    cache: DiskCache
    position: int = 0
    """How far it was walked so far."""
    is_copied: bool = False
    _starts: array[int] = field(default_factory=lambda: array("q"))
    _open: tuple[int, _Piece, NDArray[np.int64]] | None = None

    def walk(self) -> None:
        """Find its pieces. Raises FormatError, DataError (compressed), and what fetching raises."""
        windows, at = Windows(self.reader, self.file), 0
        while at >= 0:
            self._starts.append(at)
            at = self._load(at, windows).end
            self.position = at if at >= 0 else self.file.size_bytes

    def list_members(self) -> Iterator[Member]:
        """See `OpenTar`."""
        for number in range(len(self._starts)):
            yield from self._turn_to(number)[1].members

    def take(self, offset: int, length: int) -> memoryview:
        """See `OpenTar`."""
        # A member's header is before it, so what begins where it does is the next piece.
        _, piece, offsets = self._turn_to(bisect_left(self._starts, offset) - 1)
        head = piece.heads[int(np.searchsorted(offsets, offset))]
        return memoryview(head)[:length]

    def let_go(self) -> None:
        """Hold no piece until one is asked for."""
        self._open = None

    def _turn_to(self, number: int) -> tuple[int, _Piece, NDArray[np.int64]]:
        if self._open is None or self._open[0] != number:
            piece = self._load(self._starts[number], Windows(self.reader, self.file))
            offsets = np.array([member.offset for member in piece.members], np.int64)
            self._open = number, piece, offsets
        return self._open

    def _load(self, start: int, windows: Windows) -> _Piece:
        key = f"tar/{_PIECE}/{self.file.content}/{start}"
        kept = self.cache.get(key)
        if kept is not None:
            return _Piece.decode(kept)
        if not start and find_packing(bytes(windows(0, HEAD_BYTES))):
            raise refuse_packed(self.which)
        try:
            piece = _read_piece(windows, self.file.size_bytes, self.which, start)
        except FormatError:  # once more, as a bit may have been flipped on the way
            again = Windows(self.reader, self.file)
            piece = _read_piece(again, self.file.size_bytes, self.which, start)
        self.cache.put(key, memoryview(piece.encode()))
        return piece


def _read_piece(windows: Windows, size_bytes: int, which: str, start: int) -> _Piece:
    piece, size = _Piece([], [], -1), 0
    for member in read_members(windows, size_bytes, which, start):
        head = bytes(windows(member.offset, member.offset + count_needed(member)))
        piece.members.append(member)
        piece.heads.append(head)
        size += len(head) + len(member.name)
        if len(piece.members) == _PIECE_MEMBERS or size >= _PIECE_BYTES:
            return _Piece(piece.members, piece.heads, member.end)
    return piece


@dataclass(frozen=True, slots=True, eq=False)
class _Walked:
    """A tar of several that are being walked in threads; it opens when its own walk is done."""

    tar: _FarTar
    walk: Future[None]
    later: Sequence[_FarTar]
    number: int

    @property
    def size_bytes(self) -> int:
        """See `Tar`."""
        return self.tar.file.size_bytes

    @contextmanager
    def open(self, report: Report) -> Iterator[OpenTar]:
        """See `Tar`; what is told counts the tars behind it too, as far as they are walked."""
        while not wait([self.walk], _REPORT_S).done:
            report(sum(tar.position for tar in islice(self.later, self.number, None)))
        self.walk.result()
        yield self.tar
        self.tar.let_go()


@contextmanager
def open_far_tars(
    files: Sequence[tuple[RemoteFile, str, str]], reader: RangeReader, cache: DiskCache
) -> Iterator[Sequence[Tar]]:
    """Tars elsewhere, each with its name in messages and what cells call it; all are begun at once.

    At the end the reader is closed, so that no walk goes on.
    """
    tars = [_FarTar(*file, reader, cache) for file in files]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="hffs-tars") as pool:
        try:
            walks = [pool.submit(tar.walk) for tar in tars]
            yield [_Walked(tars[at], walk, tars, at) for at, walk in enumerate(walks)]
        finally:
            reader.close()
            pool.shutdown(wait=False, cancel_futures=True)


def refuse_packed(which: str) -> DataError:
    """What is said of a tar whose members are no ranges of it."""
    why = "it is compressed, so that no range of it is a file"
    return DataError("cannot stream", which, why=why, fix="leave --streaming out")
