"""Which entry each step takes from: probabilities, ends and rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core import mixing
from hffs.core.mixing import Mix, Steps, Stop, count_steps, draw, plan_mix
from hffs.errors import ConfigError

Step = tuple[int, int, int]


def list_steps(mix: Mix, epoch: int = 0) -> list[Step]:
    """Entry, number and round of each step."""
    blocks = list(plan_mix(mix, epoch))
    for former, later in pairwise(blocks):
        assert later.first == former.first + len(former)
    return [step for steps in blocks for step in _pair(steps)]


def _pair(steps: Steps) -> list[Step]:
    return list(zip(steps.entry.tolist(), steps.number.tolist(), steps.round.tolist(), strict=True))


entries = st.lists(st.tuples(st.integers(1, 30), st.floats(0.05, 5)), min_size=1, max_size=5)
stops: st.SearchStrategy[Stop] = st.sampled_from(["first", "longest"])
seeds, epochs = st.integers(-(2**63), 2**64), st.integers(0, 2**40)


def make_mix(entries: Sequence[tuple[int, float]], seed: int, stop: Stop) -> Mix:
    lengths, probabilities = zip(*entries, strict=True)
    return Mix(tuple(lengths), tuple(probabilities), seed, stop)


@pytest.mark.parametrize("seed", [0, 1, 2, -1, 10**12])
def test_ten_thousand_draws_have_the_shares_asked_for(seed: int) -> None:
    drawn = draw((0.7, 0.3), seed, 0, 0, 10_000)
    # Binomial: four standard deviations, which one seed in 16,000 would miss.
    bound = 4 * math.sqrt(10_000 * 0.7 * 0.3)
    assert abs(int((drawn == 0).sum()) - 7000) < bound
    assert set(drawn.tolist()) == {0, 1}
    assert drawn.dtype == np.int16


def test_every_rank_draws_the_same_and_may_begin_anywhere() -> None:
    whole = draw((7, 3), 5, 2, 0, 10_000)
    assert (draw((0.7, 0.3), 5, 2, 0, 10_000) == whole).all()
    assert (draw((7, 3), 5, 2, 1234, 500) == whole[1234:1734]).all()


def test_epochs_and_seeds_draw_differently() -> None:
    drawn = {draw((1, 1), seed, epoch, 0, 64).tobytes() for seed in range(8) for epoch in range(8)}
    assert len(drawn) == 64


def test_draws_never_change() -> None:
    assert draw((0.5, 0.2, 0.3), 3, 1, 0, 12).tolist() == [0, 0, 2, 1, 1, 2, 0, 0, 2, 2, 0, 2]


@pytest.mark.parametrize(
    "probabilities",
    [(0.0, 1.0, 0.0), (0, 1e-300, 0), (0.0, 1e308, 0.0), (0, 0, 1), (1, 0, 0), (0, 1e308, 1e308)],
)
def test_an_entry_of_probability_zero_is_never_drawn(probabilities: tuple[float, ...]) -> None:
    drawn = draw(probabilities, 0, 0, 0, 100_000)
    assert set(drawn.tolist()) == set(np.flatnonzero(probabilities).tolist())


@given(entries, seeds, epochs, stops)
def test_an_entry_is_gone_through_in_order_round_after_round(
    entries: list[tuple[int, float]], seed: int, epoch: int, stop: Stop
) -> None:
    mix = make_mix(entries, seed, stop)
    steps = list_steps(mix, epoch)
    assert steps == list_steps(mix, epoch)
    assert count_steps(mix, epoch) == len(steps)
    drawn = draw(mix.probabilities, seed, epoch, 0, len(steps))
    assert [entry for entry, _, _ in steps] == drawn.tolist()
    for entry, length in enumerate(mix.lengths):
        own = [step for step in steps if step[0] == entry]
        assert own == [(entry, count % length, count // length) for count in range(len(own))]


@given(entries, seeds, epochs)
def test_an_epoch_stops_before_the_first_entry_that_has_nothing_left(
    entries: list[tuple[int, float]], seed: int, epoch: int
) -> None:
    mix = make_mix(entries, seed, "first")
    steps = list_steps(mix, epoch)
    assert all(turn == 0 for _, _, turn in steps)
    (refused,) = draw(mix.probabilities, seed, epoch, len(steps), 1).tolist()
    assert sum(entry == refused for entry, _, _ in steps) == mix.lengths[refused]


@given(entries, seeds, epochs)
def test_an_epoch_stops_as_soon_as_the_last_entry_is_through(
    entries: list[tuple[int, float]], seed: int, epoch: int
) -> None:
    mix = make_mix(entries, seed, "longest")
    steps = list_steps(mix, epoch)
    lasts = [
        steps.index((entry, length - 1, 0)) for entry, length in enumerate(mix.lengths)
    ]  # every one is there
    assert max(lasts) == len(steps) - 1


@pytest.mark.parametrize("stop", ["first", "longest"])
@pytest.mark.parametrize("block", [1, 7, 100])
def test_blocks_change_nothing(stop: Stop, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    mix = Mix((30, 40, 3), (1, 1, 0.2), 4, stop)
    whole = list_steps(mix)
    monkeypatch.setattr(mixing, "BLOCK_STEPS", block)
    assert list_steps(mix) == whole
    if stop == "first":  # also where a block ends with the epoch
        monkeypatch.setattr(mixing, "BLOCK_STEPS", len(whole))
        assert list_steps(mix) == whole
        assert all(len(steps) for steps in plan_mix(mix, 0))


@pytest.mark.parametrize("stop", ["first", "longest"])
def test_an_entry_left_out_holds_nothing_up(stop: Stop) -> None:
    assert list_steps(Mix((3, 0, 5), (1.0, 0.0, 0.0), 0, stop)) == [(0, n, 0) for n in range(3)]


def test_a_million_steps_are_drawn_block_by_block() -> None:
    mix = Mix((600_000, 400_000), (0.6, 0.4), 0, "longest")
    sizes = [len(steps) for steps in plan_mix(mix, 0)]
    assert sum(sizes) >= 1_000_000
    assert max(sizes) == mixing.BLOCK_STEPS


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"probabilities": (1, -0.5)}, "cannot use probability -0.5: it is a number, 0 or more"),
        ({"probabilities": (math.nan, 1)}, "cannot use probability nan: it is a number, 0 or more"),
        ({"probabilities": (math.inf, 1)}, "cannot use probability inf: it is a number, 0 or more"),
        ({"probabilities": (0, 0)}, "cannot mix entries: no entry has a probability above 0"),
        (
            {"probabilities": (), "lengths": ()},
            "cannot mix entries: no entry has a probability above 0",
        ),
        ({"lengths": (5, 0)}, "cannot mix entry 1: it has no batch"),
        ({"stop": "never"}, "cannot use stop never: it is one of first, longest"),
    ],
)
def test_what_cannot_be_drawn_is_refused(keys: dict[str, Any], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Mix(**({"lengths": (3, 4), "probabilities": (1, 1)} | keys))
    assert str(caught.value) == line


def test_a_share_that_would_never_come_is_refused() -> None:
    assert Mix((1, 1), (1.0, 2e-6)).lengths == (1, 1)
    with pytest.raises(ConfigError, match="cannot use probability 1e-07: less than 1e-06 of all"):
        Mix((1, 1), (1.0, 1e-7))
