"""A file of which only what is asked for is read: for decoders that want a file and seek in it.

Must not know what is read, nor who reads it.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Protocol, Self


class Seekable(Protocol):
    """As much of a binary file as headers are read by."""

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes from here on; none at the end."""
        ...

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go there, also past the end; returns where that is."""
        ...

    def tell(self) -> int:
        """Where the next byte is read."""
        ...


class RangeFile(io.RawIOBase):
    """A read-only file of `size_bytes`, of which `read` gets a part: from a byte up to another.

    Unlike a BytesIO it copies only what is read. Of a mapped image on a cold disk that is its
    header instead of all of it, of a video elsewhere a few requests instead of a download.
    """

    def __init__(self, size_bytes: int, read: Callable[[int, int], bytes | memoryview]) -> None:
        self._size, self._read = size_bytes, read
        self._at = 0

    @classmethod
    def over(cls, data: bytes | memoryview) -> Self:
        """A file over a buffer."""
        return cls(len(data), lambda start, stop: data[start:stop])

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes from here on, else all; raises what the reader of parts does."""
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if self._at >= end:
            return b""
        part = bytes(self._read(self._at, end))
        self._at += len(part)
        return part

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go there, also past the end; returns where that is."""
        base = (0, self._at, self._size)[whence]
        if base + offset < 0:
            raise ValueError("seek before the start")
        self._at = base + offset
        return self._at

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at
