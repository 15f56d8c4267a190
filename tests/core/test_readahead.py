import random
from collections.abc import Iterable, Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.readahead import Order, Streams


def streams(*starts: int, most: int = 32) -> Streams:
    return Streams(np.array(starts, np.int64), most)


def note_all(planner: Streams | Order, pages: Iterable[int]) -> list[list[int]]:
    return [list(planner.note(page)) for page in pages]


def hit_rate(planner: Streams | Order, pages: Sequence[int]) -> float:
    """Share of the pages that were proposed before they were first read."""
    proposed, read, hits = set[int](), set[int](), 0
    for page in pages:
        hits += page in proposed and page not in read
        read.add(page)
        proposed.update(planner.note(page))
    return hits / len(read)


@pytest.mark.parametrize(
    ("pages", "proposals"),
    [
        ([5, 6, 7, 8, 9], [[], [], [8, 9], [10, 11, 12], [13, 14, 15, 16, 17]]),
        ([5, 5, 6, 6, 7, 7], [[], [], [], [], [8, 9], []]),  # images of one page
        ([5, 7, 6], [[], [], [8, 9]]),  # workers that overtake one another
        ([6, 5, 7], [[], [], [8, 9]]),
        ([0, 3, 6, 9, 12], [[], [], [], [12, 15], [18, 21, 24]]),
        ([0, 2, 3, 5], [[], [], [], [6, 7]]),  # nearly every other page: all of them
        ([0, 3, 6, 10], [[], [], [], [13, 14, 16, 17]]),  # about every third
        ([9, 8, 7, 6], [[], [], [10, 11], [12, 13]]),  # forwards only: a stretch that was read
        ([0, 40, 80], [[], [], []]),
        ([0, 1, 5, 7, 8, 20], [[], [], [], [], [], []]),
    ],
)
def test_streams_propose_what_comes_next(pages: list[int], proposals: list[list[int]]) -> None:
    assert note_all(streams(0, 1000), pages) == proposals


def test_the_window_grows_to_its_most() -> None:
    planner = streams(0, 1000, most=5)
    ahead = [0, 0, 2, 3, 2, 1, 1, 1]
    assert [len(pages) for pages in note_all(planner, range(8))] == ahead


def test_reading_all_leads_into_the_next_shard_and_strides_do_not() -> None:
    assert note_all(streams(0, 10, 10, 20), [6, 7, 8, 9])[2:] == [[9, 10], [11, 12, 13]]
    assert note_all(streams(0, 10, 20), [0, 3, 6, 9, 12]) == [[], [], [], [], [15, 18]]
    assert note_all(streams(0, 10, 20), [10, 13, 16, 19])[3] == []
    assert note_all(streams(0, 4), [0, 1, 2, 3]) == [[], [], [3], []]
    assert note_all(Streams(np.zeros(0, np.int64)), [0]) == [[]]


def test_a_stream_that_turns_dense_is_filled_up() -> None:
    planner = streams(0, 1000)
    assert note_all(planner, [0, 3, 6, 9])[3] == [12, 15]
    proposed = {page for pages in note_all(planner, [1, 4, 7, 10, 11]) for page in pages}
    assert {13, 14} <= proposed
    assert not proposed & {12, 15}


def test_regression_a_late_reader_in_the_shard_before_ends_nothing() -> None:
    planner = streams(0, 6, 40)
    assert note_all(planner, [5, 7, 3, 1]) == [[], [], [], [9, 11]]


@given(
    shards=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    spread=st.integers(0, 80),
    each=st.integers(1, 9),
    seed=st.integers(0, 99),
)
def test_whatever_workers_do_only_pages_that_exist_are_proposed(
    shards: list[int], spread: int, each: int, seed: int
) -> None:
    """Workers that overtake one another through all shards, then another epoch, shuffled."""
    starts = np.concatenate([[0], np.cumsum(shards)]).astype(np.int64)
    planner, chance = Streams(starts), np.random.default_rng(seed)
    images = np.repeat(np.arange(starts[-1]), each)
    rough = images[np.argsort(np.arange(len(images)) + chance.integers(0, spread + 1, len(images)))]
    for page in (*rough.tolist(), *chance.permutation(images).tolist()):
        assert all(0 <= proposed < starts[-1] for proposed in planner.note(page))


@pytest.mark.parametrize("pages", [200, 1000, 3000, 10_000, 100_000])
def test_random_reads_propose_almost_nothing(pages: int) -> None:
    reads = np.random.default_rng(0).integers(0, pages, 20_000).tolist()
    assert sum(map(len, note_all(streams(0, pages), reads))) < 0.01 * len(reads)


def test_images_in_random_order_propose_almost_nothing() -> None:
    reads = (np.random.default_rng(0).permutation(30_000) // 10).tolist()
    assert sum(map(len, note_all(streams(0, 3000), reads))) < 0.01 * len(reads)


@pytest.mark.parametrize("every", [1, 4, 10, 16, 20, 32, 64])
def test_strides_over_images_are_followed(every: int) -> None:
    reads = (np.arange(0, 20_000, every) // 10).tolist()
    planner = streams(0, 2000)
    assert hit_rate(planner, reads) > 0.97


def interleave(count: int, workers: int, batch: int, seed: int) -> list[int]:
    """Numbers up to a count as workers take them, of which each is given every n-th batch.

    None begins a batch before the one that was given out twice their number earlier is done.
    """
    chosen = random.Random(seed)  # noqa: S311 - a test's own order
    batches = [list(range(start, min(start + batch, count))) for start in range(0, count, batch)]
    done, order = 0, list[int]()
    while done < len(batches):
        flight = [number for number in range(done, done + 2 * workers) if number < len(batches)]
        number = chosen.choice([number for number in flight if batches[number]])
        order.append(batches[number].pop(0))
        while done < len(batches) and not batches[done]:
            done += 1
    return order


@pytest.mark.parametrize(("workers", "batch"), [(1, 8), (4, 1), (4, 32), (8, 16)])
def test_workers_that_interleave_are_one_stream(workers: int, batch: int) -> None:
    reads = [number // 10 for number in interleave(20_000, workers, batch, 1)]
    assert hit_rate(streams(0, 2000), reads) > 0.95


def test_several_streams_go_on_at_once_among_random_reads() -> None:
    chosen = random.Random(0)  # noqa: S311 - a test's own order
    planner, proposed, hits = streams(0, 100_000), set[int](), 0
    for step in range(300):
        for start in range(0, 8000, 1000):
            hits += start + step in proposed
            proposed.update(planner.note(start + step))
        proposed.update(planner.note(chosen.randrange(20_000, 100_000)))
    assert hits > 0.97 * 8 * 300


@given(
    st.lists(st.integers(0, 30), max_size=4),
    st.lists(st.integers(0, 90), max_size=80),
    st.integers(1, 40),
)
def test_streams_propose_only_pages_that_exist(
    lengths: list[int], reads: list[int], most: int
) -> None:
    starts = [0, *np.cumsum([*lengths, 91]).tolist()]
    planner = streams(*starts, most=most)
    for pages in note_all(planner, reads):
        assert all(0 <= page < starts[-1] for page in pages)
        assert pages == sorted(set(pages))
        assert len(pages) <= most


def order(
    pages: Sequence[int] | np.ndarray[tuple[int], np.dtype[np.int64]],
    budget: int,
    slack: int = 256,
    sizes: Sequence[int] | None = None,
) -> Order:
    """An order over pages of one byte each, if nothing else is said."""
    counted = np.ones(100_000, np.int64) if sizes is None else np.array(sizes, np.int64)
    return Order(np.array(pages, np.int64), counted, budget, slack)


def test_an_order_is_proposed_as_far_as_the_budget_goes() -> None:
    planner = order([5, 5, 3, 8, 8, 1, 2], 3)
    assert planner.start() == [5, 3, 8]
    assert note_all(planner, [5, 5, 3, 8, 1, 2]) == [[1], [], [2], [], [], []]
    assert planner.outstanding_bytes == 0


def test_an_order_may_be_empty() -> None:
    planner = order([], 3)
    assert planner.start() == []
    assert note_all(planner, [0, 1, 2, 3, 4, 5]) == [[]] * 6


def test_a_page_that_exceeds_the_budget_is_left_out() -> None:
    planner = order([0, 1, 2, 1], 5, sizes=[3, 6, 2])
    assert planner.start() == [0, 2]
    assert note_all(planner, [0, 1, 2]) == [[], [], []]


def test_a_page_that_is_remembered_is_not_proposed_again() -> None:
    planner = order([1, 2, 1, 3, 4], 2)
    assert planner.start() == [1, 2]
    assert note_all(planner, [1, 2]) == [[], [3]]
    assert planner.note(1) == [4]


def test_many_images_of_a_page_do_not_run_into_the_next_epoch() -> None:
    epochs = 3
    planner = order(list(range(50)) * epochs, 20, slack=16)
    proposed = list(planner.start())
    for _ in range(epochs):
        for page in range(50):
            for _ in range(10):
                proposed += planner.note(page)
    assert proposed == list(range(50)) * epochs


def test_a_data_set_smaller_than_the_budget_is_remembered_in_part() -> None:
    planner = order(np.tile(np.arange(10), 10_000), 1000)
    assert planner.start() == list(range(10))
    assert planner.outstanding_bytes == 10


def test_what_a_reader_leaves_out_does_not_hold_the_budget() -> None:
    pages = np.random.default_rng(0).permutation(20_000)
    planner = order(pages, 200)
    proposed = set(planner.start())
    for page in pages[::4].tolist():
        assert page in proposed
        proposed.update(planner.note(page))


@pytest.mark.parametrize("start", [300, 9000])
def test_readers_that_begin_elsewhere_are_found(start: int) -> None:
    """Within what is remembered, and beyond."""
    pages = np.random.default_rng(0).permutation(10_000)
    planner = order(pages, 400, slack=64)
    proposed = set(planner.start())
    hits = 0
    for page in pages[start : start + 500].tolist():
        hits += page in proposed
        proposed.update(planner.note(page))
    assert hits >= 495


def test_an_order_that_is_read_again_begins_anew() -> None:
    pages = (np.random.default_rng(0).permutation(50_000) // 10).tolist()
    planner = order(pages, 200)
    proposed, hits = set(planner.start()), 0
    for page in pages * 3:
        hits += page in proposed
        proposed.discard(page)
        proposed.update(planner.note(page))
    assert planner.outstanding_bytes <= 200
    assert sum(map(len, note_all(planner, pages[:100]))) > 50


def test_late_readers_do_not_take_the_others_back() -> None:
    pages = list(range(10_000))
    planner = order(pages, 100, slack=64)
    planner.start()
    note_all(planner, pages[:1000])
    assert note_all(planner, pages[900:906]) == [[]] * 6
    assert planner.note(1000) != []


def test_nothing_is_fetched_for_readers_in_another_order() -> None:
    chosen = np.random.default_rng(0)
    planner = order(chosen.permutation(20_000), 1000)
    planner.start()
    proposed = note_all(planner, chosen.integers(0, 20_000, 5000).tolist())
    assert sum(map(len, proposed)) < 0.05 * len(proposed)


@pytest.mark.parametrize(("workers", "batch"), [(8, 1), (2, 8), (4, 16), (8, 16)])
@pytest.mark.parametrize("kind", ["images in a row", "images at random", "epochs"])
def test_a_rough_order_is_followed_to_the_end(workers: int, batch: int, kind: str) -> None:
    chosen = np.random.default_rng(0)
    pages = {
        "images in a row": np.arange(8000) // 10,
        "images at random": chosen.permutation(8000) // 10,
        "epochs": np.concatenate([chosen.permutation(3000) // 3 for _ in range(3)]),
    }[kind]
    planner = order(pages, 600)
    proposed, hits = set(planner.start()), 0
    reads = interleave(len(pages), workers, batch, 2)
    for number in reads:
        hits += int(pages[number]) in proposed
        proposed.update(planner.note(int(pages[number])))
        assert planner.outstanding_bytes <= 600
    assert hits > 0.95 * len(reads)
    assert planner.outstanding_bytes < 100


@given(
    st.lists(st.integers(0, 19), max_size=120),
    st.lists(st.integers(0, 25), max_size=120),
    st.lists(st.integers(0, 6), min_size=20, max_size=20),
    st.integers(0, 12),
    st.integers(0, 20),
)
def test_the_budget_is_held_whatever_is_read(
    pages: list[int], reads: list[int], sizes: list[int], budget: int, slack: int
) -> None:
    planner = order(pages, budget, slack, sizes)
    for proposed in ([*planner.start()], *note_all(planner, reads)):
        assert set(proposed) <= set(pages)
        assert len(set(proposed)) == len(proposed)
        assert sum(sizes[page] for page in proposed) <= budget
        assert 0 <= planner.outstanding_bytes <= budget


@given(st.integers(0, 2**32), st.integers(1, 6), st.integers(1, 8))
def test_any_rough_permutation_is_followed(seed: int, workers: int, batch: int) -> None:
    pages = np.random.default_rng(seed).permutation(400)
    planner = order(pages, 120, slack=100)
    proposed, hits = set(planner.start()), 0
    for number in interleave(400, workers, batch, seed):
        hits += int(pages[number]) in proposed
        proposed.update(planner.note(int(pages[number])))
    assert hits >= 0.95 * 400
