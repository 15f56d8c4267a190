"""Opening a view: from what was decided before in milliseconds, else after deciding it.

Owns putting the parts of an open view together and taking them apart. What a decision takes is in
`hffs.view.deciding`, which is imported only where there is none: it brings DuckDB along, which a
daemon that serves for weeks should not carry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config, find_idle_keys
from hffs.config.recorded import RecordedConfig
from hffs.data.cache import DiskCache
from hffs.data.engines import Engine
from hffs.data.locating.record import find_source, find_store, name_source
from hffs.data.shards import Located
from hffs.data.watcher import Watcher
from hffs.view import codecs
from hffs.view.content import Content, Render
from hffs.view.identities import Identities
from hffs.view.kept import Decided, is_lasting, reopen
from hffs.view.made import Stores
from hffs.view.manifest import Manifest
from hffs.view.places import Places, find_places, name_rendered
from hffs.view.reading import describe_remote, open_rows
from hffs.view.rendering import Rendering, parse_rendering
from hffs.view.sharding import take_part
from hffs.view.sizes import LearnedSizes
from hffs.view.tree import Tree
from hffs.view.workers.pool import RenderPool


def get_source(config: Config, watcher: Watcher) -> Located:
    """The source of a configuration, got to this host if need be.

    Getting one brings datasets along, so a daemon has a process of its own do that before.
    """
    wanted, store = name_source(config), find_store(config)
    located = find_source(wanted, store)
    if located is None:
        from hffs.data.locating.acquiring import acquire

        located = acquire(wanted, store, watcher)
    return located


def is_decided(config: Config, located: Located) -> bool:
    """Whether `open_view` will find the view decided."""
    return _find_decided(config, find_places(config, located)) is not None


def decide_view(
    config: Config, places: Places, watcher: Watcher, workers: int, engine: Engine | None = None
) -> Decided:
    """Decide a view, or take the decision from the file that it was recorded in, and keep it.

    Raises DataError, ConfigError, SourceError or AccessError.
    """
    if isinstance(config, RecordedConfig):
        from hffs.view.portable.installing import install

        return install(config, places, watcher, workers)
    from hffs.view.deciding import decide

    return decide(config, places, watcher, workers, engine)


def find_or_decide(
    config: Config, places: Places, watcher: Watcher, workers: int, engine: Engine | None = None
) -> Decided:
    """A view as it was decided before, if that lasts, else as it is decided now."""
    return _find_decided(config, places) or decide_view(config, places, watcher, workers, engine)


def _find_decided(config: Config, places: Places) -> Decided | None:
    decided = reopen(places)
    return decided if is_lasting(config, decided) else None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be opened, and with how many threads."""

    config: Config
    watcher: Watcher
    workers: int
    decided_of: Located | None
    order: Path | None


def open_view(
    config: Config,
    watcher: Watcher,
    workers: int,
    decided_of: Located | None = None,
    order: Path | None = None,
) -> AbstractContextManager[Tree]:
    """The tree of the view that a configuration describes, decided first if need be.

    Images are rendered on `workers` threads of this process. `decided_of` is the source of which
    the caller had it decided, so that what is kept holds in any case. `order` is a file that tells
    in which order files will be read. Entering it raises SourceError, AccessError, ConfigError or
    DataError, each naming the thing.
    """
    return _open(_Asked(config, watcher, workers, decided_of, order), _render_here)


def open_view_apart(
    config: Config,
    watcher: Watcher,
    workers: int,
    decided_of: Located | None = None,
    order: Path | None = None,
) -> AbstractContextManager[Tree]:
    """As `open_view`; but images are rendered in up to `workers` processes of their own, which is
    for programs that no image may take down.
    """
    return _open(_Asked(config, watcher, workers, decided_of, order), _render_apart)


@contextmanager
def _open(
    asked: _Asked,
    open_render: Callable[[Rendering], AbstractContextManager[Render]],
) -> Iterator[Tree]:
    config, watcher = asked.config, asked.watcher
    places = find_places(config, asked.decided_of or get_source(config, watcher))
    decided = reopen(places) if asked.decided_of else None
    if decided is None:
        decided = find_or_decide(config, places, watcher, asked.workers)
    rendering = parse_rendering(config)
    decided, index = _take_part(config, decided, rendering), decided.index
    manifest = decided.manifest
    for notice in chain(
        find_idle_keys(config),
        _find_notices(manifest, images_only=config.images_only),
        describe_remote(config, decided, places.located),
    ):
        watcher.notice(notice)
    cache = DiskCache(places.blobs, config.cache_size)
    sizes = LearnedSizes(places.find_sizes(index, rendering), len(index) * rendering.slots)
    cells = None if asked.order is None else _read_order(asked.order, decided, watcher)
    with (
        open_render(rendering) as render,
        open_rows(config, places, index, cache, cells) as rows,
    ):
        stores = Stores(index, rows, cache, sizes, f"image/{name_rendered(index, rendering)}")
        content = Content(manifest, stores, rendering, render, asked.workers)
        try:
            rows.pin()
            identities = Identities(manifest, index, places, rendering)
            yield Tree(manifest, content, identities)
        finally:
            content.close()


@contextmanager
def _render_here(rendering: Rendering) -> Iterator[Render]:
    yield lambda data: codecs.render(data, rendering.target, rendering.reshape)


@contextmanager
def _render_apart(rendering: Rendering) -> Iterator[Render]:
    pool = RenderPool(rendering)
    try:
        yield pool.render
    finally:
        pool.close()


def _take_part(config: Config, decided: Decided, rendering: Rendering) -> Decided:
    """What is shown of a view: all of it, or the part that a configuration asks for.

    The whole is what is decided and kept, once for all parts.
    """
    if config.shard is None:
        return decided
    return replace(decided, manifest=take_part(decided.manifest, config.shard, rendering))


def _read_order(path: Path, decided: Decided, watcher: Watcher) -> NDArray[np.int64]:
    """The cells in the order in which a file says that they will be read."""
    if not decided.index.far.any():
        watcher.notice("--order has no effect: all images are on this host")
    from hffs.view.order import read_order

    manifest = decided.manifest
    cells: NDArray[np.int64] = manifest.cells[read_order(path, manifest.layout, manifest.positions)]
    return cells


def _find_notices(manifest: Manifest, *, images_only: bool) -> Iterator[str]:
    """What a person who mounts the view should know of it."""
    info = manifest.info
    if manifest.captions is None and not images_only:
        yield (
            f"no caption files: {info.source} has no column caption, text, prompt or txt; "
            f"name one with --caption-column, its columns are {', '.join(info.columns)}"
        )
    if dropped := [f"{reason}: {count}" for reason, count in info.dropped if count]:
        yield f"left out of {info.source}: {', '.join(dropped)}"
