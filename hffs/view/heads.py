"""Formats of videos and sounds elsewhere that nothing names: seen by their first bytes, and kept.

Owns which cells are looked at, and where what was seen is kept. A file of the view has to have an
extension, and nothing makes another format of what it shows, so that this comes before all else.
Invariant: what is kept is of every cell of an index, or it is not there.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from hffs.config import Config
from hffs.core.formats import MediaFormat, count_sniffed, sniff
from hffs.data.arrays import Stored, load_kept, save_arrays
from hffs.data.cache import DiskCache
from hffs.data.cells.index import CellIndex
from hffs.data.rows import RowStore
from hffs.errors import FormatError
from hffs.view.places import Places
from hffs.view.reading import open_rows

_THREADS = 32


def learn_formats(
    config: Config, places: Places, index: CellIndex, progress: Callable[[int, int], None]
) -> CellIndex:
    """The index with the formats of all videos or sounds, as far as they are in any that is known.

    Raises what fetching raises.
    """
    if index.column.media == "image":
        return index
    missing = np.flatnonzero(np.asarray(index.format) == MediaFormat.UNKNOWN)
    if not len(missing):
        return index
    folder = places.heads(index.identity)
    stored = load_kept(folder)
    if stored is None or len(stored.arrays.get("format", ())) != len(index):
        formats = np.array(index.format)
        cache = DiskCache(places.blobs, config.cache_size)
        with (
            open_rows(config, places, index, cache) as rows,
            ThreadPoolExecutor(_THREADS, thread_name_prefix="hffs-heads") as pool,
        ):
            found = pool.map(lambda cell: _look(rows, cell), missing.tolist())
            for done, (cell, kind) in enumerate(zip(missing.tolist(), found, strict=True), 1):
                formats[cell] = kind
                progress(done, len(missing))
        stored = save_arrays(folder, Stored({"format": formats}, {}))
    return replace(index, format=stored.arrays["format"])


def _look(rows: RowStore, cell: int) -> MediaFormat:
    try:
        return sniff(rows.load_part(cell, 0, count_sniffed(rows.media)), rows.media)
    except FormatError:
        return MediaFormat.UNKNOWN
