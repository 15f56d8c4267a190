"""Where the members of a tar lie in it, from its headers alone: no member's bytes are looked at.

Owns the form of tar headers: ustar, GNU long names, pax. Knows nothing of what members mean.
Invariants: a member lies whole within the file; positions only grow, whatever a header says; a
header's extra records are limited in size. What the file is cut off in is an error, never an end.

`tarfile` takes 18 us a member and ends in silence at a broken header; plain headers are read here
by hand in 4 us, and others by `tarfile.TarInfo`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from hffs.errors import FormatError

_BLOCK = 512
_MAX_RECORDS = 1 << 20
_MAX_NAME = 4096  # PATH_MAX
_END = bytes(_BLOCK)

_WITHOUT_DATA = {*b"123456"}
_REGULAR = {*b"07\0"}
_PAX, _GNU_NAME, _GNU_SPARSE = {*b"xX"}, ord("L"), ord("S")
_BEFORE = {*b"xXLgK"}
"""Kinds that are not members: they say something of the next, or of all that follow."""
_SPARSE_KEY = "GNU.sparse"

_KIND_AT = 156
_DIGITS = frozenset(b"01234567")


Take = Callable[[int, int], memoryview]
"""Gives the bytes of a file from one position up to another, as far as the file has them."""


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar: its bytes are `offset` to `offset + length` of the archive."""

    name: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Where the next header lies."""
        return self.offset + -(-self.length // _BLOCK) * _BLOCK


@dataclass(slots=True)
class _Extra:
    """What records before a header say about the member that it describes."""

    name: str | None = None
    size: int | None = None
    is_sparse: bool = False


def read_members(take: Take, size_bytes: int, which: str, start: int = 0) -> Iterator[Member]:
    """Regular files of a tar, in its order; links, folders, devices and sparse files are skipped.

    What is taken never goes backwards. It may begin at the `end` of any member. Raises FormatError,
    naming `which`, where the tar is cut off or none.
    """
    _require_bytes(size_bytes, which)
    at, extra = start, _Extra()
    while at < size_bytes:
        block = bytes(take(at, at + _BLOCK))
        if block == _END:
            return
        name, kind, size = _read_header(block, at, which)
        at += _BLOCK
        if kind == _GNU_SPARSE:
            at = _skip_sparse_map(take, size_bytes, at, block)
            extra.is_sparse = True
        if kind in _WITHOUT_DATA:
            size = 0
        elif extra.size is not None and kind not in _BEFORE:
            size = extra.size
        end = at + -(-size // _BLOCK) * _BLOCK
        if size < 0 or at + size > size_bytes:
            raise _broken(which, f"member {_shown(name)} ends behind the end of the file")
        if kind in _PAX or kind == _GNU_NAME:
            _read_records(extra, kind, _take_records(take, at, size, which), which)
        elif kind not in _BEFORE:
            name = name if extra.name is None else extra.name
            # a folder in an old archive is a file whose name ends in a slash
            if kind in _REGULAR and not extra.is_sparse and not name.endswith("/"):
                yield Member(name, at, size)
            extra = _Extra()
        at = end


def _require_bytes(size_bytes: int, which: str) -> None:
    if not size_bytes:
        raise _broken(which, "it is empty")


def _read_header(block: bytes, at: int, which: str) -> tuple[str, int, int]:
    """Name, kind and size of the member whose header this is."""
    if len(block) == _BLOCK:
        plain = _read_plain(block)
        if plain is not None:
            return plain
        try:
            info = tarfile.TarInfo.frombuf(block, "utf-8", "replace")
        except (tarfile.HeaderError, ValueError) as error:
            if not at:
                raise _broken(which, "it is not a tar") from error
            raise _broken(which, f"there is no header at byte {at}") from error
        name = info.name + "/" if info.type == tarfile.DIRTYPE else info.name
        return name, info.type[0], info.size
    why = f"its last header, at byte {at}, is incomplete" if at else "it is not a tar"
    raise _broken(which, why)


def _read_plain(block: bytes) -> tuple[str, int, int] | None:
    """As `_read_header`, of a header without anything special; None for any other."""
    size, checksum = block[124:136].rstrip(b" \0"), block[148:156].strip(b" \0")
    prefix, kind = block[345], block[_KIND_AT]
    if prefix or kind not in _REGULAR or not (size and checksum):
        return None
    if not (_DIGITS.issuperset(size) and _DIGITS.issuperset(checksum)):
        return None
    if sum(block) - sum(block[148:156]) + 8 * ord(" ") != int(checksum, 8):
        return None
    name = block[:100].partition(b"\0")[0]
    return name.decode("utf-8", "replace"), kind, int(size, 8)


def _skip_sparse_map(take: Take, size_bytes: int, at: int, header: bytes) -> int:
    """Where the data of an old GNU sparse file begins: its map may go on in further blocks."""
    is_extended = header[482]
    while is_extended and at + _BLOCK <= size_bytes:
        is_extended = take(at, at + _BLOCK)[504]
        at += _BLOCK
    return at


def _take_records(take: Take, at: int, size: int, which: str) -> bytes:
    if size > _MAX_RECORDS:
        raise _broken(which, f"the header at byte {at - _BLOCK} has {size} bytes of records")
    return bytes(take(at, at + size))


def _read_records(extra: _Extra, kind: int, data: bytes, which: str) -> None:
    if kind == _GNU_NAME:
        extra.name = _checked_name(data.partition(b"\0")[0], which)
        return
    for key, value in _split_pax(data, which):
        if key == "path":
            extra.name = _checked_name(value, which)
        elif key == "size":
            if not value.isdigit() or len(value) > 20:
                raise _broken(
                    which, f"a pax record gives the size {_shown(value.decode('utf-8', 'replace'))}"
                )
            extra.size = int(value)
        elif key.startswith(_SPARSE_KEY):
            extra.is_sparse = True


def _split_pax(data: bytes, which: str) -> Iterator[tuple[str, bytes]]:
    """Records `LENGTH KEY=VALUE` and a line break, of which LENGTH counts every byte."""
    at = 0
    while at < len(data) and data[at]:
        digits, space, _ = data[at : at + 21].partition(b" ")
        length = int(digits) if space and digits.isdigit() else 0
        record = data[at + len(digits) + 1 : at + length]
        key, equals, value = record.partition(b"=")
        if not equals or at + length > len(data) or not value.endswith(b"\n"):
            raise _broken(which, "a pax record is broken")
        yield key.decode("utf-8", "replace"), value[:-1]
        at += length


def _checked_name(name: bytes, which: str) -> str:
    if len(name) > _MAX_NAME:
        raise _broken(which, f"a member's name has {len(name)} bytes")
    return name.decode("utf-8", "replace")


def _shown(name: str) -> str:
    return name if len(name) <= 100 else name[:100] + "..."


def _broken(which: str, why: str) -> FormatError:
    return FormatError("cannot read", which, why=why, fix="fetch it again")
