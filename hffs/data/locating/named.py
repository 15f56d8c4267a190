"""Files of a repository that only cells name: downloaded once it is known which.

A table of a repository may hold paths of images that lie beside it, which are no data files to
`datasets`. Owns which of these have to be there; downloading is `hffs.data.hub.fetch`.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from functools import partial
from itertools import groupby

import numpy as np

from hffs.core.formats import NOUNS
from hffs.data.arrow import NO_SLOT
from hffs.data.cells.batches import cut_rows
from hffs.data.cells.columns import find_media_column
from hffs.data.cells.extents import read_extents
from hffs.data.hub.fetch import fetch_files
from hffs.data.hub.resolve import find_files
from hffs.data.locating.record import Wanted
from hffs.data.mediacolumn import MediaColumn
from hffs.data.shards import Located
from hffs.data.source import Source, open_shards, open_source
from hffs.data.watcher import Watcher

_TAR = re.compile(rb"\Atar://[^/]*?::")


def fetch_named(wanted: Wanted, located: Located, watcher: Watcher) -> None:
    """Download what cells of the column name, as far as the repository has it."""
    request, source = wanted.request, open_source(located)
    images = find_media_column(source, wanted.column, wanted.media)
    base = located.base
    if images.kind != "path" or base is None:
        return
    absent = sorted(name for name in list_names(source, images) if not (base / name).exists())
    files = find_files(request, located.commit, absent) if absent else []
    if files:
        what = f"downloading {NOUNS[wanted.media][1]} of {request.name}"
        report = partial(watcher.progress, what, unit="B")
        fetch_files(request, located.commit, files, report)


def list_names(source: Source, column: MediaColumn) -> set[str]:
    """Names of files below the root in cells without bytes: no URLs, nothing that leads out.

    Where a cell names a range of a tar, that is the tar.
    """
    paths = (_TAR.sub(b"", path) for path in _list_paths(source, column))
    texts = (os.fsdecode(path) for path, _ in groupby(paths))
    names = {os.path.normpath(text) for text in texts if "\0" not in text and ":" not in text}
    return {name for name in names if not name.startswith(("..", "/", "."))}


def _list_paths(source: Source, column: MediaColumn) -> Iterator[bytes]:
    for number, file in open_shards(source, source.reader, range(len(source.shards))):
        seen, (start, stop) = 0, source.windows[number]
        for batch in read_extents(file, source.shards[number].layout, column):
            cut = cut_rows(batch, start - seen, stop - seen)
            seen += batch.row_count
            unset = np.flatnonzero((cut.offsets == NO_SLOT) & ~cut.vacant)
            yield from filter(None, cut.read_paths(unset).to_pylist())
