"""Parts of large values elsewhere: what is read of them, and how much is fetched for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data import blocks
from hffs.data.blocks import BLOCK_BYTES, Blocks
from hffs.data.remote.fetching import Fetcher
from hffs.data.remote.files import Check, Range, RemoteFile, accept
from hffs.errors import OutageError
from tests.data.far_values import list_bytes, open_fetcher, put_file
from tests.hub import HubServer
from tests.ranges import LocalReader

PART = 128 << 10
"""What the kernel asks a mount for at once."""


def _content(size: int) -> bytes:
    return np.random.default_rng(size).bytes(size)


class MemoryReader(LocalReader):
    """Reads one file that is held here; each call of `submit` is counted."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content, self.calls = content, 0

    def submit(
        self,
        file: RemoteFile,
        ranges: Sequence[Range],
        check: Check = accept,
        *,
        ahead: bool = False,
        keep: bool = True,
    ) -> list[Future[memoryview]]:
        self.calls += not ahead
        return super().submit(file, ranges, check, ahead=ahead, keep=keep)

    def _load(self, file: RemoteFile) -> bytes:
        return self.content


FILE = RemoteFile("test://a.mp4", "etag", 1 << 30)


@given(
    size=st.integers(0, 70),
    before=st.integers(0, 5),
    parts=st.lists(st.tuples(st.integers(-3, 80), st.integers(-3, 80)), max_size=12),
)
def test_any_parts_are_those_of_the_whole(
    size: int, before: int, parts: list[tuple[int, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_BYTES", 8)
        content = bytes(range(100))
        reader, value = MemoryReader(content), Range(before, before + size)
        store = Blocks(reader)
        whole = content[before : before + size]
        for start, stop in parts:
            assert store.read(FILE, value, start, stop) == whole[max(start, 0) : max(stop, 0)]
            assert store.has(FILE, value, start, stop)
        places = [place for _, place in reader.asked + reader.ahead]
        assert len(places) == len(set(places))
        for place in places:
            assert (place.start - before) % 8 == 0
            assert place.stop == min(place.start + 8, before + size)


def test_blocks_that_are_wanted_together_are_asked_for_together() -> None:
    reader = MemoryReader(_content(10 * BLOCK_BYTES))
    store, value = Blocks(reader), Range(5, 9 * BLOCK_BYTES)
    store.read(FILE, value, 2 * BLOCK_BYTES, 2 * BLOCK_BYTES + 1)
    assert reader.calls == 1
    assert not store.has(FILE, value, 0, 5 * BLOCK_BYTES)
    store.read(FILE, value, 10, 5 * BLOCK_BYTES)
    assert reader.calls == 2
    assert len(reader.asked) == 5


def test_one_block_is_not_copied() -> None:
    reader = MemoryReader(_content(2 * BLOCK_BYTES))
    store, value = Blocks(reader), Range(0, 2 * BLOCK_BYTES)
    part = store.read(FILE, value, BLOCK_BYTES, BLOCK_BYTES + 10)
    assert part.obj is reader.content


@pytest.mark.parametrize("part", [PART, 1 << 20])
def test_a_jump_begins_two_blocks_at_most(part: int) -> None:
    reader = MemoryReader(_content(200 << 20))
    store, value = Blocks(reader), Range(0, 200 << 20)
    store.read(FILE, value, 0, part)
    store.read(FILE, value, (200 << 20) - part, 200 << 20)
    for at in (70_000_001, 120_000_003):
        asked, ahead = len(reader.asked), len(reader.ahead)
        store.read(FILE, value, at, at + part)
        assert len(reader.asked) - asked <= part // BLOCK_BYTES + 2
        assert len(reader.ahead) - ahead <= 2


def test_two_readers_of_one_value_are_both_read_ahead_of() -> None:
    """As of a film whose sound lies behind all of its pictures."""
    reader = MemoryReader(_content(60 << 20))
    store, value = Blocks(reader), Range(0, 60 << 20)
    for at in range(0, 20 << 20, PART):
        for start in (at, at + (40 << 20)):
            assert len(store.read(FILE, value, start, start + PART)) == PART
    assert len(reader.asked) <= 8
    places = [place for _, place in reader.asked + reader.ahead]
    assert len(places) == len(set(places))
    # of the first reader, what was fetched ahead of where it ended is too much
    assert 40 << 20 <= sum(place.size_bytes for place in places) <= 48 << 20


def test_what_readers_left_is_not_remembered_for_ever() -> None:
    reader = MemoryReader(_content(100 << 20))
    store, value = Blocks(reader), Range(0, 100 << 20)
    rng = np.random.default_rng(1)
    for begin in rng.integers(0, 90 << 20, 200).tolist():
        for at in range(begin, begin + (3 << 20), PART):
            store.read(FILE, value, at, at + PART)
    (follower,) = store._followers._kept.values()
    assert len(follower._pending) <= blocks._PENDING


@pytest.fixture
def fetcher(hub: HubServer, tmp_path: Path) -> Iterator[Fetcher]:
    with open_fetcher(hub, tmp_path / "cache") as opened:
        yield opened


def test_a_player_that_jumps_fetches_a_fraction(hub: HubServer, fetcher: Fetcher) -> None:
    content = _content(48 << 20)
    file = put_file(hub, "a.mp4", content)
    value, store = Range(0, len(content)), Blocks(fetcher)
    hub.clear()
    for start in (0, len(content) - PART, 30_000_000):
        assert store.read(file, value, start, start + PART) == content[start : start + PART]
    assert sum(stop + 1 - start for start, stop in list_bytes(hub)) <= 5 * BLOCK_BYTES


def test_reading_on_takes_few_requests_and_each_byte_once(
    hub: HubServer, fetcher: Fetcher, tmp_path: Path
) -> None:
    content = _content((20 << 20) + 12_345)
    file = put_file(hub, "a.mp4", content)
    value, store = Range(1000, len(content)), Blocks(fetcher)
    hub.clear()
    found = bytearray()
    for start in range(0, value.size_bytes, PART):
        found += store.read(file, value, start, start + PART)
    assert found == content[1000:]
    spans = list_bytes(hub)
    assert len(spans) <= 20
    assert all(before[1] + 1 == after[0] for before, after in pairwise(spans))
    assert (spans[0][0], spans[-1][1]) == (1000, len(content) - 1)
    hub.clear()
    with open_fetcher(hub, tmp_path / "cache", offline=True) as again:
        store = Blocks(again)
        assert store.has(file, value, 0, len(content))
        assert store.read(file, value, 0, len(content)) == content[1000:]
    assert hub.requests == []


def test_many_threads_fetch_hardly_a_byte_twice(hub: HubServer, fetcher: Fetcher) -> None:
    """What comes between a look into the cache and the question for it may come once more."""
    content = _content(8 << 20)
    file = put_file(hub, "a.mp4", content)
    value, store = Range(0, len(content)), Blocks(fetcher)
    barrier = threading.Barrier(8)

    def play(number: int) -> None:
        barrier.wait(10)
        rng = np.random.default_rng(number)
        starts = (
            rng.integers(0, len(content), 40).tolist() if number % 2 else range(0, 8 << 20, PART)
        )
        for start in starts:
            assert store.read(file, value, start, start + PART) == content[start : start + PART]

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(play, range(8)))
    fetched = sum(stop + 1 - start for start, stop in list_bytes(hub))
    assert len(content) <= fetched <= 1.25 * len(content)


def test_offline_what_was_not_fetched_is_an_outage(hub: HubServer, tmp_path: Path) -> None:
    file = put_file(hub, "a.mp4", _content(1 << 20))
    value = Range(0, 1 << 20)
    with open_fetcher(hub, tmp_path / "cache") as fetcher:
        Blocks(fetcher).read(file, value, 0, 10)
    with open_fetcher(hub, tmp_path / "cache", offline=True) as fetcher:
        store = Blocks(fetcher)
        assert len(store.read(file, value, 5, BLOCK_BYTES)) == BLOCK_BYTES - 5
        assert not store.has(file, value, 5, BLOCK_BYTES + 1)
        with pytest.raises(OutageError):
            store.read(file, value, 5, BLOCK_BYTES + 1)
