"""Which members of a tar make a sample, by their names: consecutive ones with the same key.

Owns the grouping and the fields found; it reads headers, and of values only JSON (for its type).
Invariants: a million samples are arrays, not objects; no more than `_MAX_FIELDS` fields.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from hffs.data.prepare.fields import FieldKind, decode_value, find_kind, require_small
from hffs.data.prepare.shapes import Shape
from hffs.data.prepare.tarindex import Member
from hffs.data.prepare.tars import OpenTar
from hffs.errors import DataError

_MAX_FIELDS = 256
_MAX_EXTENSION = 32


@dataclass(frozen=True, slots=True, eq=False)
class TarSamples:
    """The samples of one tar: `keys` (text), and `ends` (members before a sample's end).

    Of each member `field` is its number, `offset` and `length` its place in the tar, which is what
    the file holds where it is compressed.
    """

    url: str
    keys: pa.Array
    ends: array[int]
    field: array[int]
    offset: array[int]
    length: array[int]

    def list_samples(self) -> Iterator[list[tuple[int, int, int]]]:
        """Field, offset and length of every member, sample by sample."""
        start = 0
        for end in self.ends:
            part = slice(start, end)
            yield list(zip(self.field[part], self.offset[part], self.length[part], strict=True))
            start = end


class SampleIndex:
    """Fields of all tars read so far, in the order in which they appeared.

    `shapes` has an entry for each field of JSON; `left_out` counts files by extension.
    `find_merged` tells the media that have several fields, of which no sample has two.
    """

    def __init__(self) -> None:
        self.fields: dict[str, FieldKind] = {}
        self.shapes: dict[str, Shape] = {}
        self.left_out: Counter[str] = Counter()
        self._numbers: dict[str, int] = {}
        self._doubled: set[FieldKind] = set()

    def find_merged(self) -> set[FieldKind]:
        """Kinds of media that fit one column each, and have more than one field."""
        counts = Counter(kind for kind in self.fields.values() if kind.media)
        return {kind for kind, count in counts.items() if count > 1} - self._doubled

    def read_tar(self, tar: OpenTar) -> TarSamples:
        """Group the members of a tar."""
        grouping = _Grouping(tar.url)
        for member in tar.list_members():
            split = split_name(member.name)
            if split is None:
                continue
            key, name = split
            number = self._number(name, grouping)
            kind = self.fields.get(name)
            if grouping.add(key, number, member, kind) and kind is not None:
                self._doubled.add(kind)
            if name in self.shapes:
                self._learn(tar, name, member)
        return grouping.finish()

    def _number(self, name: str, grouping: _Grouping) -> int:
        """Number of a field; -1 if it is left out."""
        number = self._numbers.get(name)
        if number is not None:
            return number
        kind = find_kind(name)
        if kind is None:
            extension = name.lower().rpartition(".")[2][:_MAX_EXTENSION]
            self.left_out[extension] += 1
            return -1
        if len(self.fields) >= _MAX_FIELDS:
            why = (
                f"its samples have more than {_MAX_FIELDS} kinds of files: a sample's name ends at "
                f"the first dot, so that {name} is one"
            )
            raise DataError("cannot use", grouping.url, why=why)
        self.fields[name] = kind
        if kind is FieldKind.JSON:
            self.shapes[name] = Shape()
        return self._numbers.setdefault(name, len(self._numbers))

    def _learn(self, tar: OpenTar, name: str, member: Member) -> None:
        try:
            value = read_value(tar, name, FieldKind.JSON, member.offset, member.length)
        except ValueError:
            return  # told of when the values are read
        self.shapes[name].add(value)


def read_value(tar: OpenTar, name: str, kind: FieldKind, offset: int, length: int) -> object:
    """The value of a member that is a text, int or JSON; ValueError says why there is none."""
    require_small(length)
    return decode_value(name, kind, tar.take(offset, length))


def split_name(name: str) -> tuple[str, str] | None:
    """Key and field of a member; None for what is hidden or has no extension.

    The key ends at the first dot of the file's own name.

    >>> split_name("a.b/cat.seg.png")
    ('a.b/cat', 'seg.png')
    """
    slash = name.rfind("/") + 1
    if name.startswith((".", "__"), slash):
        return None
    dot = name.find(".", slash)
    return None if dot < 0 else (name[:dot], name[dot + 1 :])


class _Grouping:
    """Collects the members of one tar."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._keys: list[str] = []
        self._seen: dict[str, int] = {}
        self._mask = 0
        self._kinds: set[FieldKind] = set()
        self._ends, self._offset, self._length = array("q"), array("q"), array("q")
        self._field = array("h")

    def add(self, key: str, number: int, member: Member, kind: FieldKind | None) -> bool:
        """Take a member; True if its sample has one of media of that kind before this one."""
        if not self._keys or self._keys[-1] != key:
            self._end_sample()
            self._keys.append(key)
        if number < 0:
            return False
        if self._mask >> number & 1:
            why = f"sample {key} has two files of one kind ({member.name})"
            raise DataError("cannot use", self.url, why=why)
        self._mask |= 1 << number
        self._field.append(number)
        self._offset.append(member.offset)
        self._length.append(member.length)
        if kind is None or not kind.media:
            return False
        is_second = kind in self._kinds
        self._kinds.add(kind)
        return is_second

    def finish(self) -> TarSamples:
        """All samples."""
        self._end_sample()
        keys = pa.array(self._keys, pa.string())
        return TarSamples(self.url, keys, self._ends, self._field, self._offset, self._length)

    def _end_sample(self) -> None:
        if not self._keys:
            return
        key = self._keys[-1]
        before = self._seen.setdefault(key, self._mask)
        if before and self._mask and not before & self._mask:
            why = f"the files of sample {key} do not lie side by side"
            raise DataError("cannot use", self.url, why=why, fix="pack it with tar --sort=name")
        self._ends.append(len(self._field))
        self._mask = 0
        self._kinds.clear()
