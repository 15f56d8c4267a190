"""Parts of a view's videos and sounds that are not in memory: who seeks fetches what he reads.

Owns what of such a file is asked for by parts (a file that a cell names, a value elsewhere), and
that what is elsewhere begins as its name says, which is seen before anything of it is given. Must
not know how parts are read (`hffs.data.rows`), nor what is done with them.
Thread-safe; everything here waits, and runs on the threads of `hffs.view.content`.
"""

from __future__ import annotations

import threading

from hffs.core.formats import MediaFormat, count_sniffed, sniff
from hffs.data.rows import RowStore
from hffs.errors import FormatError
from hffs.view.sizes import LearnedSizes

_STEP_BYTES = 8 << 20
"""Of a file that is fetched whole, at a time."""


class Parts:
    """The files of one view that are read by parts, by cell; each is one cell, and passes through.

    Everything raises what `RowStore.load` does, and FormatError where a file is not what it was
    taken for.
    """

    def __init__(self, rows: RowStore, sizes: LearnedSizes) -> None:
        self._rows, self._sizes = rows, sizes
        self._checked: set[int] = set()
        self._lock = threading.Lock()

    def has(self, cell: int) -> bool:
        """Whether a cell is read by parts: none of an image is."""
        return self._rows.media != "image" and self._rows.is_parted(cell)

    def waits_for_network(self, cell: int, start: int, stop: int) -> bool:
        """Whether reading a part would ask another host, as far as is known."""
        is_new = self._rows.is_far(cell) and cell not in self._checked
        first = count_sniffed(self._rows.media) if is_new else 0
        waits = self._rows.part_waits_for_network
        return waits(cell, start, stop) or (is_new and waits(cell, 0, first))

    def find_size(self, cell: int) -> int:
        """How many bytes a file has; kept, where that had to be found out."""
        size = self._rows.size(cell)
        if not size:
            raise FormatError("cannot read", why="it has no bytes")
        told = self._sizes.get(cell)
        if told not in (None, size):
            why = f"it has {size} bytes, and had {told} when that was recorded"
            raise FormatError("cannot read", why=why)
        self._sizes.learn(cell, size)
        return size

    def read(self, cell: int, kind: MediaFormat, start: int, stop: int) -> memoryview:
        """The bytes of a file, which is said to be of a kind, from `start` up to `stop`."""
        if self._rows.is_far(cell) and cell not in self._checked:
            self._check(cell, kind)
        part = self._rows.load_part(cell, start, stop)
        wanted = max(min(stop, self._rows.size(cell)) - start, 0)
        if len(part) != wanted:
            raise FormatError("cannot read", why=f"{len(part)} bytes came of {wanted}")
        return part

    def fetch(self, cell: int, kind: MediaFormat) -> int:
        """Have all of a file on this host, piece by piece; its size in bytes."""
        size = self.find_size(cell)
        for start in range(0, size if self._rows.is_far(cell) else 0, _STEP_BYTES):
            self.read(cell, kind, start, start + _STEP_BYTES)
        return size

    def _check(self, cell: int, kind: MediaFormat) -> None:
        media = self._rows.media
        require_format(self._rows.load_part(cell, 0, count_sniffed(media)), kind)
        with self._lock:
            self._checked.add(cell)


def require_format(data: memoryview, kind: MediaFormat) -> None:
    """Raise FormatError for a video or sound that its name, or what stands beside it, lies about;
    `data` are its first bytes, or all of them.
    """
    found = sniff(data, kind.media or "image")
    if found is not kind:
        what = found.name if found else "in no known format"
        raise FormatError("cannot read", why=f"it is {what}, and {kind.name} by its name")
