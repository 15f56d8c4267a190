"""Deciding a view: which cells of the source it shows, under which captions, once and for all.

Owns the order of the steps (images, filters, captions) and the account of what each removed. The
decision is kept on disk (`hffs.view.places`); who only opens it needs nothing of this.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.core.formats import ImageFormat
from hffs.data.cache import DiskCache
from hffs.data.captions import CaptionRules, Captions, read_captions
from hffs.data.cells import CellIndex, load_or_build
from hffs.data.filters import (
    SIZE_MISSING,
    SIZE_NOT_MEASURED,
    Filters,
    Measure,
    SizeTerms,
    select,
)
from hffs.data.rows import RowStore
from hffs.data.source import Source, find_image_column, open_source
from hffs.errors import DataError
from hffs.view import codecs
from hffs.view.kept import Decided, keep
from hffs.view.manifest import CaptionFiles, Counts, Manifest, ViewInfo, make_fingerprint
from hffs.view.measuring import Sizes, load_or_measure
from hffs.view.places import Places
from hffs.view.watcher import Watcher

NO_CAPTION = "no caption"

_UNASKED = (SIZE_MISSING, SIZE_NOT_MEASURED)
"""Steps of a filter that drop what it could not judge."""


def decide(config: Config, places: Places, watcher: Watcher, workers: int) -> Decided:
    """Decide a view and keep the decision."""
    source = open_source(places.located)
    column = find_image_column(source, config.image_column)
    index = load_or_build(
        places.index(column), source, column,
        lambda done, total: watcher.progress("finding images", done, total),
    )  # fmt: skip

    def measure() -> Sizes:
        rows = RowStore(index, places.located, DiskCache(places.blobs, config.cache_size))
        try:
            return load_or_measure(
                places.measured(index.identity), rows, len(index), workers,
                lambda done, total: watcher.progress("measuring images", done, total),
            )  # fmt: skip
        finally:
            rows.close()

    choice = _choose(config, source, index, measure)
    if not len(choice.cells):
        raise _nothing_left(source, (*choice.dropped, *choice.removed))
    return keep(places, _describe(config, source, index, choice), index)


@dataclass(frozen=True, slots=True, eq=False)
class _Choice:
    """Cells of the view in order, the text of each, and what was left out."""

    cells: NDArray[np.int64]
    captions: Captions
    removed: Counts
    dropped: Counts


def _choose(config: Config, source: Source, index: CellIndex, measure: Measure) -> _Choice:
    cell_rows = np.asarray(index.row)
    selection = select(source, _map_filters(config), cell_rows, measure)
    steps = [(step.step, step.count) for step in selection.removed]
    removed = [step for step in steps if step[0] not in _UNASKED]
    dropped = [*index.dropped.items(), *(step for step in steps if step[0] in _UNASKED)]
    cells = np.flatnonzero(selection.keep)
    captions = read_captions(source, _map_captions(config), cell_rows[cells])
    if captions.missing.any():
        dropped.append((NO_CAPTION, int(captions.missing.sum())))
        cells, captions = cells[~captions.missing], _drop_missing(captions)
    return _Choice(cells, captions, tuple(removed), tuple(dropped))


def _describe(config: Config, source: Source, index: CellIndex, choice: _Choice) -> Manifest:
    target = codecs.parse_target(config.image_format)
    passes = np.array([codecs.passes_through(kind, target) for kind in ImageFormat])
    rendered = int(np.count_nonzero(~passes[index.format[choice.cells]]))
    rendering = {"identity": index.identity, "target": target, "captions": "txt"}
    if rendered:
        rendering["encoder"] = codecs.encoder_identity(target)
    texts = choice.captions
    files = CaptionFiles(texts.offsets, texts.blob) if texts.offsets[-1] else None
    info = ViewInfo(
        source=source.name,
        identity=index.identity,
        fingerprint=make_fingerprint(rendering, choice.cells, files),
        source_rows=source.rows,
        columns=tuple(source.schema.names),
        positions=len(choice.cells),
        rendered=rendered,
        image_column=index.column.name,
        caption_column=texts.column if files is not None else None,
        image_format=target,
        removed=choice.removed,
        dropped=choice.dropped,
    )
    return Manifest(info, choice.cells, files)


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


def _nothing_left(source: Source, removed: Counts) -> DataError:
    counts = ", ".join(f"{step}: {count}" for step, count in removed if count)
    why = f"removed were {counts}" if counts else "it has no rows"
    fix = "loosen the filter" if counts else ""
    return DataError("nothing is left of", source.name, why=why, fix=fix)
