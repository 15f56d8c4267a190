"""Numbers in the words of a person, and histograms as bars: what text and page have in common.

Pure. Must not know where a bar is drawn.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from hffs.core.formats import NOUNS, Media
from hffs.core.histograms import Histogram, Number
from hffs.view.inspection.facts import CountFacts, Example, MeasureFacts

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


def show_counts(counts: Sequence[CountFacts], unit: str = "") -> str:
    """Values and how many there are of each, on one line."""
    return ", ".join(
        f"{each.value if isinstance(each.value, str) else show_number(each.value)}{unit} "
        f"({show_number(each.count)})"
        for each in counts
    )


def describe_measure(measure: MeasureFacts, media: Media, *, sampled: bool) -> str:
    """Of what a measure is told: all, a sample; by what; and of how many it is not known."""
    sample = "a sample of " if sampled and measure.origin == "headers" else ""
    by = "columns" if measure.origin == "columns" else f"{NOUNS[media][0]} headers"
    unknown = measure.looked_at - measure.known
    missing = f", {show_number(unknown)} not known" if unknown else ""
    return f"of {sample}{show_number(measure.looked_at)}, by {by}{missing}"


def describe_example(example: Example, media: Media = "image") -> str:
    """One file that was left out, on one line."""
    where = f"row {example.row}" + (f" {NOUNS[media][0]} {example.item}" if example.item else "")
    values = ", ".join(f"{name} {value}" for name, value in example.values.items())
    return f"e.g. {where}: {values}" if values else f"e.g. {where}"
