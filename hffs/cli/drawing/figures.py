"""Numbers in the words of a person, and histograms as bars: what texts and pages have in common.

Pure. Must not know where a bar is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from hffs.core.histograms import Histogram, Number

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")


@dataclass(frozen=True, slots=True)
class Bar:
    """One bin: which numbers it has, how many, and that as a share of the fullest bin."""

    label: str
    count: int
    share: float


def draw_bars(histogram: Histogram) -> list[Bar]:
    """A bar for each bin, also for empty ones in between."""
    most = max(histogram.counts)
    return [
        Bar(label, count, count / most)
        for label, count in zip(_label_bins(histogram), histogram.counts, strict=True)
    ]


def _label_bins(histogram: Histogram) -> Iterator[str]:
    edges = histogram.edges
    whole = all(isinstance(edge, int) for edge in edges)
    for low, high in pairwise(edges):
        last = high - 1 if whole else high  # which no bin has itself
        yield show_number(low) if last == low else f"{show_number(low)}-{show_number(last)}"


def show_number(number: Number) -> str:
    """Thousands apart; of a fraction no more digits than a person reads."""
    return f"{number:,}" if isinstance(number, int) else f"{number:,.4g}"


def show_bytes(count: int) -> str:
    """An amount of data with three digits, in powers of 1000."""
    size, unit = float(count), 0
    while size >= 999.5 and unit < len(_UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:.3g} {_UNITS[unit]}"


def show_seconds(seconds: float) -> str:
    """How long something lasts, in its two largest units.

    >>> show_seconds(7385.2), show_seconds(90), show_seconds(2.25)
    ('2 h 3 min', '1 min 30 s', '2.25 s')
    """
    if seconds < 60:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,} h {minutes} min" if hours else f"{minutes} min {rest} s"
