"""A file by ranges, for parsers of headers: its beginning is there, the rest is asked for.

Pure: asking is somebody else's function. Must not know formats. Invariant: a parser that asks for
too many ranges is stopped, whatever the bytes made it do.
"""

from __future__ import annotations

from collections.abc import Callable

from hffs.errors import FormatError, UnsupportedError

Fetch = Callable[[int, int], bytes]
"""The bytes of a file from one offset up to another; fewer where it ends before."""

MOST_FETCHES = 64
_LEAST_BYTES = 512  # what is asked for at once, since what follows is wanted next


class ByteRanges:
    """A file by ranges: its beginning is there already."""

    __slots__ = ("_fetch", "_fetches", "_name", "_part", "_start", "head", "size_bytes")

    def __init__(self, head: bytes, size_bytes: int, fetch: Fetch, name: str) -> None:
        self.head, self.size_bytes = head, size_bytes
        self._fetch, self._name, self._fetches = fetch, name, 0
        self._start, self._part = 0, b""

    def take(self, start: int, length: int) -> bytes:
        """Exactly these bytes; FormatError where the file ends before."""
        stop = start + length
        if stop <= len(self.head):
            return self.head[start:stop]
        if stop > self.size_bytes:
            raise self.broken("truncated")
        if not self._start <= start <= stop <= self._start + len(self._part):
            self._fetches += 1
            if self._fetches > MOST_FETCHES:
                raise self.unusual("it is in too many parts")
            self._start = start
            self._part = self._fetch(start, max(stop, min(start + _LEAST_BYTES, self.size_bytes)))
            if len(self._part) < length:
                raise self.broken("truncated")
        return self._part[start - self._start : stop - self._start]

    def broken(self, how: str) -> FormatError:
        """Error for a file that no reader could make sense of."""
        return FormatError(f"{how} {self._name}")

    def unusual(self, why: str) -> UnsupportedError:
        """Error for a file that has to be read by another reader."""
        return UnsupportedError(f"an unusual {self._name}", why=why)
