"""Where the members of a zip archive lie, found without reading them; and one of them, inflated.

Owns the end record, the central directory and the local headers (PKWARE's APPNOTE, ZIP64 too). Is
given the whole archive as one buffer; knows nothing of files, of paths outside the archive, or of
what a member is. A directory is kept as arrays, as one of a million members is no rarity.

Invariants, whatever the bytes: every failure is a `FormatError` or a member that is said to be
broken; nothing outside the buffer is read; time and memory are linear in the directory's bytes,
of at most `MAX_MEMBERS` members; inflating makes no more than was declared and one byte.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.errors import FormatError

MAX_MEMBERS = 1 << 22
"""Members of one archive: each takes 50 bytes while its archive is searched."""

STORED, DEFLATED = 0, 8
"""Methods whose members can be read; `Directory.method` has any other as it is."""

NOT_THERE, BROKEN = -1, -2
"""Instead of a member's number, of the place of its data."""

_END = struct.Struct("<4s4H2LH")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_LOCAL_BYTES = 30
_LOCAL = np.arange(_LOCAL_BYTES)
_LOCAL_MAGIC = np.frombuffer(b"PK\x03\x04", np.uint8)
_MAX_COMMENT_BYTES = 0xFFFF
_WIDE, _WIDE_ID = 0xFFFFFFFF, 1  # a field that is full stands for one of 64 bits in `extra`
_ENCRYPTED, _UTF8 = 0x2041, 0x800  # encrypted: the data, strongly, the directory's own fields


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """One entry a member, in the order of `hashes` (int64, Python's of its name).

    `entry` and `header` (int64) are where its entry and its local header lie, `stored` and `length`
    (int64) its bytes there and inflated, `crc` (uint32) that of the latter; `method` (uint16).
    """

    hashes: NDArray[np.int64]
    entry: NDArray[np.int64]
    header: NDArray[np.int64]
    stored: NDArray[np.int64]
    length: NDArray[np.int64]
    crc: NDArray[np.uint32]
    method: NDArray[np.uint16]
    encrypted: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.hashes)


def read_directory(view: memoryview) -> Directory:
    """All members of an archive; FormatError (its `why` alone tells anything) if it is none."""
    place, end, shift = _find_directory(view)
    wide, narrow = (array("q") for _ in range(2))
    while place < end:
        if place + _ENTRY.size > end:
            raise _broken("its directory is cut short")
        fields = _ENTRY.unpack_from(view, place)
        flags, method, crc, *sizes = fields[3], fields[4], *fields[7:10]
        name_bytes, extra_bytes, comment_bytes = fields[10:13]
        stored, length, header = sizes[0], sizes[1], fields[16]
        name = place + _ENTRY.size
        after = name + name_bytes + extra_bytes + comment_bytes
        if fields[0] != b"PK\x01\x02" or after > end:
            raise _broken("its directory is damaged")
        if _WIDE in (stored, length, header):
            extra = bytes(view[name + name_bytes : name + name_bytes + extra_bytes])
            length, stored, header = _widen(extra, length, stored, header)
        hashed = hash(_read_name(view, name, name_bytes, flags))
        wide.extend((hashed, place, header + shift, stored, length))
        narrow.extend((crc, method, flags & _ENCRYPTED))
        if len(wide) > 5 * MAX_MEMBERS:
            raise _broken(f"it has more than {MAX_MEMBERS} members")
        place = after
    return _sort(np.frombuffer(wide, np.int64), np.frombuffer(narrow, np.int64))


def find_members(
    view: memoryview, directory: Directory, names: Sequence[bytes]
) -> NDArray[np.int64]:
    """The number of each name's member, the last of them where several have it; or `NOT_THERE`.

    Names are UTF-8, as `zipfile` and so `datasets` spells them.
    """
    hashes = np.fromiter(map(hash, names), np.int64, len(names))
    found = np.searchsorted(directory.hashes, hashes, "right") - 1
    for place, number in enumerate(found.tolist()):
        while number >= 0 and directory.hashes[number] == hashes[place]:
            entry = int(directory.entry[number])
            fields = _ENTRY.unpack_from(view, entry)
            if _read_name(view, entry + _ENTRY.size, fields[10], fields[3]) == names[place]:
                break
            number -= 1
        else:
            number = NOT_THERE
        found[place] = number
    return found


def locate_members(
    view: memoryview,
    directory: Directory,
    members: NDArray[np.int64],
    prefetch: Callable[[NDArray[np.int64]], None],
) -> NDArray[np.int64]:
    """Where the data of members begin, or `BROKEN`; `prefetch` hears what is about to be read.

    Their local headers decide, and have to name them as the directory does.
    """
    headers, stored = directory.header[members], directory.stored[members]
    sound = (headers >= 0) & (headers <= len(view) - _LOCAL_BYTES)
    prefetch(headers[sound])
    data = np.frombuffer(view, np.uint8)
    heads = data[np.where(sound, headers, 0)[:, None] + _LOCAL] if sound.any() else None
    if heads is None:
        return np.full(len(members), BROKEN, np.int64)
    sound &= (heads[:, :4] == _LOCAL_MAGIC).all(axis=1)
    lengths = np.ascontiguousarray(heads[:, 26:30]).view("<u2").astype(np.int64)
    starts = headers + _LOCAL_BYTES + lengths.sum(axis=1)
    sound &= (stored >= 0) & (starts <= len(view) - stored)
    for place in np.flatnonzero(sound).tolist():
        entry, header = int(directory.entry[members[place]]), int(headers[place])
        name_bytes = _ENTRY.unpack_from(view, entry)[10]
        listed = view[entry + _ENTRY.size :][:name_bytes]
        sound[place] = (
            lengths[place, 0] == name_bytes and view[header + _LOCAL_BYTES :][:name_bytes] == listed
        )
    return np.where(sound, starts, BROKEN)


def inflate(stored: memoryview, length: int, crc: int) -> bytes:
    """A deflated member; FormatError if it is not exactly what was declared."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        data = inflater.decompress(stored, length + 1)
    except zlib.error as error:
        raise _broken(str(error), "cannot inflate") from error
    if len(data) > length:
        raise _broken(f"it inflates to more than the {length} bytes that it declares")
    if not inflater.eof or len(data) < length:
        raise _broken(f"it does not inflate to the {length} bytes that it declares")
    if zlib.crc32(data) != crc:
        raise _broken("its checksum is wrong")
    return data


def inflate_head(stored: memoryview, length: int) -> bytes:
    """The first bytes of a deflated member, as many as can be had of what is given."""
    try:
        return zlib.decompressobj(-zlib.MAX_WBITS).decompress(stored, length)
    except zlib.error:
        return b""


def _find_directory(view: memoryview) -> tuple[int, int, int]:
    """Where the directory begins and ends, and what comes before the archive in its file."""
    tail = bytes(view[-(_END.size + _MAX_COMMENT_BYTES) :])
    at = tail.rfind(b"PK\x05\x06", 0, max(len(tail) - _END.size + 4, 0))
    if at < 0:
        raise _broken("it has no end record; it is cut short, or no zip archive")
    end = len(view) - len(tail) + at
    disk, first_disk, _, _, size, offset = _END.unpack_from(view, end)[1:7]
    before = end - _LOCATOR64.size
    if before >= _END64.size and bytes(view[before : before + 4]) == b"PK\x06\x07":
        if _LOCATOR64.unpack_from(view, before)[3] > 1:
            raise _broken("it is one of several disks")
        end = before - _END64.size
        magic, *_, disk, first_disk, _, _, size, offset = _END64.unpack_from(view, end)
        if magic != b"PK\x06\x06":
            raise _broken("its ZIP64 end record is damaged")
    if disk or first_disk:
        raise _broken("it is one of several disks")
    start = end - size
    if start < 0 or start < offset:
        raise _broken("its directory does not lie in it")
    return start, end, start - offset


def _widen(extra: bytes, *sizes: int) -> list[int]:
    """The fields that are too large for 32 bits, from ZIP64's own; -1 for those it lacks."""
    wide: list[int] = []
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == _WIDE_ID:
            body = extra[at + 4 : at + 4 + size]
            wide = [value for (value,) in struct.iter_unpack("<Q", body[: len(body) // 8 * 8])]
            break
        at += 4 + size
    values = iter(wide)
    found = [next(values, -1) if size == _WIDE else size for size in sizes]
    # what no file can have would not fit into the arrays
    return [size if size < 1 << 62 else -1 for size in found]


def _read_name(view: memoryview, start: int, length: int, flags: int) -> bytes:
    name = bytes(view[start : start + length])
    return name if flags & _UTF8 or name.isascii() else name.decode("cp437").encode()


def _sort(wide: NDArray[np.int64], narrow: NDArray[np.int64]) -> Directory:
    hashes, entry, header, stored, length = wide.reshape(-1, 5).T
    crc, method, encrypted = narrow.reshape(-1, 3).T
    order = np.argsort(hashes, kind="stable")
    return Directory(
        hashes[order], entry[order], header[order], stored[order], length[order],
        crc[order].astype(np.uint32), method[order].astype(np.uint16), encrypted[order] != 0,
    )  # fmt: skip


def _broken(why: str, what: str = "cannot read") -> FormatError:
    return FormatError(what, "the archive", why=why)
