import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.buckets.rounding import round_decimals, round_edge, round_to_multiple

edges = st.integers(1, 70_000)
ratios = st.builds(lambda width, height: width / height, edges, edges)


@given(st.lists(ratios, max_size=30), st.integers(0, 9))
def test_decimals_are_those_of_python(values: list[float], decimals: int) -> None:
    rounded = round_decimals(np.array(values, np.float64), decimals)
    assert rounded.tolist() == [round(value, decimals) for value in values]


def test_a_ratio_that_numpy_rounds_otherwise() -> None:
    # 1.005 is less than its decimals say, but a hundred times it is 100.49999999999999 or 100.5.
    values = [1.005, 2.675, 0.125, 0.375, 1.115, 1.145, 2.5, 0.5, 0.285, 8.5e-3]
    rounded = round_decimals(np.array(values), 2).tolist()
    assert rounded == [round(value, 2) for value in values]
    assert rounded != np.round(values, 2).tolist()


def test_every_ratio_of_usual_heights() -> None:
    widths, heights = np.meshgrid(np.arange(1, 2001), np.array([200, 400, 640, 1000, 1024, 1080]))
    values = (widths / heights).ravel()
    for decimals in (1, 2, 3):
        expected = [round(value, decimals) for value in values.tolist()]
        assert round_decimals(values, decimals).tolist() == expected


def test_nothing_is_rounded_to_nothing() -> None:
    assert round_decimals(np.empty(0), 2).shape == (0,)


@pytest.mark.parametrize(
    ("value", "multiple", "expected"),
    [(96.0, 64, 128), (160.0, 64, 128), (159.9, 64, 128), (31.0, 64, 64), (0.0, 8, 8), (7.0, 1, 7)],
)
def test_halves_go_to_the_even_multiple_and_none_is_0(
    value: float, multiple: int, expected: int
) -> None:
    assert round_edge(value, multiple) == expected
    assert round_to_multiple(np.array([value]), multiple).tolist() == [expected]


@given(st.floats(0, 1e6), st.integers(1, 256))
def test_one_edge_is_rounded_like_many(value: float, multiple: int) -> None:
    assert round_to_multiple(np.array([value]), multiple).tolist() == [round_edge(value, multiple)]
