"""Sizes and orientations of images, from their headers: measured when asked for, then remembered.

Owns what is remembered of a source: parts, each of some cells, kept side by side. A cell is unknown
(in no part), measured, or unreadable (in a part, without a size).

Invariants: a part is complete or absent and never changes, so that processes that measure at once
at worst measure twice, and one that is killed loses no more than its current part; its name says
which cells it has.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hffs.data.arrays import Stored, load_kept, save_arrays
from hffs.data.filters.selection import Measured
from hffs.data.folders import remove_whole
from hffs.data.rows import RowStore
from hffs.errors import FormatError, RenderError
from hffs.view import codecs

log = logging.getLogger(__name__)

PART_CELLS = 1 << 15
"""Cells that are measured before they are kept; each part costs about 10 ms."""

_BATCH = 256
_PART_PREFIX = "1-"
"""Begins a part's name; another when what is measured changes its meaning."""


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What is known of all cells, written in place; `known` marks unreadable ones too."""

    known: NDArray[np.bool_]
    measured: Measured

    def put(self, cells: NDArray[np.int64], sizes: NDArray[np.int32]) -> None:
        self.known[cells] = True
        into = self.measured
        into.width[cells], into.height[cells], into.orientation[cells] = sizes.T


def load_or_measure(
    folder: Path,
    rows: RowStore,
    wanted: NDArray[np.bool_],
    workers: int,
    progress: Callable[[int, int], None],
) -> Measured:
    """What headers tell of the wanted cells, and of others that were measured before."""
    memory = _recall(folder, len(wanted))
    missing = np.flatnonzero(wanted & ~memory.known)
    with ThreadPoolExecutor(workers, thread_name_prefix="hffs-measure") as pool:
        for start in range(0, len(missing), PART_CELLS):
            cells = missing[start : start + PART_CELLS]
            batches = [cells[at : at + _BATCH] for at in range(0, len(cells), _BATCH)]
            sizes = []
            for measured in pool.map(lambda batch: _measure_batch(rows, batch), batches):
                sizes += measured
                progress(start + len(sizes), len(missing))
            _keep(folder, cells, np.array(sizes, np.int32))
            memory.put(cells, np.array(sizes, np.int32))
    return memory.measured


def _measure_batch(rows: RowStore, cells: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    return [_measure(rows, cell) for cell in cells.tolist()]


def _measure(rows: RowStore, cell: int) -> tuple[int, int, int]:
    """Width, height and orientation of a cell's image; zeros if it is unreadable."""
    try:
        return codecs.measure(rows.load(cell))
    except (RenderError, FormatError):
        return 0, 0, 0


def _keep(folder: Path, cells: NDArray[np.int64], sizes: NDArray[np.int32]) -> None:
    folder.parent.mkdir(mode=0o700, exist_ok=True)
    save_arrays(folder / _part_name(cells), Stored({"cell": cells, "size": sizes}, {}))


def _part_name(cells: NDArray[np.int64]) -> str:
    return _PART_PREFIX + hashlib.blake2b(cells.tobytes(), digest_size=16).hexdigest()


def _recall(folder: Path, count: int) -> _Memory:
    nothing = np.zeros(count, np.int32)
    measured = Measured(nothing, nothing.copy(), np.zeros(count, np.uint8))
    memory = _Memory(np.zeros(count, np.bool_), measured)
    for part in sorted(folder.glob(f"{_PART_PREFIX}*")):
        stored = load_kept(part)
        if stored is None:
            continue
        if part.name == _part_name(stored.arrays["cell"]):
            memory.put(stored.arrays["cell"], stored.arrays["size"])
        else:
            log.warning("%s does not hold what its name says; it is made again", part)
            remove_whole(part)
    return memory
