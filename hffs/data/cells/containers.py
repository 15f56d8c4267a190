"""Image cells that name a member of an archive: which range of which file that is.

    zip://MEMBER::ARCHIVE                a member of a zip archive, as `datasets` spells it
    tar://OFFSET:LENGTH:FORMAT::ARCHIVE  a range of an archive, as our own index of tars spells it

FORMAT is an extension that says what the bytes are, or is left out; where the archive is on this
host they are looked at all the same.

Owns finding these ranges. ARCHIVE is a path like that of any cell (`hffs.data.cells.paths`), and as
confined; MEMBER is only ever compared with the names in the archive. A stored member is a range of
the archive's map, a deflated one is inflated when it is read.
Invariant: an archive is read as it was when it was first opened here, and `close` checks that.
"""

from __future__ import annotations

import logging
import os
import re
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hffs.core.formats import Media, MediaFormat, count_sniffed, name_format, sniff
from hffs.core.zips import (
    BROKEN,
    DEFLATED,
    NOT_THERE,
    STORED,
    Directory,
    find_members,
    inflate_head,
    locate_members,
    read_directory,
)
from hffs.data.cells.index import MOST_CODED_BYTES, Coding
from hffs.data.cells.paths import PathResolver, stale
from hffs.data.mapped import MappedFile, open_mapped, sniff_values
from hffs.errors import AccessError, FormatError, SourceError

log = logging.getLogger(__name__)

MEMBER_MISSING = "member missing in its archive"
MEMBER_EMPTY = "empty member of an archive"
MEMBER_BROKEN = "broken member of a zip archive"
MEMBER_ENCRYPTED = "encrypted member of a zip archive"
MEMBER_UNREADABLE = "member that is compressed otherwise than by deflate"
TOO_LARGE = "image too large to be decoded"
ARCHIVE_BROKEN = "member of a broken zip archive"
BAD_REFERENCE = "malformed path into an archive"
OUT_OF_RANGE = "range outside its archive"

_TAR = re.compile(rb"tar://([0-9]{1,18}):([0-9]{1,18})(?::([a-z0-9]{1,8}))?::(.+)", re.DOTALL)
_ZIP = re.compile(rb"zip://(.+)::(.+)", re.DOTALL)
_OPEN_ARCHIVES = 64
_KEPT_MEMBERS = 1 << 22  # of directories, 50 bytes each
_KEPT_PATHS = 1 << 16
_MOST_WARNINGS = 10
_INFLATED_HEAD_BYTES = 1024  # enough for the tables and the first bytes of an image


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """Some cells of one archive: `slots` are their places among those that were asked for.

    `offsets`, `stored` and `lengths` (int64), `formats` (uint8) and `crcs` (uint32) of each.
    """

    container: int
    coding: Coding
    slots: NDArray[np.int64]
    offsets: NDArray[np.int64]
    stored: NDArray[np.int64]
    lengths: NDArray[np.int64]
    formats: NDArray[np.uint8]
    crcs: NDArray[np.uint32]


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many cells cannot be served, and why."""

    reason: str
    count: int


class TarRange(NamedTuple):
    """A range of an archive, and the format that its bytes are said to be, UNKNOWN for another."""

    archive: bytes
    offset: int
    length: int
    format: MediaFormat | None


def parse_tar_range(path: bytes, media: Media = "image") -> TarRange | None:
    """What a path that begins with `tar://` means, None where it is malformed.

    >>> parse_tar_range(b"tar://512:9:jpg::a.tar")
    TarRange(archive=b'a.tar', offset=512, length=9, format=<MediaFormat.JPEG: 1>)
    """
    found = _TAR.fullmatch(path)
    if found is None:
        return None
    told = None if found[3] is None else name_format(found[3].decode(), media)
    return TarRange(found[4], int(found[1]), int(found[2]), told)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """References into one archive: slots, and of each a member's name or a range (int64)."""

    archive: bytes
    slots: list[int]
    members: list[bytes]
    ranges: list[tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class _Archive:
    """One that is open: its number, its map, and which medium its members are looked at for."""

    number: int
    file: MappedFile
    media: Media


class References:
    """References into archives, gathered by their archive."""

    def __init__(self) -> None:
        self.malformed = 0
        self.wanted: dict[tuple[bool, bytes], Wanted] = {}

    def add(self, slot: int, path: bytes) -> None:
        """Take over one reference, which begins with `zip://` or `tar://`."""
        if found := parse_tar_range(path):
            wanted = self._into(False, found.archive)
            wanted.ranges.append((found.offset, found.length))
        elif match := _ZIP.fullmatch(path):
            wanted = self._into(True, match[2])
            wanted.members.append(match[1])
        else:
            self.malformed += 1
            return
        wanted.slots.append(slot)

    def _into(self, is_zip: bool, archive: bytes) -> Wanted:
        key = (is_zip, archive)
        if key not in self.wanted:
            self.wanted[key] = Wanted(archive, [], [], [])
        return self.wanted[key]


class Archives:
    """The archives that a source's cells name, numbered as they come up. Close it."""

    def __init__(self, resolver: PathResolver, media: Media = "image") -> None:
        self._resolver = resolver
        self._media: Media = media
        self._paths: dict[bytes, int | str] = {}
        self._numbers: dict[bytes, int] = {}
        self.names: list[bytes] = []
        self.pins: list[tuple[int, int]] = []
        """Size and mtime of each, beside its name in `names`."""
        self._files: OrderedDict[int, MappedFile] = OrderedDict()
        self._directories: OrderedDict[int, Directory] = OrderedDict()
        self._broken: set[int] = set()

    def find(self, references: References) -> Iterator[Ranges | Dropped]:
        """Where what is referred to lies; every reference is in one of the outcomes."""
        if references.malformed:
            yield Dropped(BAD_REFERENCE, references.malformed)
        for (is_zip, archive), wanted in references.wanted.items():
            number = self._number(archive)
            if isinstance(number, str):
                yield Dropped(number, len(wanted.slots))
            else:
                yield from (self._find_members if is_zip else self._find_ranges)(number, wanted)

    def close(self) -> None:
        """Close all archives; StaleError if one was changed since it was opened."""
        while self._files:
            self._close_oldest()

    def _number(self, archive: bytes) -> int | str:
        """An archive's number, or the reason why it cannot be read."""
        if archive not in self._paths:
            if len(self._paths) >= _KEPT_PATHS:
                self._paths.clear()
            self._paths[archive] = self._resolve(archive)
        return self._paths[archive]

    def _resolve(self, archive: bytes) -> int | str:
        found = self._resolver.find(archive)
        if isinstance(found, str):
            return found
        if found.name not in self._numbers:
            self._numbers[found.name] = len(self.names)
            self.names.append(found.name)
            self.pins.append((found.size_bytes, found.mtime_ns))
        return self._numbers[found.name]

    def _open(self, number: int) -> MappedFile:
        if number in self._files:
            self._files.move_to_end(number)
            return self._files[number]
        while len(self._files) >= _OPEN_ARCHIVES:
            self._close_oldest()
        path = os.path.join(self._resolver.root, self.names[number])
        self._files[number] = open_container(path, *self.pins[number])
        return self._files[number]

    def _close_oldest(self) -> None:
        _, file = self._files.popitem(last=False)
        with file:
            file.check()

    def _find_ranges(self, number: int, wanted: Wanted) -> Iterator[Ranges | Dropped]:
        file = self._open(number)
        slots = np.array(wanted.slots, np.int64)
        offsets, lengths = np.array(wanted.ranges, np.int64).reshape(-1, 2).T
        inside, filled = offsets <= file.size_bytes - lengths, lengths > 0
        yield from _count({OUT_OF_RANGE: ~inside, MEMBER_EMPTY: inside & ~filled})
        fine = inside & filled
        archive = _Archive(number, file, self._media)
        yield from _take_raw(archive, slots[fine], offsets[fine], lengths[fine])

    def _find_members(self, number: int, wanted: Wanted) -> Iterator[Ranges | Dropped]:
        file = self._open(number)
        directory = self._read_directory(number, file)
        if directory is None:
            yield Dropped(ARCHIVE_BROKEN, len(wanted.slots))
            return
        members = find_members(file.view, directory, wanted.members)
        present = members != NOT_THERE
        yield from _count({MEMBER_MISSING: ~present})
        slots = np.array(wanted.slots, np.int64)[present]
        archive = _Archive(number, file, self._media)
        yield from _locate(archive, directory, slots, members[present])

    def _read_directory(self, number: int, file: MappedFile) -> Directory | None:
        """The members of an archive; None if it is broken, which is warned of once."""
        if number in self._broken:
            return None
        directory = self._directories.get(number)
        if directory is None:
            try:
                directory = read_directory(file.view)
            except FormatError as error:
                self._broken.add(number)
                if len(self._broken) <= _MOST_WARNINGS:
                    log.warning("cannot read %s: %s; its images are left out", file.path, error.why)
                return None
            self._directories[number] = directory
            while sum(map(len, self._directories.values())) > _KEPT_MEMBERS:
                self._directories.popitem(last=False)
        return directory


def open_container(path: bytes, size_bytes: int, mtime_ns: int) -> MappedFile:
    """Map an archive; StaleError if it is not what was found, AccessError."""
    try:
        file = open_mapped(Path(os.fsdecode(path)))
    except AccessError:
        raise
    except SourceError as error:
        raise stale(path, "it was removed while mounted") from error
    if (file.size_bytes, file.mtime_ns) != (size_bytes, mtime_ns):
        file.close()
        raise stale(path, "it was changed while mounted")
    return file


def _locate(
    archive: _Archive,
    directory: Directory,
    slots: NDArray[np.int64],
    members: NDArray[np.int64],
) -> Iterator[Ranges | Dropped]:
    """Ranges of members that are there, stored and deflated ones apart."""
    method, encrypted = directory.method[members], directory.encrypted[members]
    stored, lengths = directory.stored[members], directory.length[members]
    known = np.isin(method, (STORED, DEFLATED)) & ~encrypted
    filled = known & (lengths != 0)
    starts = np.full(len(members), BROKEN, np.int64)
    file = archive.file
    starts[filled] = locate_members(file.view, directory, members[filled], file.advise_pages)
    is_raw = method == STORED
    # beyond twice its image a deflated member is made to take time, not to hold an image
    sound = (starts != BROKEN) & np.where(is_raw, stored == lengths, stored // 2 <= lengths + 64)
    large = sound & ~is_raw & (lengths > MOST_CODED_BYTES)
    yield from _count(
        {
            MEMBER_ENCRYPTED: encrypted,
            MEMBER_UNREADABLE: ~known & ~encrypted,
            MEMBER_EMPTY: known & ~filled,
            MEMBER_BROKEN: filled & ~sound,
            TOO_LARGE: large,
        }
    )
    raw, deflated = (np.flatnonzero(sound & ~large & kind) for kind in (is_raw, ~is_raw))
    yield from _take_raw(archive, slots[raw], starts[raw], lengths[raw])
    if len(deflated):
        places, sizes = starts[deflated], stored[deflated]
        yield Ranges(
            archive.number, Coding.DEFLATE, slots[deflated], places, sizes, lengths[deflated],
            _sniff_deflated(archive, places, sizes), directory.crc[members[deflated]],
        )  # fmt: skip


def _take_raw(
    archive: _Archive,
    slots: NDArray[np.int64],
    starts: NDArray[np.int64],
    sizes: NDArray[np.int64],
) -> Iterator[Ranges]:
    if len(slots):
        file = archive.file
        formats = sniff_values(file.view, starts, sizes, file.advise_pages, archive.media)
        unchecked = np.zeros(len(slots), np.uint32)
        yield Ranges(archive.number, Coding.RAW, slots, starts, sizes, sizes, formats, unchecked)


def _sniff_deflated(
    archive: _Archive, starts: NDArray[np.int64], stored: NDArray[np.int64]
) -> NDArray[np.uint8]:
    view, media = archive.file.view, archive.media
    heads = (
        inflate_head(view[start : start + min(size, _INFLATED_HEAD_BYTES)], count_sniffed(media))
        for start, size in zip(starts.tolist(), stored.tolist(), strict=True)
    )
    return np.fromiter((sniff(head, media) for head in heads), np.uint8, len(starts))


def _count(marks: dict[str, NDArray[np.bool_]]) -> Iterator[Dropped]:
    for reason, marked in marks.items():
        if count := int(marked.sum()):
            yield Dropped(reason, count)
