import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.sampling import make_keys, sample_rows

row_numbers = st.integers(0, 2**48)
some_rows = st.lists(row_numbers, max_size=60)
seeds = st.integers(-(2**53), 2**53)


def sample(rows: list[int], count: int, seed: int) -> list[int]:
    """Rows of the sample, in the order in which they were given."""
    chosen = sample_rows(np.array(rows, np.int64), count, seed)
    assert chosen.shape == (len(rows),)
    return [row for row, is_in in zip(rows, chosen.tolist(), strict=True) if is_in]


@pytest.mark.parametrize(
    ("seed", "keys"),
    [
        # Published outputs of SplitMix64: a sample must be the same for ever.
        (0, [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F, 0xF88BB8A8724C81EC]),
        (1234567, [6457827717110365317, 3203168211198807973, 9817491932198370423]),
    ],
)
def test_keys_are_splitmix64(seed: int, keys: list[int]) -> None:
    assert make_keys(np.arange(len(keys)), seed).tolist() == keys


@pytest.mark.parametrize(
    ("count", "seed", "expected"),
    [
        (1, 0, [53]),
        (3, 0, [33, 53, 94]),
        (5, 0, [2, 33, 42, 53, 94]),
        (5, 1, [25, 28, 66, 67, 98]),
        (5, -1, [9, 10, 12, 29, 42]),
        (5, 2**53 - 1, [24, 60, 65, 75, 82]),
    ],
)
def test_samples_of_a_hundred_rows_never_change(count: int, seed: int, expected: list[int]) -> None:
    assert sample(list(range(100)), count, seed) == expected


@given(some_rows, st.integers(1, 70), seeds)
def test_a_sample_has_its_size_and_keeps_the_order(rows: list[int], count: int, seed: int) -> None:
    chosen = sample(rows, count, seed)
    assert len(set(chosen)) == min(count, len(set(rows)))
    assert chosen == [row for row in rows if row in set(chosen)]  # repeats go together


@given(some_rows, st.integers(1, 70), st.integers(0, 10), seeds)
def test_a_sample_is_inside_a_larger_one(rows: list[int], count: int, more: int, seed: int) -> None:
    assert set(sample(rows, count, seed)) <= set(sample(rows, count + more, seed))


@given(st.lists(row_numbers, unique=True, max_size=60), st.integers(1, 70), seeds, st.data())
def test_a_row_that_is_filtered_away_leaves_the_others_in(
    rows: list[int], count: int, seed: int, data: st.DataObject
) -> None:
    fewer = [row for row in rows if data.draw(st.booleans())]
    assert set(sample(rows, count, seed)) & set(fewer) <= set(sample(fewer, count, seed))


@given(st.permutations(range(40)), st.integers(1, 40), seeds)
def test_a_sample_does_not_depend_on_the_order_of_rows(
    rows: list[int], count: int, seed: int
) -> None:
    assert set(sample(rows, count, seed)) == set(sample(sorted(rows), count, seed))


def test_every_row_is_as_likely_as_any_other() -> None:
    rows = np.arange(50)
    drawn = sum(sample_rows(rows, 10, seed).astype(int) for seed in range(-1000, 1000))
    # Each is binomial(2000, 0.2): mean 400, deviation 18.
    assert np.abs(np.asarray(drawn) - 400).max() < 90
    spread = sample_rows(np.arange(100_000), 10_000, 0).reshape(10, -1).sum(axis=1)
    assert np.abs(spread - 1000).max() < 150


def test_other_seeds_give_other_samples() -> None:
    rows = list(range(1000))
    assert len({tuple(sample(rows, 10, seed)) for seed in range(-50, 50)}) == 100
