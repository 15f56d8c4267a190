"""Opening a view: from what was decided before in milliseconds, else after deciding it.

Owns putting the parts of an open view together and taking them apart. What a decision takes is in
`hffs.view.deciding`, which is imported only where there is none: it brings DuckDB and pandas
along, which a daemon that serves for weeks should not carry.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from hffs.config import Config
from hffs.data.arrays import Stored, load_kept, remove_arrays
from hffs.data.cache import DiskCache
from hffs.data.cells import CellIndex, load_index
from hffs.data.rows import RowStore
from hffs.data.source import ImageColumn
from hffs.view import codecs
from hffs.view.content import Content, Stores
from hffs.view.manifest import CaptionFiles, Manifest, ViewInfo
from hffs.view.places import Places, find_places, make_key
from hffs.view.sizes import LearnedSizes
from hffs.view.tree import Tree


class Watcher(Protocol):
    """Who waits while a view is opened."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Some work is `done` of `total` far."""
        ...

    def notice(self, text: str) -> None:
        """Something a person should know; the work goes on."""
        ...


@dataclass(frozen=True, slots=True)
class Decided:
    """A view's manifest, with the index that its cells are numbers of."""

    manifest: Manifest
    index: CellIndex


def is_decided(config: Config) -> bool:
    """Whether `open_view` will find the view decided."""
    return reopen(find_places(config)) is not None


def reopen(places: Places) -> Decided | None:
    """The view as it was decided before, if that still holds."""
    stored = load_kept(places.view)
    if stored is None:
        return None
    try:
        info = ViewInfo.parse(stored.meta["info"])
        column = ImageColumn(**stored.meta["column"])
    except (KeyError, TypeError, ValueError):  # another release kept it
        remove_arrays(places.view)
        return None
    index = load_index(places.index(column), places.located)
    if index is None or index.identity != info.identity:
        remove_arrays(places.view)
        return None
    return Decided(restore(stored, info), index)


def restore(stored: Stored, info: ViewInfo) -> Manifest:
    """A manifest from the arrays that keep it."""
    arrays = stored.arrays
    captions = None
    if "captions" in arrays:
        captions = CaptionFiles(arrays["caption_offsets"], arrays["captions"])
    return Manifest(info, arrays["cells"], captions)


@contextmanager
def open_view(config: Config, watcher: Watcher, workers: int) -> Iterator[Tree]:
    """The tree of the view that a configuration describes, decided first if need be.

    Raises SourceError, AccessError, ConfigError or DataError, each naming the thing.
    """
    places = find_places(config)
    decided = reopen(places)
    if decided is None:
        from hffs.view.deciding import decide

        decided = decide(config, places, watcher, workers)
    info, index = decided.manifest.info, decided.index
    if decided.manifest.captions is None:
        watcher.notice(
            f"no caption files: {info.source} has no column caption, text or prompt; "
            f"name one with --caption-column, its columns are {', '.join(info.columns)}"
        )
    cache = DiskCache(places.blobs, config.cache_size)
    rows = RowStore(index, places.located, cache)
    encoder = codecs.encoder_identity(codecs.parse_target(info.image_format))
    rendering = make_key(index.identity, encoder)
    sizes = LearnedSizes(places.rendered(rendering), len(index))
    stores = Stores(index, rows, cache, sizes, f"image/{rendering}")
    content = Content(decided.manifest, stores, workers)
    try:
        rows.pin()
        yield Tree(decided.manifest, content)
    finally:
        content.close()
        rows.close()
