"""Finding out what a view would be, without making it: the facts of `hffs inspect`.

Owns what is counted, and of which images where counting all would take too long. It must not know
how facts are shown. A view of which nothing is left is described like any other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from hffs.config import Config, find_idle_keys
from hffs.core.formats import MediaFormat
from hffs.core.histograms import ASPECT_EDGES, LENGTH_EDGES, SIZE_EDGES, describe_spread
from hffs.data.filters.selection import SIZE_NOT_MEASURED, Measured, read_sizes
from hffs.data.watcher import Watcher
from hffs.view.deciding import examine, make_files
from hffs.view.inspection.clips import describe_clips, pick_clips
from hffs.view.inspection.contact_sheet import MOST_MEDIA_BYTES, SheetLimits, make_sheet
from hffs.view.inspection.facts import (
    CaptionFacts,
    CaptionSample,
    ColumnFacts,
    CompositeFacts,
    Dimensions,
    FormatFacts,
    GroupFacts,
    Inspection,
    Report,
    SizeFacts,
)
from hffs.view.inspection.picking import pick_sample, spread
from hffs.view.inspection.planned import Planned
from hffs.view.inspection.removals import describe_steps
from hffs.view.opening import get_source
from hffs.view.places import find_places
from hffs.view.rendering import split_forms

SAMPLE_IMAGES = 2_000
"""Images whose headers are read for their sizes, where no column tells them."""

CAPTION_SAMPLES = 5
_CAPTION_CHARACTERS = 1_000
_COMMON_SIZES = 5


@dataclass(frozen=True, slots=True)
class Wanted:
    """How closely to look: whether at all headers; how many pictures to take, None for no sheet;
    how many bytes of videos or sounds to take along with these.
    """

    all_sizes: bool = False
    pictures: int | None = None
    media_bytes: int = MOST_MEDIA_BYTES


def inspect_view(config: Config, watcher: Watcher, workers: int, wanted: Wanted) -> Inspection:
    """Look at the view that a configuration describes; raises as deciding it would."""
    for notice in find_idle_keys(config):
        watcher.notice(notice)
    if config.shard is not None:
        watcher.notice(f"shard {config.shard} is not looked at: what is told is of the whole view")
    places = find_places(config, get_source(config, watcher))
    with examine(config, places, watcher, workers) as examined:
        planned = Planned(config, examined, make_files(config, examined))
        report = _report(planned, wanted)
        if wanted.pictures is None:
            return Inspection(report, None)
        limits = SheetLimits(wanted.pictures, wanted.media_bytes)
        sheet = make_sheet(planned, report.removed, places, watcher, limits)
        return Inspection(report, sheet)


def _report(planned: Planned, wanted: Wanted) -> Report:
    config, examined, files = planned.config, planned.examined, planned.files
    inputs, choice, rendering = examined.inputs, examined.choice, examined.rendering
    source, index = inputs.source, inputs.index
    formats = tuple(_count_formats(planned))
    composite = rendering.reshape.composite
    texts = None if config.images_only else files.lyrics
    has_captions = files.captions is not None and not config.images_only
    return Report(
        id=config.id,
        media=config.dataset_type,
        source=source.name,
        identity=index.identity,
        image_column=index.column.name,
        image_column_kind=("list of " if index.column.is_list else "") + index.column.kind,
        columns=tuple(ColumnFacts(field.name, str(field.type)) for field in source.schema),
        rows=source.rows,
        images=len(index),
        shown=len(choice.cells),
        image_files=len(files.cells),
        caption_files=len(files.cells) if has_captions else 0,
        lyrics_files=0 if texts is None else texts.count_files(),
        lyrics_column=None if choice.lyrics is None else choice.lyrics.column,
        source_bytes=int(np.maximum(index.length[choice.cells], 0).sum()),  # -1: not fetched yet
        removed=describe_steps(config, examined),
        dropped=dict(index.dropped),
        formats=formats,
        passes=sum(facts.passes for facts in formats),
        rendered=sum(facts.rendered for facts in formats),
        fails=sum(facts.fails for facts in formats),
        image_format=rendering.target,
        orientation=config.orientation,
        composite=None
        if composite is None
        else CompositeFacts(composite.count, composite.layout, composite.tiles),
        sizes=_describe_sizes(planned, all_of_them=wanted.all_sizes),
        clips=describe_clips(planned, all_of_them=wanted.all_sizes),
        captions=_describe_captions(planned),
        groups=_count_groups(planned),
    )


def _count_formats(planned: Planned) -> Iterator[FormatFacts]:
    index, forms, kinds = planned.examined.inputs.index, planned.files.forms, len(MediaFormat)
    images = np.bincount(index.format, minlength=kinds)
    formats, _ = split_forms(forms)
    passing = np.array(planned.examined.rendering.passing())[forms]
    passes, others = (
        np.bincount(formats[mask], minlength=kinds).tolist() for mask in (passing, ~passing)
    )
    # What those elsewhere are is not known yet, so nobody can say that they fail.
    unseen = int(index.unseen[planned.files.cells].sum())
    for kind in MediaFormat:
        if images[kind]:
            fails = max(others[kind] - unseen, 0) if kind is MediaFormat.UNKNOWN else 0
            counts = int(images[kind]), passes[kind], others[kind] - fails, fails
            yield FormatFacts(kind.name, *counts)


def _describe_sizes(planned: Planned, *, all_of_them: bool) -> SizeFacts:
    """Sizes by columns where these tell them; else headers of a sample, or all that were read."""
    examined = planned.examined
    inputs, choice, rendering = examined.inputs, examined.choice, examined.rendering
    measured_before = SIZE_NOT_MEASURED in choice.selection.steps or (
        rendering.reshape.upright
        and rendering.reshape.composite is None
        and not inputs.index.far.any()
    )
    if rendering.media == "audio":
        nothing = np.zeros(0, np.int32)
        return _summarize(nothing, nothing, sampled=False, origin="headers")
    cells = choice.cells
    if rendering.media == "video":
        cells = pick_clips(planned, all_of_them=all_of_them)
    elif not all_of_them and not measured_before:
        cells = cells[pick_sample(inputs.index, cells, SAMPLE_IMAGES)]
    wanted = inputs.mark(cells)
    asked: list[NDArray[np.bool_]] = []

    def measure(mask: NDArray[np.bool_]) -> Measured:
        asked.append(mask)
        return inputs.measure(mask)

    rows = np.asarray(inputs.index.row)
    sizes = read_sizes(inputs.source, choice.filters, rows, wanted, measure)
    if not asked:
        cells = choice.cells  # columns told all of them
    width, height = (size[cells] for size in sizes)
    is_sample = len(cells) < len(choice.cells)
    return _summarize(width, height, sampled=is_sample, origin="headers" if asked else "columns")


def _summarize(
    width: NDArray[np.int32], height: NDArray[np.int32], *, sampled: bool, origin: str
) -> SizeFacts:
    looked_at = len(width)
    known = (width > 0) & (height > 0)
    width, height = width[known], height[known]
    # As one number each: numpy takes ten times as long over pairs.
    packed, counts = np.unique(width.astype(np.int64) << 32 | height, return_counts=True)
    sizes = [
        Dimensions(pair >> 32, pair & 0xFFFFFFFF, count)
        for pair, count in zip(packed.tolist(), counts.tolist(), strict=True)
    ]
    by_area = sorted(sizes, key=lambda size: size.width * size.height)
    return SizeFacts(
        looked_at=looked_at,
        known=len(width),
        sampled=sampled,
        origin=origin,
        width=describe_spread(width, SIZE_EDGES),
        height=describe_spread(height, SIZE_EDGES),
        aspect=describe_spread(np.round(width / height, 4), ASPECT_EDGES),
        largest=by_area[-1] if by_area else None,
        smallest=by_area[0] if by_area else None,
        common=tuple(sorted(sizes, key=lambda size: -size.count)[:_COMMON_SIZES]),
    )


def _describe_captions(planned: Planned) -> CaptionFacts | None:
    captions, files = planned.examined.choice.captions, planned.files
    if captions is None:
        return None
    buffers = [None, pa.py_buffer(captions.offsets), pa.py_buffer(captions.blob)]
    count = len(captions.offsets) - 1
    texts = pa.Array.from_buffers(pa.large_string(), count, buffers)
    lengths = pc.utf8_length(texts).to_numpy(zero_copy_only=False)
    extension = "" if planned.config.images_only else planned.config.caption_extension
    positions = spread(len(files.cells), CAPTION_SAMPLES if files.captions else 0).tolist()
    return CaptionFacts(
        column=captions.column,
        count=count,
        blank=int(np.count_nonzero(lengths == 0)),
        length=describe_spread(lengths, LENGTH_EDGES),
        samples=tuple(_sample_caption(planned, position, extension) for position in positions),
    )


def _sample_caption(planned: Planned, position: int, extension: str) -> CaptionSample:
    name = planned.name(position)
    if extension:
        name = f"{name.rpartition('.')[0]}.{extension}"
    return CaptionSample(
        name, planned.row(position), planned.caption(position, _CAPTION_CHARACTERS)
    )


def _count_groups(planned: Planned) -> tuple[GroupFacts, ...] | None:
    folders = planned.files.layout.folders
    if folders is None:
        return None
    counts = np.diff(folders.starts).tolist()
    return tuple(GroupFacts(name, count) for name, count in zip(folders.names, counts, strict=True))
