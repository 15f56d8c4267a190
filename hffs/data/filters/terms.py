"""What may be asked of a view's images or clips, and what is left of them: plain values.

Owns the checks of terms against each other, and the account of which step removed which image. It
must not know sources or how a term is evaluated (`hffs.data.filters.selection`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hffs.core.composites import file_sizes
from hffs.core.formats import Media
from hffs.errors import ConfigError

_LIMITS = ("min_width", "min_height", "max_width", "max_height", "min_aspect", "max_aspect")
_MAX_STEPS = np.iinfo(np.uint8).max


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What headers tell of all cells: int32 sizes in pixels, uint8 EXIF orientations.

    All three are 0 where nothing is known, or nothing can be: the cell is unreadable. `unsettled`
    is how many of the wanted ones could not be had this time, and may be another time.
    """

    width: NDArray[np.int32]
    height: NDArray[np.int32]
    orientation: NDArray[np.uint8]
    unsettled: int = 0

    def displayed(self) -> Measured:
        """The same, of images that are turned as they are to be seen."""
        width, height = file_sizes(None, True, self.width, self.height, self.orientation)
        return Measured(width, height, np.minimum(self.orientation, 1))


Measure = Callable[[NDArray[np.bool_]], Measured]
"""Measure at least the cells of this mask; of others it tells what it happens to know."""


@dataclass(frozen=True, slots=True, eq=False)
class Probed:
    """What headers tell of all cells of videos or sounds; 0 or b"" where nothing is known.

    Sizes in pixels, frames, Hz and channels are int32, durations in seconds and rates of frames
    float64, the names of codecs bytes. `unsettled` is as that of `Measured`.
    """

    width: NDArray[np.int32]
    height: NDArray[np.int32]
    frames: NDArray[np.int32]
    duration_s: NDArray[np.float64]
    fps: NDArray[np.float64]
    sample_rate: NDArray[np.int32]
    channels: NDArray[np.int32]
    video_codec: NDArray[np.bytes_]
    audio_codec: NDArray[np.bytes_]
    unsettled: int = 0

    def measured(self) -> Measured:
        """The sizes alone, as of images that nothing turns."""
        known = (self.width > 0) & (self.height > 0)
        return Measured(self.width, self.height, known.astype(np.uint8), self.unsettled)


Probe = Callable[[NDArray[np.bool_]], Probed]
"""Probe at least the cells of this mask; of others it tells what it happens to know."""

Sizes = tuple[NDArray[np.int32], NDArray[np.int32]]
"""Width and height of each cell, in pixels."""

Shape = Callable[[NDArray[np.int32], NDArray[np.int32], NDArray[np.uint8]], Sizes]
"""From widths, heights and orientations of source images to sizes of a view's files, 0 for none."""


@dataclass(frozen=True, slots=True)
class SizeTerms:
    """Inclusive limits in pixels, and of width / height; None where there is no limit."""

    min_width: float | None = None
    min_height: float | None = None
    max_width: float | None = None
    max_height: float | None = None
    min_aspect: float | None = None
    max_aspect: float | None = None

    def __post_init__(self) -> None:
        for of in ("width", "height", "aspect"):
            _check_limits(of, getattr(self, f"min_{of}"), getattr(self, f"max_{of}"), "image")

    def set_limits(self) -> dict[str, float]:
        """The limits that are set, in the order of their steps."""
        limits = {name: getattr(self, name) for name in _LIMITS}
        return {name: limit for name, limit in limits.items() if limit is not None}


@dataclass(frozen=True, slots=True)
class ClipTerms:
    """Inclusive limits of frames and of seconds; None where there is no limit."""

    min_frames: float | None = None
    max_frames: float | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None

    def __post_init__(self) -> None:
        _check_limits("frames", self.min_frames, self.max_frames, "video")
        _check_limits("duration_s", self.min_duration_s, self.max_duration_s, "file")

    def set_limits(self, of: str) -> dict[str, float]:
        """The limits of `frames` or `duration_s` that are set, in the order of their steps."""
        limits = {name: getattr(self, name) for name in (f"min_{of}", f"max_{of}")}
        return {name: limit for name, limit in limits.items() if limit is not None}


def _check_limits(of: str, least: float | None, most: float | None, kept: str) -> None:
    if least is not None and most is not None and least > most:
        why = f"it is above max_{of} {most}, so that no {kept} would be kept"
        raise ConfigError("cannot use", f"min_{of} {least}", why=why)


@dataclass(frozen=True, slots=True)
class Filters:
    """What a view keeps. Columns are names or dotted paths into structs and JSON texts.

    `quality_column` None: the usual one, if there is one. `shape` None: a file has its source
    image's size. `composite`: `shape` takes tiles of grids, and 0 means a grid without that tile.
    """

    where: str | None = None
    sizes: SizeTerms = field(default_factory=SizeTerms)
    width_column: str | None = None
    height_column: str | None = None
    collection: tuple[str | int, ...] = ()
    collection_column: str = "collection"
    quality_thresholds: Mapping[str, float] = field(default_factory=dict)
    quality_column: str | None = None
    shape: Shape | None = None
    composite: bool = False
    media: Media = "image"
    clips: ClipTerms = field(default_factory=ClipTerms)
    num_frames_column: str | None = None
    fps_column: str | None = None
    duration_column: str | None = None


@dataclass(frozen=True, slots=True)
class Removed:
    """How many images one step removed that the steps before it had kept."""

    step: str
    count: int


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Which step removed each cell: `reasons[i]` is 0 for a kept one, else `steps[reasons[i] - 1]`.

    `steps` has every step that was taken, in order, also those that removed nothing.
    """

    reasons: NDArray[np.uint8]
    steps: tuple[str, ...] = ()

    @property
    def keep(self) -> NDArray[np.bool_]:
        """Mask of the cells that are kept."""
        kept: NDArray[np.bool_] = self.reasons == 0
        return kept

    @property
    def removed(self) -> tuple[Removed, ...]:
        """The count of each step, in order."""
        counts = np.bincount(self.reasons, minlength=len(self.steps) + 1)[1:].tolist()
        return tuple(map(Removed, self.steps, counts))

    def after(self, step: str, passes: NDArray[np.bool_]) -> Selection:
        """What is left after one more step, which removes kept cells that do not pass."""
        steps = (*self.steps, step)
        if len(steps) > _MAX_STEPS:
            raise ConfigError("cannot use", "these filters", why="they are more than 255 steps")
        gone = self.keep & ~passes
        return Selection(self.reasons + gone * np.uint8(len(steps)), steps)


def select_all(cells: int) -> Selection:
    """All cells, before any step."""
    return Selection(np.zeros(cells, np.uint8))
