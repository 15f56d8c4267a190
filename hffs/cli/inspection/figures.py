"""What an inspection found, in the words of a person: what its text and its page have in common.

Pure. Must not know where it is shown.
"""

from __future__ import annotations

from collections.abc import Sequence

from hffs.cli.drawing.figures import show_number
from hffs.core.formats import NOUNS, Media
from hffs.view.inspection.facts import CountFacts, Example, MeasureFacts


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
