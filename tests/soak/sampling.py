"""What a daemon holds, from /proc, and whether it grows.

A figure grows if a line through the samples of the second half (least squares) rises by more than
twice its standard error *and*, over that half, by more than the figure's floor: samples follow each
other, so that the error alone is too small, and the floor is what allocators and pools do anyway.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

FLOORS = {"rss_mb": 8.0, "children_mb": 8.0, "threads": 4.0, "fds": 8.0}
"""Most that a figure may rise over the second half, whatever the line says."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A daemon at some time: its own memory and that of its children (the nest and its workers),
    threads and descriptors of all of them; `slab_mb` is the whole kernel's, and only told.
    """

    at_s: float
    rss_mb: float
    children_mb: float
    threads: int
    fds: int
    slab_mb: float


@dataclass(frozen=True, slots=True)
class Trend:
    """How a figure went: its first and last value, its most, and the line of the second half."""

    first: float
    last: float
    most: float
    slope_per_hour: float
    error_per_hour: float
    grows: bool


def take_sample(pid: int, at_s: float) -> Sample:
    """A daemon as it is now; OSError if it is gone."""
    held = [_look(pid)]
    for child in _find_children(pid):
        with suppress(OSError):  # it ended just now
            held.append(_look(child))
    rss, threads, fds = map(sum, zip(*held, strict=True))
    own = held[0][0]
    slab = _read_fields(Path("/proc/meminfo"))["Slab"]
    return Sample(at_s, own / 1024, (rss - own) / 1024, threads, fds, slab / 1024)


def _look(pid: int) -> tuple[int, int, int]:
    """Memory in KB that a process shares with no file, its threads, its descriptors."""
    status = _read_fields(Path(f"/proc/{pid}/status"))
    return status["RssAnon"], status["Threads"], len(os.listdir(f"/proc/{pid}/fd"))


def find_trend(samples: list[Sample], figure: str) -> Trend:
    """How a figure went over at least four samples."""
    values = np.array([asdict(sample)[figure] for sample in samples], np.float64)
    half = len(values) // 2
    hours = np.array([sample.at_s for sample in samples[half:]]) / 3600
    (slope, _), covariance = np.polyfit(hours, values[half:], 1, cov="unscaled")
    residuals = values[half:] - np.polyval(np.polyfit(hours, values[half:], 1), hours)
    spread = float(residuals @ residuals) / max(len(hours) - 2, 1)
    error = float(np.sqrt(covariance[0, 0] * spread))
    rise = slope * (hours[-1] - hours[0])
    grows = slope > 2 * error and rise > FLOORS.get(figure, np.inf)
    return Trend(
        float(values[0]), float(values[-1]), float(values.max()), float(slope), error, bool(grows)
    )


def _find_children(pid: int) -> list[int]:
    found = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError):
            found += [int(child) for child in path.read_text().split()]
    return found + [deeper for child in found for deeper in _find_children(child)]


def _read_fields(path: Path) -> dict[str, int]:
    """The numbers of a file of /proc, by their names."""
    fields = (line.partition(":") for line in path.read_text().splitlines())
    words = ((name, rest.split()) for name, _, rest in fields)
    return {name: int(rest[0]) for name, rest in words if rest and rest[0].isdigit()}
