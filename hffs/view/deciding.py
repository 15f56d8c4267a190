"""Deciding a view: from a configuration to every file of it, once and for all.

Owns what the chosen images (`hffs.view.choosing`) become: tiles, numbers, folders, the fingerprint
and what is told of the view. The decision is kept on disk (`hffs.view.places`); who only opens it
needs nothing of this.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.config.foreign import refuse_foreign_keys
from hffs.core.foldernames import make_folder_names
from hffs.core.formats import NOUNS
from hffs.core.names import format_name
from hffs.core.types import Position
from hffs.data.cells.building import load_or_build, read_shards
from hffs.data.cells.columns import find_media_column, require_one_medium
from hffs.data.engines import Engine
from hffs.data.filters.selection import (
    DURATION_MISSING,
    FRAMES_MISSING,
    NOT_PROBED,
    SIZE_MISSING,
    SIZE_NOT_MEASURED,
    SMALLER_THAN_GRID,
    read_sizes,
)
from hffs.data.folders import remove_whole
from hffs.data.lyrics import Lyrics
from hffs.data.source import Source, open_source, tell_nobody
from hffs.data.watcher import Watcher
from hffs.errors import ConfigError, DataError
from hffs.view import metadata_file
from hffs.view.choosing import NO_CAPTION, NO_FORMAT, NO_GROUP, Choice, Inputs, choose
from hffs.view.heads import learn_formats
from hffs.view.kept import Decided, fingerprint_files, is_lasting, keep, reopen
from hffs.view.layout import Layout, make_folders
from hffs.view.manifest import Counts, Files, TextFiles, ViewInfo
from hffs.view.measuring import Looking, Measurer
from hffs.view.places import Places
from hffs.view.reading import open_reader
from hffs.view.rendering import Rendering, make_forms, parse_rendering
from hffs.view.sharing import Opening, Sharing

UNASKED = (
    SIZE_MISSING, SIZE_NOT_MEASURED, SMALLER_THAN_GRID, FRAMES_MISSING, NOT_PROBED,
    DURATION_MISSING, NO_CAPTION, NO_GROUP, NO_FORMAT,
)  # fmt: skip
"""Steps that leave out what cannot be shown as asked, rather than what was asked to be left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Examined:
    """A source seen through a configuration: all that a view is decided from."""

    inputs: Inputs
    rendering: Rendering
    choice: Choice
    measurer: Measurer

    @property
    def removed(self) -> Counts:
        """What each filter took away, in order."""
        taken = self.choice.selection.removed
        return tuple((each.step, each.count) for each in taken if each.step not in UNASKED)

    @property
    def dropped(self) -> Counts:
        """What could not be shown, by reason."""
        taken = self.choice.selection.removed
        unasked = ((each.step, each.count) for each in taken if each.step in UNASKED)
        return (*self.inputs.index.dropped.items(), *unasked)


@contextmanager
def examine(
    config: Config, places: Places, watcher: Watcher, workers: int, engine: Engine | None = None
) -> Iterator[Examined]:
    """Find the images of a source and choose among them; its columns can be read meanwhile.

    With an engine its workers find them, and measure those whose sizes are wanted.
    """
    refuse_foreign_keys(config)
    rendering = parse_rendering(config)
    with open_reader(config, places) as reader:
        about_shards = tell_nobody
        if reader is not None:
            about_shards = partial(watcher.progress, "reading footers", unit="fetched")
        source = open_source(places.located, reader, about_shards)
        sharing = None if engine is None else Sharing(engine, Opening.of(config, source))
        yield _examine(config, places, watcher, _Means(workers, rendering, source, sharing))


@dataclass(frozen=True, slots=True, eq=False)
class _Means:
    """What examining takes: threads, what images become, the source, others who take a share."""

    workers: int
    rendering: Rendering
    source: Source
    sharing: Sharing | None


def _examine(config: Config, places: Places, watcher: Watcher, means: _Means) -> Examined:
    rendering, source, sharing = means.rendering, means.source, means.sharing
    if config.media_column is None and "dataset_type" not in config.model_fields_set:
        require_one_medium(source.schema, source.name)
    column = find_media_column(source, config.media_column, config.dataset_type)
    index = load_or_build(
        places.index(column), source, column,
        lambda done, total: watcher.progress("finding images", done, total),
        read_shards if sharing is None else sharing.read_shards,
    )  # fmt: skip

    index = learn_formats(
        config, places, index,
        lambda done, total: watcher.progress(f"looking at {NOUNS[column.media][1]}", done, total),
    )  # fmt: skip
    measurer = Measurer(config, places, index, Looking(
        means.workers,
        lambda done, total: watcher.progress(f"measuring {NOUNS[column.media][1]}", done, total),
        None if sharing is None else sharing.share_looks(index),
    ))  # fmt: skip
    function = config.filter_func.python
    inputs = Inputs(
        source, index, measurer.measure, measurer.probe, means.workers,
        lambda done, total: watcher.progress(f"calling {function}", done, total),
    )  # fmt: skip
    return Examined(inputs, rendering, choose(config, inputs, rendering.reshape), measurer)


def decide(
    config: Config, places: Places, watcher: Watcher, workers: int, engine: Engine | None = None
) -> Decided:
    """Decide a view and keep the decision."""
    with examine(config, places, watcher, workers, engine) as examined:
        return _decide(config, places, examined)


def _decide(config: Config, places: Places, examined: Examined) -> Decided:
    if not len(examined.choice.cells):
        raise _nothing_left(examined, config.split)
    files = make_files(config, examined)
    if config.metadata_jsonl:
        files = replace(files, metadata=_write_metadata(places, examined, files))
    if config.images_only:
        files = replace(files, captions=None, lyrics=None)
    if places.view.exists() and not is_lasting(config, reopen(places)):
        remove_whole(places.view)  # decided by what a function, or other hosts, said then
    return keep(places, _describe(config, examined, files), files, examined.inputs.index)


def make_files(config: Config, examined: Examined) -> Files:
    """Every file but `metadata.jsonl`; captions that only that file has are among them."""
    choice, rendering = examined.choice, examined.rendering
    _require_formats(examined)
    each = len(rendering.tiles)
    cells = np.repeat(choice.cells, each)
    tiles = np.tile(np.array(rendering.tiles, np.uint16), len(choice.cells))
    reshaped = np.repeat(_find_reshaped(examined), each)
    captions = None
    if choice.captions is not None and choice.captions.offsets[-1]:
        captions = TextFiles(choice.captions.offsets, choice.captions.blob, each)
    return Files(
        cells=cells,
        forms=make_forms(examined.inputs.index.format[cells], reshaped),
        tiles=tiles if rendering.reshape.composite else None,
        layout=_lay_out(config, examined, cells, tiles),
        captions=captions,
        metadata=None,
        lyrics=None if choice.lyrics is None else _make_lyrics(choice.lyrics, each),
    )


def _make_lyrics(lyrics: Lyrics, each: int) -> TextFiles | None:
    return TextFiles(lyrics.offsets, lyrics.blob, each) if len(lyrics.blob) else None


def _find_reshaped(examined: Examined) -> NDArray[np.bool_]:
    """Which of the chosen images are cut or turned."""
    inputs, cells = examined.inputs, examined.choice.cells
    reshape = examined.rendering.reshape
    if reshape.composite is None and reshape.upright:
        # Of those at URLs it is found when they are read: to ask now would fetch them all.
        near = ~inputs.index.far[cells]
        turned = inputs.measure(inputs.mark(cells[near])).orientation[cells] > 1
        return turned & near
    return np.full(len(cells), reshape.composite is not None)


def _require_formats(examined: Examined) -> None:
    """Raise ConfigError where an extension depends on a format that nobody knows yet."""
    index, cells = examined.inputs.index, examined.choice.cells
    rendering = examined.rendering
    is_open = rendering.media == "image" and rendering.target == "source"
    if is_open and index.unseen[cells].any():
        where = "at URLs" if len(index.urls) else "not on this host"
        why = f"images of {index.column.name} are {where}: what they are is seen when they are read"
        raise ConfigError("cannot use image_format", "source", why=why, fix="use jpg or png")


def _lay_out(
    config: Config, examined: Examined, cells: NDArray[np.int64], tiles: NDArray[np.uint16]
) -> Layout:
    numbers = folders = None
    if config.names == "row":
        numbers = _number_by_row(examined, cells, tiles)
    if examined.choice.folders is not None:
        labels, codes = examined.choice.folders
        used, of = np.unique(codes, return_inverse=True)
        names = make_folder_names([labels[code] for code in used], [metadata_file.NAME])
        each = len(examined.rendering.tiles)
        folders = make_folders(list(names.values()), np.repeat(of.astype(np.int32), each))
    return Layout(len(cells), numbers, folders, config.name_width)


def _number_by_row(
    examined: Examined, cells: NDArray[np.int64], tiles: NDArray[np.uint16]
) -> NDArray[np.int64]:
    """The row where a row has one file at most, else a number that holds row, item and tile.

    The factors are the most items that a row of the source has and the tiles of a grid: filters
    change neither.
    """
    index, rendering = examined.inputs.index, examined.rendering
    items = int(index.item.max(initial=0)) + 1
    numbers = index.row[cells] * items + index.item[cells]
    return numbers if len(rendering.tiles) == 1 else numbers * rendering.slots + tiles


def _write_metadata(places: Places, examined: Examined, files: Files) -> NDArray[np.uint8]:
    extensions = examined.rendering.extensions()
    count = len(files.cells)
    names = (make_path(files, extensions, Position(position)) for position in range(count))
    texts = _list_texts(files.captions, count)
    if examined.rendering.media != "image":
        words = _list_texts(files.lyrics, count)
        lines = metadata_file.make_media_lines(names, texts, words)
    else:
        lines = metadata_file.make_lines(names, texts, _read_shapes(examined, files))
    return metadata_file.write_lines(places.store, lines)


def _list_texts(texts: TextFiles | None, count: int) -> Iterator[str] | None:
    if texts is None:
        return None
    return (str(texts.read(Position(position)), "utf-8") for position in range(count))


def _read_shapes(examined: Examined, files: Files) -> list[NDArray[np.int32]]:
    inputs, choice = examined.inputs, examined.choice
    rows = np.asarray(inputs.index.row)
    wanted = inputs.mark(choice.cells)
    sizes = read_sizes(inputs.source, choice.filters, rows, wanted, inputs.measure)
    return [size[files.cells] for size in sizes]


def make_path(files: Files, extensions: list[str], position: Position) -> str:
    """Path of a position's image below the root."""
    layout = files.layout
    extension = extensions[files.forms[position]]
    name = format_name(layout.number(position), extension, layout.width).decode("ascii")
    folder = layout.folder_of(position)
    if folder is None or layout.folders is None:
        return name
    return f"{layout.folders.names[folder]}/{name}"


def _describe(config: Config, examined: Examined, files: Files) -> ViewInfo:
    inputs, choice, rendering = examined.inputs, examined.choice, examined.rendering
    source, index = inputs.source, inputs.index
    composite = rendering.reshape.composite
    extension = "" if files.captions is None else config.caption_extension
    return ViewInfo(
        source=source.name,
        commit=source.commit,
        identity=index.identity,
        fingerprint=fingerprint_files(files, rendering, index.identity, extension),
        source_rows=source.rows,
        columns=tuple(source.schema.names),
        positions=len(files.cells),
        rendered=rendering.count_rendered(files.forms),
        image_column=index.column.name,
        caption_column=choice.captions.column if choice.captions else None,
        image_format=rendering.target,
        orientation=config.orientation,
        composite=str(composite) if composite else "",
        numbering=config.names,
        name_width=config.name_width,
        caption_extension=extension,
        group_column=config.group_by,
        removed=examined.removed,
        dropped=examined.dropped,
        unsettled=examined.measurer.unsettled,
        media=index.column.media,
        lyrics_column=choice.lyrics.column if choice.lyrics and files.lyrics else None,
    )


def _nothing_left(examined: Examined, split: str) -> DataError:
    counts = ", ".join(
        f"{step}: {count}" for step, count in (*examined.dropped, *examined.removed) if count
    )
    why = f"left out were {counts}" if counts else f"{split} has no rows"
    is_filtered = any(count for _, count in examined.removed)
    fix = "loosen the filter" if is_filtered else ""
    return DataError("nothing is left of", examined.inputs.source.name, why=why, fix=fix)
