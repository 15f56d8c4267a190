"""The tars that a table is made of: where their members are, and the bytes of those.

Owns opening one that is on this host, unpacked if need be; one elsewhere is
`hffs.data.prepare.fartars`. It must not know what members mean.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from hffs.data.mapped import open_mapped
from hffs.data.prepare.tarindex import Member, read_members
from hffs.data.prepare.unpacking import open_plain

_REPORT_MEMBERS = 1 << 12

Report = Callable[[int], None]
"""Told how many bytes of a tar are done."""


class OpenTar(Protocol):
    """A tar while it is open."""

    @property
    def url(self) -> str:
        """What cells call it."""
        ...

    @property
    def is_copied(self) -> bool:
        """Whether it is an unpacked copy of a compressed tar, of which cells can name no range."""
        ...

    def list_members(self) -> Iterator[Member]:
        """Its regular files, in order; FormatError where it is cut off or no tar."""
        ...

    def take(self, offset: int, length: int) -> memoryview:
        """The first bytes of the member at an offset; quick where they are asked for in order.

        Of one that is not copied: no more than `hffs.data.prepare.fartars.count_needed`.
        """
        ...


class Tar(Protocol):
    """A tar that can be opened, more than once."""

    @property
    def size_bytes(self) -> int:
        """How large it is, compressed or not."""
        ...

    def open(self, report: Report) -> AbstractContextManager[OpenTar]:
        """Open it; `report` hears how far it is read, be it opened or listed.

        Raises as reading does.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class _Mapped:
    """The bytes of a tar; `which` names it in messages."""

    url: str
    which: str
    view: memoryview
    is_copied: bool
    report: Report

    def list_members(self) -> Iterator[Member]:
        view = self.view
        members = read_members(lambda start, stop: view[start:stop], len(view), self.which)
        for count, member in enumerate(members):
            if count % _REPORT_MEMBERS == 0 and not self.is_copied:  # its unpacking was told of
                self.report(member.offset)
            yield member

    def take(self, offset: int, length: int) -> memoryview:
        return self.view[offset : offset + length]


@dataclass(frozen=True, slots=True)
class LocalTar:
    """A tar on this host; where it is compressed it is unpacked below `folder` while it is open."""

    path: Path
    url: str
    folder: Path

    @property
    def size_bytes(self) -> int:
        """See `Tar`."""
        return self.path.stat().st_size

    @contextmanager
    def open(self, report: Report) -> Iterator[OpenTar]:
        """See `Tar`. Raises SourceError, StaleError, FormatError, DataError."""
        which = str(self.path)
        with open_plain(self.path, which, self.folder, report) as plain, open_mapped(plain) as file:
            yield _Mapped(self.url, which, file.view, plain != self.path, report)
            file.check()
