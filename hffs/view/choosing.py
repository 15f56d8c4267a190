"""Which images of a source a view shows, under which captions and in which folders.

Owns the order of the steps (filters, captions, folders, the sample) and the account of what each
left out. What becomes of the images that are left is `hffs.view.deciding`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hffs.config import Config
from hffs.core.composites import file_sizes
from hffs.core.formats import MediaFormat
from hffs.core.sampling import sample_rows
from hffs.data.captions import CaptionRules, Captions, keep_captions, read_captions
from hffs.data.cells.index import CellIndex
from hffs.data.filters.selection import (
    ClipTerms,
    Filters,
    Measure,
    Probe,
    Selection,
    SizeTerms,
    select,
)
from hffs.data.groups import read_groups
from hffs.data.lyrics import Lyrics, read_lyrics
from hffs.data.metadata import find_column, metadata_columns
from hffs.data.source import Source
from hffs.view.codecs import Reshape

PYTHON, NO_CAPTION, SAMPLE = "python", "no caption", "max_num_samples"
NO_GROUP = "no value to group by"
NO_FORMAT = "bytes in no known format"
"""Of videos and sounds elsewhere: those that are here are no cells at all."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What is chosen from, and how more can be learned about it.

    Of videos `measure` tells their sizes; `probe` is of videos and sounds alone.
    """

    source: Source
    index: CellIndex
    measure: Measure
    probe: Probe
    workers: int
    progress: Callable[[int, int], None]

    def mark(self, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Mask over all cells of the index, set at these: `measure` and `probe` are asked so."""
        marks = np.zeros(len(self.index), np.bool_)
        marks[cells] = True
        return marks


@dataclass(frozen=True, slots=True, eq=False)
class Choice:
    """The outcome: which step left out each cell of the index, if any.

    `cells` are those that are shown; captions, lyrics and `folders` (labels, and which of them each
    cell has) go along with them, None where there are none.
    """

    selection: Selection
    cells: NDArray[np.int64]
    captions: Captions | None
    folders: tuple[tuple[str, ...], NDArray[np.int32]] | None
    lyrics: Lyrics | None
    filters: Filters


class _Account:
    """What is left, while step after step takes some away."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.cells = np.flatnonzero(selection.keep)

    def drop(self, step: str, gone: NDArray[np.bool_]) -> None:
        """Leave out cells by a mask over those that are left."""
        passes = np.ones(len(self.selection.reasons), np.bool_)
        passes[self.cells[gone]] = False
        self.selection = self.selection.after(step, passes)
        self.cells = self.cells[~gone]


def choose(config: Config, inputs: Inputs, reshape: Reshape) -> Choice:
    """Take every step; ConfigError or DataError where one cannot be."""
    check_columns(config, inputs.source)
    rows = np.asarray(inputs.index.row)
    filters = map_filters(config, reshape)
    account = _Account(select(inputs.source, filters, rows, inputs.measure, inputs.probe))
    if config.filter_func.python is not None:
        _filter_rows(inputs, config.filter_func.python, account)
    groups = None if config.group_by is None else read_groups(inputs.source, config.group_by)
    if groups is not None:
        account.drop(NO_GROUP, groups.codes[rows[account.cells]] < 0)
    if config.dataset_type != "image":
        _drop_strange(inputs, account)
    captions = _read_captions(config, inputs, account) if _wants_captions(config) else None
    if config.max_num_samples is not None:
        captions = _sample(config, inputs, account, captions)
    folders = None
    if groups is not None:
        folders = (groups.labels, groups.codes[rows[account.cells]])
    lyrics = None
    if config.dataset_type == "audio" and _wants_captions(config):
        lyrics = read_lyrics(inputs.source, config.lyrics_column, rows[account.cells])
    return Choice(account.selection, account.cells, captions, folders, lyrics, filters)


def check_columns(config: Config, source: Source) -> None:
    """Raise ConfigError for a key that names a column which is not there, even if none reads it.

    What is misspelt would otherwise go unseen until another key needs it.
    """
    terms = config.filter_func
    named: dict[str, Sequence[str | None]] = {
        "width_column": [config.width_column],
        "height_column": [config.height_column],
        "caption_column": config.caption_column,
        "fallback_caption_column": [config.fallback_caption_column],
        "description_column": [config.description_column],
    }
    if config.dataset_type != "image":
        named["duration_column"] = [config.duration_column]
    if config.dataset_type == "video":
        for key in ("num_frames_column", "fps_column"):
            named[f"video.{key}"] = [getattr(config.video, key)]
    for key in ("collection_column", "quality_column"):
        if key in terms.model_fields_set:
            named[key] = [getattr(terms, key)]
    for key, paths in named.items():
        for path in paths:
            if path is not None:
                find_column(source, path, key)


def map_filters(config: Config, reshape: Reshape) -> Filters:
    """The filters of a configuration, which mean the files of the view."""
    terms = config.filter_func

    def shape(
        width: NDArray[np.int32], height: NDArray[np.int32], orientation: NDArray[np.uint8]
    ) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        return file_sizes(reshape.composite, reshape.upright, width, height, orientation)

    return Filters(
        where=terms.where,
        sizes=SizeTerms(
            terms.min_width, terms.min_height, terms.max_width, terms.max_height,
            terms.min_aspect, terms.max_aspect,
        ),
        width_column=config.width_column,
        height_column=config.height_column,
        shape=shape if reshape else None,
        composite=reshape.composite is not None,
        collection=terms.collection,
        collection_column=terms.collection_column,
        quality_thresholds=terms.quality_thresholds,
        # Only one that was named has to exist.
        quality_column=(
            terms.quality_column if "quality_column" in terms.model_fields_set else None
        ),
        media=config.dataset_type,
        clips=_map_clip_terms(config),
        num_frames_column=config.video.num_frames_column,
        fps_column=config.video.fps_column,
        duration_column=config.duration_column,
    )  # fmt: skip


def _map_clip_terms(config: Config) -> ClipTerms:
    terms, video = config.filter_func, config.video
    durations = (terms.min_duration_s, terms.max_duration_s)
    if config.dataset_type != "video":  # entries of other media may have the block, too
        return ClipTerms(None, None, *durations)
    least = video.num_frames if video.min_frames is None else video.min_frames
    return ClipTerms(least, video.max_frames, *durations)


def _filter_rows(inputs: Inputs, function: str, account: _Account) -> None:
    # Late: it brings subprocesses and sockets along.
    from hffs.data.filters.function import apply_row_filter

    rows, places = np.unique(inputs.index.row[account.cells], return_inverse=True)
    kept = apply_row_filter(inputs.source, function, rows, inputs.workers, inputs.progress)
    account.drop(PYTHON, ~kept[places])


def _wants_captions(config: Config) -> bool:
    return config.metadata_jsonl or not config.images_only


def _read_captions(config: Config, inputs: Inputs, account: _Account) -> Captions:
    rules = CaptionRules(
        columns=tuple(config.caption_column),
        fields=_find_caption_fields(config, inputs.source),
        fallback=config.fallback_caption_column,
        description=config.description_column,
        multi=config.caption_multi,
        separator=config.caption_separator,
        missing=config.missing_caption,
    )
    captions = read_captions(inputs.source, rules, inputs.index.row[account.cells])
    if captions.missing.any():
        account.drop(NO_CAPTION, captions.missing)
        captions = keep_captions(captions, ~captions.missing)
    return captions


def _find_caption_fields(config: Config, source: Source) -> tuple[str, ...]:
    """Columns that are joined to the caption of a sound: all that are named, of the usual ones
    those that there are.
    """
    if config.dataset_type != "audio":
        return ()
    if "audio_caption_fields" in config.model_fields_set:
        return tuple(config.audio_caption_fields)
    known = metadata_columns(source)
    return tuple(name for name in config.audio_caption_fields if name in known)


def _drop_strange(inputs: Inputs, account: _Account) -> None:
    strange = inputs.index.format[account.cells] == MediaFormat.UNKNOWN
    if strange.any():
        account.drop(NO_FORMAT, strange)


def _sample(
    config: Config, inputs: Inputs, account: _Account, captions: Captions | None
) -> Captions | None:
    """Keep a sample of rows, all images of a row or none."""
    rows = inputs.index.row[account.cells]
    drawn = sample_rows(rows, config.max_num_samples or len(rows), config.seed)
    account.drop(SAMPLE, ~drawn)
    return captions and keep_captions(captions, drawn)
