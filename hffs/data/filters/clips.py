"""Frames of videos and durations: from columns where there are some, else probed; and the limits.

Owns which of the two counts, and the order of the steps on them. It must not know how a header is
probed. A column counts for all files or for none: one that says nothing of a file leaves it out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hffs.data.columnarrays import (
    Arrays,
    Reader,
    named_reader,
    read_arrays,
    to_counts,
    usual_reader,
)
from hffs.data.filters.terms import Filters, Probe, Probed, Selection
from hffs.data.source import Source

FRAMES_MISSING = "frame count is missing"
"""Step that removes videos whose column of frames is null, or has no number above 0."""

NOT_PROBED = "video could not be probed"
"""Step that removes videos whose own bytes do not tell their frames."""

DURATION_MISSING = "duration is missing"
"""Step that removes what its column tells no duration of, or its own bytes if there is none."""

_FRAMES, _FPS, _DURATION = "frames", "fps", "duration_s"
Columns = Mapping[str, NDArray[Any]]
"""What columns tell of all cells, by what it is: 0 where they do not."""


@dataclass(frozen=True, slots=True, eq=False)
class ClipNumbers:
    """Frames (int32) and seconds (float64) of cells; 0 where not known, and where nobody asked."""

    frames: NDArray[np.int32]
    duration_s: NDArray[np.float64]


def clip_readers(source: Source, filters: Filters) -> dict[str, Reader]:
    """Readers of what the limits need and columns tell; ConfigError for one that cannot."""
    readers: dict[str, Reader] = {}
    if filters.clips.set_limits(_DURATION):
        readers |= _duration_readers(source, filters)
    if filters.clips.set_limits(_FRAMES):
        readers |= _frame_readers(source, filters)
    return readers


def clip_steps(filters: Filters, columns: Columns, chosen: Selection, probe: Probe) -> Selection:
    """Remove clips of unknown frames, then those outside the limits; then the same of durations.

    `columns` are those of `clip_readers`. Only what is kept by then is probed, once if at all.
    """
    probed: Probed | None = None
    limits = filters.clips.set_limits(_FRAMES)
    if limits:
        frames, step = columns.get(_FRAMES), FRAMES_MISSING
        if frames is None:
            probed, step = probe(chosen.keep), NOT_PROBED
            frames = probed.frames
        chosen = _take_steps(chosen, step, limits, frames)
    limits = filters.clips.set_limits(_DURATION)
    if limits:
        durations = _tell_durations(columns)
        if durations is None:
            durations = (probed or probe(chosen.keep)).duration_s
        chosen = _take_steps(chosen, DURATION_MISSING, limits, durations)
    return chosen


def read_clips(
    source: Source,
    filters: Filters,
    cell_rows: NDArray[np.int64],
    wanted: NDArray[np.bool_],
    probe: Probe,
) -> ClipNumbers:
    """Frames and durations of the wanted cells, with or without limits on them.

    What is told of other cells means nothing.
    """
    readers = _duration_readers(source, filters) | _frame_readers(source, filters)
    arrays = read_arrays(source, list(readers.values()))
    columns = {of: each[cell_rows] for of, (each,) in zip(readers, arrays, strict=True)}
    frames, durations = columns.get(_FRAMES), _tell_durations(columns)
    if frames is None and filters.media == "audio":
        frames = np.zeros(len(cell_rows), np.int32)
    if frames is None or durations is None:
        probed = probe(wanted)
        frames = probed.frames if frames is None else frames
        durations = probed.duration_s if durations is None else durations
    return ClipNumbers(frames, durations)


def _take_steps(
    chosen: Selection, missing: str, limits: Mapping[str, float], values: NDArray[Any]
) -> Selection:
    chosen = chosen.after(missing, values > 0)
    for name, limit in limits.items():
        compare = np.greater_equal if name.startswith("min_") else np.less_equal
        chosen = chosen.after(name, compare(values, limit))
    return chosen


def _frame_readers(source: Source, filters: Filters) -> dict[str, Reader]:
    path = filters.num_frames_column
    if path is None or filters.media != "video":
        return {}
    return {_FRAMES: named_reader(source, path, "video.num_frames_column").then(to_counts)}


def _duration_readers(source: Source, filters: Filters) -> dict[str, Reader]:
    """Of the column that is named, of the usual one, else of those that durations follow from."""
    if filters.duration_column is not None:
        reader = named_reader(source, filters.duration_column, "duration_column")
        return {_DURATION: reader.then(_to_measures)}
    usual = usual_reader(source, "duration")
    if usual is not None:
        return {_DURATION: usual.then(_to_measures)}
    frames = _frame_readers(source, filters)
    if not frames or filters.fps_column is None:
        return {}
    rates = named_reader(source, filters.fps_column, "video.fps_column")
    return frames | {_FPS: rates.then(_to_measures)}


def _to_measures(arrays: Arrays) -> Arrays:
    """Numbers above 0, and 0 for all others, NaN and infinity too."""
    values = arrays[0]
    return (np.where(np.isfinite(values) & (values > 0), values, 0.0),)


def _tell_durations(columns: Columns) -> NDArray[np.float64] | None:
    told = columns.get(_DURATION)
    if told is not None or _FPS not in columns:
        return told
    frames, fps = columns[_FRAMES], columns[_FPS]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        durations: NDArray[np.float64] = _to_measures((frames / fps,))[0]
    return durations
