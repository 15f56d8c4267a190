"""How many bytes the images of a view have in all, as far as that is known.

Owns what is counted once: `df` and overlays ask often, and it looks at every position.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hffs.data.arrays import let_go
from hffs.data.cells.index import CellIndex
from hffs.view.manifest import Manifest
from hffs.view.rendering import Rendering
from hffs.view.sizes import LearnedSizes


class Totals:
    """The sizes that the index of a view tells, and those that were learned since, in sum."""

    def __init__(
        self, manifest: Manifest, index: CellIndex, rendering: Rendering, sizes: LearnedSizes
    ) -> None:
        self._manifest = manifest
        self._index = index
        self._rendering = rendering
        self._sizes = sizes

    def known_bytes(self) -> int:
        """Bytes of all images whose size is known."""
        told, is_all = self._told
        if is_all:
            return told
        learned = ~self._find_told()
        slots = self._manifest.cells[learned] * self._rendering.slots
        if self._manifest.tiles is not None:
            slots += self._manifest.tiles[learned]
        return told + self._sizes.total_bytes(slots)

    @cached_property
    def _told(self) -> tuple[int, bool]:
        """Bytes of the images whose sizes the index tells, and whether these are all."""
        told = self._find_told()
        lengths = self._index.length[self._manifest.cells[told]]
        let_go(self._index.length, self._manifest.cells, self._manifest.forms)
        return int(lengths.sum()), bool(told.all())

    def _find_told(self) -> NDArray[np.bool_]:
        """Of which positions the index tells the sizes."""
        passing = np.asarray(self._rendering.passing())
        passes: NDArray[np.bool_] = passing[self._manifest.forms]
        return passes & (self._index.length[self._manifest.cells] >= 0)
