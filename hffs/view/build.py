"""From a configuration to an open view: decides everything once, keeps the decision on disk.

A view that was built before is opened from its manifest: no row, no metadata and no image is
looked at again. What is kept, below `{cache_dir}/store` (mode 0700):

    index/KEY     where every image of a source lies (`hffs.data.cells`)
    measured/KEY  sizes of a source's images, if a filter asked for them
    views/KEY     manifests: cells by position, captions, what was removed
    rendered/KEY  learned sizes of rendered images
    blobs/        rendered images and decoded row groups, up to `cache_size`
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.core.formats import ImageFormat
from hffs.data.arrays import Stored, load_kept, remove_arrays, save_arrays
from hffs.data.cache import DiskCache
from hffs.data.captions import CaptionRules, Captions, read_captions
from hffs.data.cells import CellIndex, load_index, load_or_build
from hffs.data.filters import Filters, SizeTerms, select
from hffs.data.locate import Located, locate
from hffs.data.rows import RowStore
from hffs.data.source import ImageColumn, Source, find_image_column, open_source
from hffs.errors import DataError
from hffs.view import codecs
from hffs.view.content import Content, Stores
from hffs.view.manifest import CaptionFiles, Manifest, ViewInfo, make_fingerprint
from hffs.view.measuring import Sizes, load_or_measure
from hffs.view.sizes import LearnedSizes
from hffs.view.tree import Tree

_VERSION = 1
"""Part of every key: raised when what is kept changes its meaning."""

_DECIDING_KEYS = {
    "image_column", "caption_column", "fallback_caption_column", "missing_caption",
    "width_column", "height_column", "filter_func", "image_format",
}  # fmt: skip


class Watcher(Protocol):
    """Who waits while a view is built."""

    def progress(self, what: str, done: int, total: int) -> None:
        """Some work is `done` of `total` far."""
        ...

    def notice(self, text: str) -> None:
        """Something a person should know; the work goes on."""
        ...


@dataclass(frozen=True, slots=True)
class _Decided:
    """A view's manifest with the index that its cells are numbers of."""

    manifest: Manifest
    index: CellIndex


@contextmanager
def open_view(config: Config, watcher: Watcher, workers: int) -> Iterator[Tree]:
    """The tree of the view that a configuration describes, built if need be.

    Raises SourceError, AccessError, ConfigError or DataError, each naming the thing.
    """
    builder = _Builder(config, watcher, workers)
    decided = builder.reopen() or builder.build()
    if decided.manifest.captions is None:
        columns = ", ".join(builder.open_source().schema.names)
        watcher.notice(
            f"no caption files: {decided.manifest.info.source} has no column caption, text or "
            f"prompt; name one of its columns with --caption-column: {columns}"
        )
    with builder.open_rows(decided.index) as rows:
        rows.pin()
        content = Content(decided.manifest, builder.stores(decided.index, rows), workers)
        try:
            yield Tree(decided.manifest, content)
        finally:
            content.close()


class _Builder:
    """The steps from one configuration to its manifest, and where each result is kept."""

    def __init__(self, config: Config, watcher: Watcher, workers: int) -> None:
        self._config = config
        self._watcher = watcher
        self._workers = workers
        self._store = Path(config.cache_dir).absolute() / "store"
        self._store.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._cache = DiskCache(self._store / "blobs", config.cache_size)
        self._located = locate(config.dataset_name, config.split)
        self._pins = [
            str(self._located.root),
            *([shard.name, shard.size_bytes, shard.mtime_ns] for shard in self._located.shards),
        ]
        rules = config.model_dump(mode="json", include=_DECIDING_KEYS)
        self._folder = self._store / "views" / _key(self._pins, rules)
        self._source: Source | None = None

    def open_source(self) -> Source:
        """The source's schema and row counts, read when first needed."""
        if self._source is None:
            self._source = open_source(self._located)
        return self._source

    def reopen(self) -> _Decided | None:
        """The view as it was decided before, if that still holds."""
        stored = load_kept(self._folder)
        if stored is None:
            return None
        info = ViewInfo(**stored.meta["info"])
        column = ImageColumn(**stored.meta["column"])
        index = load_index(self._index_folder(column), self._located)
        if index is not None and index.identity == info.identity:
            return _Decided(_restore(stored, info), index)
        remove_arrays(self._folder)
        return None

    def build(self) -> _Decided:
        """Decide the view and keep the decision."""
        source = self.open_source()
        column = find_image_column(source, self._config.image_column)
        index = load_or_build(
            self._index_folder(column), source, column,
            lambda done, total: self._watcher.progress("finding images", done, total),
        )  # fmt: skip
        cells, captions, removed = self._choose(source, index)
        if not len(cells):
            raise _nothing_left(self._located, index, removed)
        files = None if captions.column is None and not captions.offsets[-1] else captions
        manifest = self._describe(index, cells, files, removed)
        arrays: dict[str, NDArray[Any]] = {"cells": cells}
        if files is not None:
            arrays |= {"caption_offsets": files.offsets, "captions": files.blob}
        meta = {"info": manifest.summary(), "column": asdict(column)}
        return _Decided(
            _restore(save_arrays(self._folder, Stored(arrays, meta)), manifest.info), index
        )

    @contextmanager
    def open_rows(self, index: CellIndex) -> Iterator[RowStore]:
        """The bytes of the index's cells."""
        rows = RowStore(index, self._located, self._cache)
        try:
            yield rows
        finally:
            rows.close()

    def stores(self, index: CellIndex, rows: RowStore) -> Stores:
        """Where a view's images come from and go to."""
        target = codecs.parse_target(self._config.image_format)
        rendering = _key(index.identity, codecs.encoder_identity(target))
        folder = self._store / "rendered"
        folder.mkdir(mode=0o700, exist_ok=True)
        sizes = LearnedSizes(folder / rendering, len(index))
        return Stores(index, rows, self._cache, sizes, f"image/{rendering}")

    def _choose(
        self, source: Source, index: CellIndex
    ) -> tuple[NDArray[np.int64], Captions, list[tuple[str, int]]]:
        """Cells of the view in order, their captions, and what every step removed."""
        rows = np.asarray(index.row)
        selection = select(source, _map_filters(self._config), rows, lambda: self._measure(index))
        removed = [(step.step, step.count) for step in selection.removed]
        cells = np.flatnonzero(selection.keep)
        captions = read_captions(source, _map_captions(self._config), rows[cells])
        if captions.missing.any():
            removed.append(("no caption", int(captions.missing.sum())))
            cells, captions = cells[~captions.missing], _drop_missing(captions)
        return cells, captions, removed

    def _measure(self, index: CellIndex) -> Sizes:
        folder = self._store / "measured" / self._index_folder(index.column).name
        with self.open_rows(index) as rows:
            return load_or_measure(
                folder, rows, len(index), self._workers,
                lambda done, total: self._watcher.progress("measuring images", done, total),
            )  # fmt: skip

    def _describe(
        self,
        index: CellIndex,
        cells: NDArray[np.int64],
        captions: Captions | None,
        removed: list[tuple[str, int]],
    ) -> Manifest:
        target = codecs.parse_target(self._config.image_format)
        passes = np.array([codecs.passes_through(kind, target) for kind in ImageFormat])
        rendered = int(np.count_nonzero(~passes[index.format[cells]]))
        rendering = {"identity": index.identity, "target": target, "captions": "txt"}
        if rendered:
            rendering["encoder"] = codecs.encoder_identity(target)
        files = CaptionFiles(captions.offsets, captions.blob) if captions is not None else None
        info = ViewInfo(
            source=self._located.name,
            identity=index.identity,
            fingerprint=make_fingerprint(rendering, cells, files),
            source_rows=self.open_source().rows,
            positions=len(cells),
            rendered=rendered,
            image_column=index.column.name,
            caption_column=captions.column if captions is not None else None,
            image_format=target,
            removed=(*index.dropped.items(), *removed),
        )
        return Manifest(info, cells, files)

    def _index_folder(self, column: ImageColumn) -> Path:
        return self._store / "index" / _key(self._pins, asdict(column))


def _key(*parts: object) -> str:
    text = json.dumps([_VERSION, *parts], sort_keys=True)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def _restore(stored: Stored, info: ViewInfo) -> Manifest:
    arrays = stored.arrays
    captions = None
    if "captions" in arrays:
        captions = CaptionFiles(arrays["caption_offsets"], arrays["captions"])
    return Manifest(info, arrays["cells"], captions)


def _map_filters(config: Config) -> Filters:
    terms = config.filter_func
    sizes = SizeTerms(
        terms.min_width, terms.min_height, terms.max_width, terms.max_height,
        terms.min_aspect, terms.max_aspect,
    )  # fmt: skip
    return Filters(terms.where, sizes, config.width_column, config.height_column)


def _map_captions(config: Config) -> CaptionRules:
    columns = tuple(config.caption_column)
    return CaptionRules(columns, config.fallback_caption_column, config.missing_caption)


def _drop_missing(captions: Captions) -> Captions:
    """The captions that are there; missing ones are empty, so the texts stay as they are."""
    offsets = np.concatenate((captions.offsets[:1], captions.offsets[1:][~captions.missing]))
    missing = np.zeros(len(offsets) - 1, np.bool_)
    return Captions(offsets, captions.blob, missing, captions.column)


def _nothing_left(located: Located, index: CellIndex, removed: list[tuple[str, int]]) -> DataError:
    steps = [*index.dropped.items(), *removed]
    counts = ", ".join(f"{step}: {count}" for step, count in steps if count) or "it has no rows"
    return DataError(
        "nothing is left of", located.name, why=f"removed by {counts}" if steps else counts,
        fix="loosen the filter",
    )  # fmt: skip
