"""Sizes of all images of a source, from their headers: measured once, then remembered.

Owns the arrays that filters ask for when no column tells width and height.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hffs.data.arrays import Stored, load_kept, save_arrays
from hffs.data.rows import RowStore
from hffs.errors import FormatError, RenderError
from hffs.view import codecs

_BATCH = 256

Sizes = tuple[NDArray[np.int32], NDArray[np.int32]]


def load_or_measure(
    folder: Path, rows: RowStore, cells: int, workers: int, progress: Callable[[int, int], None]
) -> Sizes:
    """Widths and heights of all cells, 0 where the bytes do not tell."""

    def make() -> Stored:
        widths, heights = np.zeros(cells, np.int32), np.zeros(cells, np.int32)

        def measure(start: int) -> int:
            stop = min(start + _BATCH, cells)
            for cell in range(start, stop):
                widths[cell], heights[cell] = _measure(rows, cell)
            return stop

        with ThreadPoolExecutor(workers, thread_name_prefix="hffs-measure") as pool:
            for done in pool.map(measure, range(0, cells, _BATCH)):
                progress(done, cells)
        return Stored({"width": widths, "height": heights}, {})

    arrays = (load_kept(folder) or save_arrays(folder, make())).arrays
    return arrays["width"], arrays["height"]


def _measure(rows: RowStore, cell: int) -> tuple[int, int]:
    try:
        measured = codecs.measure(rows.load(cell))
    except (RenderError, FormatError):
        return 0, 0
    return measured.width, measured.height
