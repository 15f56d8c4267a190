"""Numbers and bars as people read them."""

from __future__ import annotations

import pytest

from hffs.cli.drawing.figures import Bar, draw_bars, show_bytes, show_number
from hffs.core.histograms import Histogram


def test_bins_of_whole_numbers_name_what_is_in_them() -> None:
    bars = draw_bars(Histogram((0, 1, 10, 1000), (2, 0, 4)))
    assert bars == [Bar("0", 2, 0.5), Bar("1-9", 0, 0), Bar("10-999", 4, 1)]


def test_bins_of_fractions_name_their_edges() -> None:
    assert [bar.label for bar in draw_bars(Histogram((0.5, 1, 2.25), (1, 1)))] == [
        "0.5-1", "1-2.25",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0"), (12345, "12,345"), (0.66666, "0.6667"), (1234.5, "1,234")]
)
def test_numbers(number: float, text: str) -> None:
    assert show_number(number) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1 KB"), (999_600, "1 MB"), (10**18, "1e+03 PB")],
)
def test_bytes(count: int, text: str) -> None:
    assert show_bytes(count) == text
