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
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.data.arrays import Stored, load_kept, save_arrays
from hffs.data.cache import DiskCache
from hffs.data.cells.index import CellIndex
from hffs.data.filters.selection import Measured
from hffs.data.folders import remove_whole
from hffs.data.rows import RowStore
from hffs.errors import (
    AccessError,
    DeadlineError,
    FetchError,
    FormatError,
    HffsError,
    OutageError,
    RenderError,
    StaleError,
)
from hffs.view import codecs
from hffs.view.places import Places
from hffs.view.reading import open_rows

log = logging.getLogger(__name__)

PART_CELLS = 1 << 15
"""Cells that are measured before they are kept; each part costs about 10 ms."""

_BATCH = 256
_Size = tuple[int, int, int]
"""Width, height and orientation."""

_PART_PREFIX = "1-"
"""Begins a part's name; another when what is measured changes its meaning."""


@dataclass(frozen=True, slots=True)
class _Pace:
    """How cells are measured: by how many threads, how many at a time by each, and how many before
    they are kept (0: `PART_CELLS`).
    """

    threads: int
    batch: int = _BATCH
    part: int = 0


_FAR = _Pace(threads=32, batch=2, part=1 << 11)  # one image may take as long as 20,000 others


@dataclass(frozen=True, slots=True, eq=False)
class _Memory:
    """What is known of all cells, written in place; `known` marks unreadable ones too."""

    known: NDArray[np.bool_]
    measured: Measured

    def put(self, cells: NDArray[np.int64], sizes: NDArray[np.int32]) -> None:
        self.known[cells] = True
        into = self.measured
        into.width[cells], into.height[cells], into.orientation[cells] = sizes.T


class Measurer:
    """Measures images of one source when asked; `unsettled` is how many of those asked for last
    could not be had, and may be another time.
    """

    def __init__(
        self,
        config: Config,
        places: Places,
        index: CellIndex,
        workers: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self.unsettled = 0
        self._config, self._places, self._index = config, places, index
        self._workers, self._progress = workers, progress

    def __call__(self, wanted: NDArray[np.bool_]) -> Measured:
        """What headers tell of the wanted cells, and of others that were measured before."""
        places, cache_size = self._places, self._config.cache_size
        cache = DiskCache(places.blobs, cache_size)
        folder = places.measured(self._index.identity)
        with open_rows(self._config, places, self._index, cache) as rows:
            measured = load_or_measure(folder, rows, wanted, self._workers, self._progress)
        self.unsettled = max(self.unsettled, measured.unsettled)
        return measured


def load_or_measure(
    folder: Path,
    rows: RowStore,
    wanted: NDArray[np.bool_],
    workers: int,
    progress: Callable[[int, int], None],
) -> Measured:
    """What headers tell of the wanted cells, and of others that were measured before.

    Those at URLs come last, on more threads, as these wait rather than work. What could not be
    fetched is counted, and not remembered.
    """
    memory = _recall(folder, len(wanted))
    missing = np.flatnonzero(wanted & ~memory.known)
    remote = np.fromiter(map(rows.is_far, missing.tolist()), np.bool_, len(missing))
    failures: list[HffsError] = []
    done = 0
    for cells, pace in ((missing[~remote], _Pace(workers)), (missing[remote], _FAR)):
        with ThreadPoolExecutor(pace.threads, thread_name_prefix="hffs-measure") as pool:
            for start in range(0, len(cells), pace.part or PART_CELLS):
                part = cells[start : start + (pace.part or PART_CELLS)]
                batches = [part[at : at + pace.batch] for at in range(0, len(part), pace.batch)]
                sizes = []
                for measured in pool.map(lambda batch: _measure_batch(rows, batch), batches):
                    sizes += measured
                    progress(done + len(sizes), len(missing))
                done += len(sizes)
                failures += _settle(folder, memory, part, sizes)
    if failures:
        log.warning("%d images could not be fetched; one: %s", len(failures), failures[0])
    return replace(memory.measured, unsettled=len(failures))


def recall(folder: Path, count: int) -> Measured:
    """What was measured of the cells of an index before; 0 of the rest."""
    return _recall(folder, count).measured


def _settle(
    folder: Path, memory: _Memory, cells: NDArray[np.int64], sizes: list[_Size | HffsError]
) -> list[HffsError]:
    """Remember what is known for good; returns the rest."""
    known = [size for size in sizes if not isinstance(size, HffsError)]
    if known:
        settled = np.array([not isinstance(size, HffsError) for size in sizes])
        _keep(folder, cells[settled], np.array(known, np.int32))
        memory.put(cells[settled], np.array(known, np.int32))
    return [size for size in sizes if isinstance(size, HffsError)]


def _measure_batch(rows: RowStore, cells: NDArray[np.int64]) -> list[_Size | HffsError]:
    return [_measure(rows, cell) for cell in cells.tolist()]


def _measure(rows: RowStore, cell: int) -> _Size | HffsError:
    """Width, height and orientation of a cell's image; zeros if it is unreadable for good.

    An error where that may pass: a host is away, what a rule forbids is allowed next time.
    """
    try:
        return codecs.measure(rows.load(cell))
    except (OutageError, DeadlineError) as error:
        return error.anew()
    except (AccessError, StaleError) as error:
        if not rows.is_far(cell):
            raise
        return error.anew()
    except (RenderError, FormatError, FetchError):
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
