"""Who gets what is not on this host: the words between the row store and those who fetch.

Owns nothing but these, so that a mount of local files carries none of them. All are thread-safe,
and raise HffsError where something cannot be had.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hffs.data.traffic import Traffic


class UrlReader(Protocol):
    """Gets what cells name by a URL."""

    def read(self, url: str) -> memoryview:
        """What is at a URL, whole."""
        ...

    def is_here(self, url: str) -> bool:
        """Whether nobody has to be asked for it."""
        ...


class PartReader(Protocol):
    """Gets values that lie elsewhere, by a cell's offset: whole, or by parts."""

    def read(self, offset: int, /) -> memoryview:
        """A value, whole."""
        ...

    def is_here(self, offset: int, /) -> bool:
        """Whether nobody has to be asked for it."""
        ...

    def size(self, offset: int, /) -> int:
        """How many bytes a value has."""
        ...

    def read_part(self, offset: int, start: int, stop: int, /) -> memoryview:
        """The bytes of a value from `start` up to `stop`, as far as it has them."""
        ...

    def has_part(self, offset: int, start: int, stop: int, /) -> bool:
        """Whether nobody has to be asked for them."""
        ...


class PageReader(PartReader, Protocol):
    """Gets the values of pages, whose sizes the index does not tell."""

    def knows(self, offset: int, /) -> bool:
        """Whether nobody has to be asked for the size of a value."""
        ...


@dataclass(frozen=True, slots=True)
class Fetchers:
    """Who gets what; what nobody gets cannot be loaded."""

    urls: UrlReader | None = None
    pages: PageReader | None = None
    files: PartReader | None = None
    traffic: Traffic = field(default_factory=Traffic)
    """Where all of them count what they fetch."""


NOBODY = Fetchers()
"""Where all is on this host."""
