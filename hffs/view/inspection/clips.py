"""What the videos or sounds of a view are made of: how long, how many frames, in which codecs.

Owns whose headers are looked at where looking at all would take too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.core.histograms import FRAMES_EDGES, SECONDS_EDGES, Number, describe_spread
from hffs.data.filters.clips import read_clips
from hffs.data.filters.selection import Probed
from hffs.view.inspection.facts import ClipFacts, CountFacts, MeasureFacts
from hffs.view.inspection.picking import pick_sample
from hffs.view.inspection.planned import Planned

SAMPLE_CLIPS = 500
"""Videos or sounds whose headers are read, where no filter had to read them all."""

_MOST_COUNTS = 8


def pick_clips(planned: Planned, *, all_of_them: bool) -> NDArray[np.int64]:
    """The cells whose headers are looked at: a sample, or all that are shown."""
    inputs, cells = planned.examined.inputs, planned.examined.choice.cells
    if all_of_them or planned.examined.measurer.has_probed(inputs.mark(cells)):
        return cells
    return cells[pick_sample(inputs.index, cells, SAMPLE_CLIPS)]


def describe_clips(planned: Planned, *, all_of_them: bool) -> ClipFacts | None:
    """The facts of videos or sounds; None of images."""
    examined = planned.examined
    inputs, choice, media = examined.inputs, examined.choice, examined.rendering.media
    if media == "image":
        return None
    cells = pick_clips(planned, all_of_them=all_of_them)
    probed = inputs.probe(inputs.mark(cells))

    def probe(mask: NDArray[np.bool_]) -> Probed:
        return probed

    rows, wanted = np.asarray(inputs.index.row), inputs.mark(choice.cells)
    numbers = read_clips(inputs.source, choice.filters, rows, wanted, probe)
    by_column = numbers.frames is not probed.frames, numbers.duration_s is not probed.duration_s
    places = [choice.cells if told else cells for told in by_column]
    frames, durations = numbers.frames[places[0]], numbers.duration_s[places[1]]
    known = (probed.duration_s > 0) | (probed.sample_rate > 0) | (probed.width > 0)
    return ClipFacts(
        looked_at=len(cells),
        known=int(known[cells].sum()),
        sampled=len(cells) < len(choice.cells),
        duration_s=_describe(np.round(durations, 3), SECONDS_EDGES, by_column=by_column[1]),
        frames=_describe(frames, FRAMES_EDGES, by_column=by_column[0])
        if media == "video"
        else None,
        fps=_count(np.round(probed.fps[cells], 3)),
        sample_rates=_count(probed.sample_rate[cells]),
        channels=_count(probed.channels[cells]),
        video_codecs=_count(probed.video_codec[cells]),
        audio_codecs=_count(probed.audio_codec[cells]),
    )


def _describe(values: NDArray[Any], edges: Sequence[Number], *, by_column: bool) -> MeasureFacts:
    known = values[values > 0]
    total = known.sum().item()
    return MeasureFacts(
        looked_at=len(values),
        known=len(known),
        origin="columns" if by_column else "headers",
        total=round(total, 3) if isinstance(total, float) else total,
        spread=describe_spread(known, edges),
    )


def _count(values: NDArray[Any]) -> tuple[CountFacts, ...]:
    """The most frequent values but zeros and empty names."""
    known = values[values != np.zeros(1, values.dtype)]
    found, counts = np.unique(known, return_counts=True)
    pairs = sorted(zip(found.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1])
    return tuple(CountFacts(_show(value), count) for value, count in pairs[:_MOST_COUNTS])


def _show(value: Number | bytes) -> Number | str:
    if isinstance(value, bytes):
        return value.decode("ascii", "replace")
    return int(value) if value == int(value) else value
