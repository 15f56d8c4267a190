"""Whether bytes of a cell may be given: those of a foreign index must begin as media do.

An index that was built here has looked at them.
"""

from __future__ import annotations

from hffs.core.formats import NOUNS, sniff
from hffs.data.cells.index import FAR, CellIndex
from hffs.errors import FormatError


class Admission:
    """Admits cells of one index; `name` is its source's."""

    def __init__(self, index: CellIndex, name: str) -> None:
        self._index, self._name = index, name
        self._media = index.column.media
        self._admitted: set[int] = set()

    def is_due(self, cell: int) -> bool:
        """Whether nobody has looked at the bytes of a cell yet."""
        return self._index.is_foreign and cell not in self._admitted

    def admit(self, cell: int, data: memoryview) -> memoryview:
        """The bytes of a cell, or the first of them, if they may be given; else a FormatError."""
        if self._index.is_foreign:
            told, found = self._index.format[cell], sniff(data, self._media)
            is_far = self._index.segments.kind[self._index.segment[cell]] in FAR
            if not found or (found != told and not is_far):
                which = f"row {int(self._index.row[cell])} of {self._name}"
                noun = NOUNS[self._media][0]
                raise FormatError(
                    f"cannot use the {noun} of", which, why=f"its bytes are no {noun}"
                )
            self._admitted.add(cell)
        return data
