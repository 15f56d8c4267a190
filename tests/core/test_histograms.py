"""Histograms: nothing is lost between edges, and nothing is empty at the ends."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.histograms import (
    ASPECT_EDGES,
    FRAMES_EDGES,
    LENGTH_EDGES,
    SECONDS_EDGES,
    SIZE_EDGES,
    describe_spread,
)

EDGES = (SIZE_EDGES, ASPECT_EDGES, LENGTH_EDGES, SECONDS_EDGES, FRAMES_EDGES)


def test_no_numbers_have_no_spread() -> None:
    assert describe_spread(np.empty(0, np.int32), SIZE_EDGES) is None


@pytest.mark.parametrize("edges", EDGES)
def test_edges_ascend(edges: tuple[float, ...]) -> None:
    assert list(edges) == sorted(set(edges))


@given(st.lists(st.integers(0, 2**31 - 1), min_size=1))
def test_whole_numbers_stay_whole_and_all_are_counted(numbers: list[int]) -> None:
    spread = describe_spread(np.array(numbers, np.int32), SIZE_EDGES)
    assert spread is not None
    assert (spread.min, spread.max) == (min(numbers), max(numbers))
    assert isinstance(spread.max, int)
    assert spread.median == np.median(numbers)
    histogram = spread.histogram
    assert sum(histogram.counts) == len(numbers)
    assert histogram.counts[0]
    assert histogram.counts[-1]
    assert len(histogram.edges) == len(histogram.counts) + 1
    bins = zip(histogram.edges, histogram.edges[1:], histogram.counts, strict=False)
    for low, high, count in bins:
        assert count == sum(low <= number < high for number in numbers)


@given(st.lists(st.floats(0, 1e9), min_size=1))
def test_fractions_are_counted_too(numbers: list[float]) -> None:
    spread = describe_spread(np.array(numbers), ASPECT_EDGES)
    assert spread is not None
    assert sum(spread.histogram.counts) == len(numbers)


def test_a_square_is_in_the_middle() -> None:
    spread = describe_spread(np.array([1.0]), ASPECT_EDGES)
    assert spread is not None
    assert spread.histogram.edges == (0.95, 1.05)
    assert spread.median == 1


def test_regression_edges_say_whether_numbers_are_whole() -> None:
    for numbers, kind in ((np.array([1.2, 2.8]), float), (np.array([1, 2]), int)):
        spread = describe_spread(numbers, SECONDS_EDGES)
        assert spread is not None
        assert {type(edge) for edge in spread.histogram.edges} == {kind}
