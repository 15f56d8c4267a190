"""Upkeep: damage is found, what nobody uses goes, and nothing that is in use ever does."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.data.objects import LocalObjects
from hffs.errors import DataError, OutageError
from hffs.train.caching.index import describe, pack_index
from hffs.train.caching.keys import identify_encoder
from hffs.train.caching.shards import pack, read_keys
from hffs.train.caching.store import INDEX, Store
from hffs.train.caching.upkeep import Pruned, prune, reserve, shrink, verify
from tests.data.buckets import serving_buckets, use_endpoint, write_keys
from tests.train.caching.shards import make_key, make_keys, make_shard

NONE = make_keys(0, 0)


def _fill(folder: Path | str, count: int = 3) -> Store:
    """Shards of five samples each, and one refused; `a` was used longest ago."""
    store = Store.open(folder)
    for at in range(count):
        name = chr(ord("a") + at)
        store.put(make_shard(name, 5 * at, 5, {make_key(1000 + at).hex(): "bad"}))
        if isinstance(folder, Path):
            os.utime(_file(folder, name), (1e9 + at, 1e9 + at))
    return store


def _file(folder: Path, name: str) -> Path:
    return folder / "shards" / f"{name}.safetensors"


def _spoil(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def _names(store: Store) -> list[str]:
    return sorted(each.name for each in store.shards.values())


def _numbers(store: Store, keys: NDArray[np.uint8]) -> list[float]:
    found = store.find(keys)
    places = zip(found.shard.tolist(), found.row.tolist(), strict=True)
    read = [store.read(shard, [row])["latents"] for shard, row in places]
    return [float(each.mean()) for each in read]


def test_verify_reads_everything_and_names_what_is_damaged(tmp_path: Path) -> None:
    store = _fill(tmp_path, 5)
    start = 8 + int.from_bytes(_file(tmp_path, "a").read_bytes()[:8], "little")
    _spoil(_file(tmp_path, "a"), start + 7)  # a tensor
    _spoil(_file(tmp_path, "b"), start + 5 * 12 + 100)  # a key
    _file(tmp_path, "c").write_bytes(b"")
    steps: list[tuple[int, int]] = []
    found = verify(store, lambda done, total: steps.append((done, total)))
    assert (found.shards, found.samples, found.is_index_wrong) == (2, 10, False)
    assert set(found.damaged) == {"a", "b", "c"}
    assert found.damaged["a"] == "row 0 is not what was written"
    assert steps == [(done, 5) for done in range(1, 6)]
    assert _file(tmp_path, "a").exists()
    assert set(verify(store, remove=True).damaged) == {"a", "b", "c"}
    assert _names(store) == _names(Store.open(tmp_path)) == ["d", "e"]
    assert not _file(tmp_path, "c").exists()
    assert verify(Store.open(tmp_path)).damaged == {}


def test_verify_puts_an_index_right_that_lies(tmp_path: Path) -> None:
    store = _fill(tmp_path, 1)
    store.refresh()
    right = (tmp_path / INDEX).read_bytes()
    data = pack(make_shard("a", 50, 5, {make_key(1).hex(): "bad"}))
    lie = describe("a", len(data), read_keys(lambda a, b: data[a:b], len(data), "a"))
    (tmp_path / INDEX).write_bytes(pack_index([lie]))
    other = Store.open(tmp_path)
    assert other.find(make_keys(50, 1)).present.all()
    assert verify(other).is_index_wrong
    assert (tmp_path / INDEX).read_bytes() == right
    assert _numbers(other, make_keys(0, 5)) == list(range(5))
    assert not verify(other).is_index_wrong


def test_a_shard_that_another_process_removes_meanwhile_is_not_damaged(tmp_path: Path) -> None:
    _fill(tmp_path, 2)

    class Removing(LocalObjects):
        def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
            if name == "shards/b.safetensors" and stop is None:
                _file(tmp_path, "b").unlink()
            return super().read(name, start, stop)

    found = verify(Store(Removing(tmp_path)))
    assert (found.shards, found.damaged) == (1, {})


def test_prune_keeps_what_is_in_use(tmp_path: Path) -> None:
    store = _fill(tmp_path, 4)
    keep = np.concatenate([make_keys(0, 3), make_keys(7, 2), make_keys(1002, 1)])
    before = store.size_bytes
    pruned = prune(store, keep)
    assert (pruned.removed, pruned.rewritten) == (1, 2)  # d; b, and c for what it refused
    assert pruned.freed_bytes == before - store.size_bytes
    for each in (store, Store.open(tmp_path)):
        assert each.find(make_keys(0, 5)).present.all()
        assert _numbers(each, make_keys(7, 2)) == [7, 8]
        assert not each.find(make_keys(5, 2)).present.any()
        assert each.refused(make_keys(1000, 5)) == {make_key(1000): "bad", make_key(1002): "bad"}
        assert [len(name) for name in _names(each)] == [1, 34, 34]
    assert verify(store).damaged == {}
    assert prune(store, keep) == Pruned(0, 0, 0)
    files = {path.name.removesuffix(".safetensors") for path in (tmp_path / "shards").iterdir()}
    assert files == set(_names(store))


def test_prune_spares_what_other_encoders_made(tmp_path: Path) -> None:
    store = _fill(tmp_path, 2)
    store.put(make_shard("other", 100, 5, encoder="two"))
    assert prune(store, NONE, spare=[identify_encoder({"name": "two"})]).removed == 2
    assert _names(store) == ["other"]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 8)), max_size=6),
    st.sets(st.integers(0, 40)),
)
def test_any_prune_keeps_every_key_in_use_and_half_of_the_rest(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]], used: set[int]
) -> None:
    store = Store.open(tmp_path_factory.mktemp("prune"))
    for at, (first, count) in enumerate(spans):
        store.put(make_shard(f"64x64-{at}", first, count))
    keep = np.concatenate([NONE, *(make_keys(number, 1) for number in sorted(used))])
    there = store.find(keep).present
    prune(store, keep)
    assert np.array_equal(store.find(keep).present, there)
    assert _numbers(store, keep[there]) == [
        number for number, is_there in zip(sorted(used), there, strict=True) if is_there
    ]
    for each in store.shards.values():
        assert 2 * sum(key.tobytes() in set(map(bytes, keep)) for key in each.keys) >= len(
            each.keys
        )
        assert each.name.startswith("64x64-")
    assert prune(store, keep) == Pruned(0, 0, 0)


def test_shrink_removes_what_was_unused_for_longest_and_nothing_in_use(tmp_path: Path) -> None:
    store = _fill(tmp_path, 4)
    size_bytes = store.size_bytes // 4
    assert shrink(store, 4 * size_bytes, NONE) == 0
    store.read(store.find(make_keys(5, 1)).shard[0], [0])  # b
    assert shrink(store, 3 * size_bytes, make_keys(0, 1)) == size_bytes  # a is in use
    assert _names(store) == _names(Store.open(tmp_path)) == ["a", "b", "d"]
    assert shrink(store, 0, make_keys(0, 1)) == 2 * size_bytes
    assert _names(store) == ["a"]


def test_room_is_made_before_anything_is_computed_or_refused(tmp_path: Path) -> None:
    store = _fill(tmp_path, 4)
    size_bytes = store.size_bytes // 4
    reserve(store, size_bytes, 5 * size_bytes, make_keys(0, 5))
    assert len(store.shards) == 4
    reserve(store, size_bytes, 3 * size_bytes, make_keys(0, 5))
    assert _names(store) == ["a", "d"]
    with pytest.raises(DataError, match=r"the cache is full .*raise --max-size") as caught:
        reserve(store, 10**9, 2 * 10**9 // 2, make_keys(0, 20))
    assert "1.00 GB more are needed, 1.00 GB are allowed" in str(caught.value)
    assert _names(store) == ["a", "d"]


def test_a_store_that_is_down_is_no_reason_to_remove_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving_buckets() as buckets:
        use_endpoint(monkeypatch, buckets.endpoint)
        write_keys("upkeep", {})
        store = _fill("s3://upkeep/vae", 1)
        assert verify(store, remove=True).samples == 5

        def fail(done: int, total: int) -> None:
            buckets.is_down = True

        _fill("s3://upkeep/vae", 5)
        try:
            with pytest.raises(OutageError, match="busy"):
                verify(store, fail, remove=True)
        finally:
            buckets.is_down = False
        assert len(verify(store, remove=True).damaged) == 0
        shrink(store, store.size_bytes // 2, make_keys(0, 5))
        assert store.find(make_keys(0, 5)).present.all()
        assert 1 <= len(store.shards) <= 3
        assert torch.equal(store.read(0, [1])["latents"], make_shard("a", 1, 1).tensors["latents"])


def test_regression_nothing_goes_for_a_run_that_would_not_fit(tmp_path: Path) -> None:
    store = _fill(tmp_path)
    before = _names(store)
    with pytest.raises(DataError, match="the cache is full"):
        reserve(store, store.size_bytes * 3, store.size_bytes, NONE)
    assert _names(Store.open(tmp_path)) == before


def test_regression_a_shard_that_was_made_anew_meanwhile_is_not_removed(tmp_path: Path) -> None:
    store = _fill(tmp_path)
    whole = _file(tmp_path, "a").read_bytes()
    _spoil(_file(tmp_path, "a"), len(whole) - 3)

    def mend(done: int, total: int) -> None:
        _file(tmp_path, "a").write_bytes(whole)

    _file(tmp_path, "0").write_bytes(b"")  # it is looked at first, and tells of progress then
    assert set(verify(store, mend, remove=True).damaged) == {"0", "a"}
    assert _file(tmp_path, "a").read_bytes() == whole
