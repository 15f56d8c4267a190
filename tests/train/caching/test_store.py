"""The store: what was put is found and read again, by anyone, whatever else lies there."""

from __future__ import annotations

import logging
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hffs.data.objects import LocalObjects
from hffs.errors import DataError, FormatError, MissingError, OutageError, SourceError
from hffs.train.caching.index import describe, pack_index
from hffs.train.caching.keys import identify_encoder
from hffs.train.caching.shards import pack, read_keys
from hffs.train.caching.store import INDEX, Store
from tests.data.buckets import Buckets, serving_buckets, use_endpoint, write_keys
from tests.train.caching.shards import make_key, make_keys, make_shard


@pytest.fixture(scope="module")
def buckets() -> Iterator[Buckets]:
    with serving_buckets() as found, pytest.MonkeyPatch.context() as patch:
        use_endpoint(patch, found.endpoint)
        write_keys("store", {})
        yield found


@pytest.fixture
def s3(buckets: Buckets, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    use_endpoint(monkeypatch, buckets.endpoint)
    return f"s3://store/{tmp_path.name}/vae"


@pytest.fixture(params=["folder", "memory", "s3"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("s3"))
    return str(tmp_path / "vae") if request.param == "folder" else f"memory://{tmp_path.name}/vae"


def _file(folder: Path, name: str) -> Path:
    return folder / "shards" / f"{name}.safetensors"


def _read_all(store: Store, first: int, count: int) -> list[float]:
    """A number of each sample's tensor, found and read by its key."""
    keys = make_keys(first, count)
    found = store.find(keys)
    read = [
        store.read(int(shard), [int(row)], keys[at : at + 1])["latents"]
        for at, (shard, row) in enumerate(zip(found.shard, found.row, strict=True))
    ]
    assert all(each.shape == (1, 2, 3) and each.dtype == torch.bfloat16 for each in read)
    return [float(each.mean()) for each in read]


def test_what_was_put_is_found_and_read(address: str) -> None:
    store = Store.open(address)
    sizes = [store.put(make_shard("a", 0, 5)), store.put(make_shard("b", 5, 3, encoder="two"))]
    late = Store.open(address)
    for each in (store, late, pickle.loads(pickle.dumps(late))):  # noqa: S301
        found = each.find(make_keys(0, 10))
        assert found.row.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, -1, -1]
        assert found.present.tolist() == [True] * 8 + [False] * 2
        assert _read_all(each, 0, 8) == list(range(8))
        rows = each.read(int(found.shard[0]), [4, 0, 1, 1])["latents"]
        assert rows[:, 0, 0].tolist() == [4, 0, 1, 1]
        assert each.shape(int(found.shard[0])) == {"latents": (2, 3)}
        assert each.encoders() == {
            identify_encoder({"name": name}): {"name": name} for name in ("one", "two")
        }
        assert (each.has("a"), each.has("c")) == (True, False)
        assert each.size_bytes == sum(sizes)


def test_why_samples_were_refused_is_known_unless_they_are_there(address: str) -> None:
    store = Store.open(address)
    refused = {make_key(number).hex(): f"bad {number}" for number in (7, 8, 1)}
    store.put(make_shard("a", 0, 0, refused))
    store.put(make_shard("b", 0, 3))
    for each in (store, Store.open(address)):
        assert each.refused(make_keys(0, 8)) == {make_key(7): "bad 7"}
        assert not each.find(make_keys(7, 1)).present.any()


def test_a_remote_shard_is_read_by_ranges_or_kept_whole(
    s3: str, buckets: Buckets, tmp_path: Path
) -> None:
    Store.open(s3).put(make_shard("a", 0, 50))
    ranged, kept = Store.open(s3), Store.open(s3, tmp_path / "near")
    for store, gets in ((ranged, 12), (kept, 1)):
        store.find(make_keys(0, 1))
        buckets.requests.clear()
        assert _read_all(store, 0, 10) == list(range(10))
        assert sum("GET" in each and "a.safetensors" in each for each in buckets.requests) == gets
    (near,) = (tmp_path / "near").glob("*/a.safetensors")
    near.write_bytes(bytes(near.stat().st_size))
    assert _read_all(Store.open(s3, tmp_path / "near"), 0, 10) == list(range(10))
    near.write_bytes(b"half")
    assert _read_all(Store.open(s3, tmp_path / "near"), 0, 10) == list(range(10))


def test_a_store_that_does_not_answer_is_no_damage(s3: str, buckets: Buckets) -> None:
    Store.open(s3).put(make_shard("a", 0, 1))
    store = Store.open(s3)
    buckets.is_down = True
    try:
        with pytest.raises((OutageError, SourceError), match="busy"):
            store.find(make_keys(0, 1))
    finally:
        buckets.is_down = False
    assert store.find(make_keys(0, 1)).present.all()


def test_the_first_by_name_of_two_shards_has_a_key(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(make_shard("b", 0, 3))
    store.put(make_shard("a", 2, 3))
    for each in (store, Store.open(tmp_path)):
        names = {number: known.name for number, known in each.shards.items()}
        found = each.find(make_keys(0, 5))
        assert [names[shard] for shard in found.shard.tolist()] == ["b", "b", "a", "a", "a"]


def test_numbers_of_shards_stay_while_others_come_and_go(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(make_shard("m", 0, 3))
    (number,) = store.shards
    Store.open(tmp_path).put(make_shard("a", 3, 3))
    store.put(make_shard("b", 6, 3))
    store.refresh()
    assert store.shards[number].name == "m"
    assert _read_all(store, 0, 9) == list(range(9))
    Store.open(tmp_path).remove("m")
    store.refresh()
    assert not store.find(make_keys(0, 3)).present.any()
    assert _read_all(store, 3, 6) == list(range(3, 9))
    with pytest.raises(MissingError, match="has it no more"):
        store.read(number, [0])
    with pytest.raises(MissingError):
        store.read(17, [0])


def test_the_index_is_the_same_of_the_same_shards_in_whatever_order(tmp_path: Path) -> None:
    shards = [make_shard(name, 5 * at, 5) for at, name in enumerate("abcd")]
    made = []
    for number, order in enumerate([(0, 1, 2, 3), (3, 1, 0, 2)]):
        folder = tmp_path / str(number)
        for at in order:
            store = Store.open(folder)
            store.put(shards[at])
            store.refresh()
        made.append((folder / INDEX).read_bytes())
        (folder / INDEX).unlink()
        Store.open(folder).refresh()
        made.append((folder / INDEX).read_bytes())
    assert len(set(made)) == 1


class Counting(LocalObjects):
    """A folder that keeps what it was asked for."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.asked: list[str] = []

    def read(self, name: str, start: int = 0, stop: int | None = None) -> bytes:
        self.asked.append(name)
        return super().read(name, start, stop)

    def write(self, name: str, data: bytes) -> None:
        self.asked.append(f"write {name}")
        super().write(name, data)


def test_only_shards_that_the_index_lacks_are_read(tmp_path: Path) -> None:
    Store.open(tmp_path).put(make_shard("a", 0, 2))
    objects = Counting(tmp_path)
    Store(objects).refresh()
    assert objects.asked == ["shards/a.safetensors"] * 2 + [f"write {INDEX}"]
    objects.asked.clear()
    Store.open(tmp_path).put(make_shard("b", 2, 2))
    store = Store(objects)
    store.refresh()
    assert objects.asked == [INDEX, *["shards/b.safetensors"] * 2, f"write {INDEX}"]
    objects.asked.clear()
    store.refresh()
    assert objects.asked == []
    assert _read_all(Store(objects), 0, 4) == list(range(4))
    assert objects.asked[0] == INDEX
    assert f"write {INDEX}" not in objects.asked


def test_a_lost_or_broken_index_costs_nothing_but_its_making(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(make_shard("a", 0, 5))
    store.refresh()
    whole = (tmp_path / INDEX).read_bytes()
    for data in (b"", b"PAR1" * 9, whole[:-10], bytes(len(whole))):
        (tmp_path / INDEX).write_bytes(data)
        assert _read_all(Store.open(tmp_path), 0, 5) == list(range(5))
        assert (tmp_path / INDEX).read_bytes() == whole


def _lie(folder: Path, name: str, first: int, count: int) -> None:
    """Write an index that says other keys of a shard than it has."""
    data = pack(make_shard(name, first, count))
    found = read_keys(lambda a, b: data[a:b], len(data), name)
    size_bytes = _file(folder, name).stat().st_size
    (folder / INDEX).write_bytes(pack_index([describe(name, size_bytes, found)]))


def test_an_index_that_lies_is_found_out_by_the_keys(tmp_path: Path) -> None:
    Store.open(tmp_path).put(make_shard("a", 0, 5))
    _lie(tmp_path, "a", 1, 5)
    with pytest.raises(FormatError, match=r"shard a: its rows are not .*; remove index.parquet"):
        _read_all(Store.open(tmp_path), 1, 1)
    _lie(tmp_path, "a", 0, 6)
    with pytest.raises(FormatError, match="it has 5 rows"):
        _read_all(Store.open(tmp_path), 5, 1)
    (tmp_path / INDEX).unlink()
    assert _read_all(Store.open(tmp_path), 0, 5) == list(range(5))


def test_what_is_no_shard_is_passed_over_until_it_is_put_again(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for at, name in enumerate("abcd"):
        store.put(make_shard(name, 5 * at, 5))
    _file(tmp_path, "a").write_bytes(b"")
    _file(tmp_path, "b").write_bytes(_file(tmp_path, "b").read_bytes()[:-1])
    _file(tmp_path, "c").write_bytes(b"no shard at all, but long enough for its length")
    for name in ("README.md", "shards/notes.txt", "shards/sub/x.safetensors", "shards/.x.tmp"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    for each in (store, Store.open(tmp_path)):
        each.refresh()
        assert set(each.damaged) == {"a", "b", "c"}
        assert [each.has(name) for name in "abcd"] == [False] * 3 + [True]
        assert _read_all(each, 15, 5) == list(range(15, 20))
        assert not each.find(make_keys(0, 15)).present.any()
    store.put(make_shard("b", 5, 5))
    assert set(store.damaged) == {"a", "c"}
    other = Store.open(tmp_path)
    assert _read_all(other, 5, 5) == list(range(5, 10))
    _file(tmp_path, "a").unlink()
    other.refresh()
    assert set(other.damaged) == {"c"}
    assert (tmp_path / "shards" / "notes.txt").read_text() == "mine"


def test_a_sample_that_changed_is_told_by_shard_and_row(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(make_shard("a", 0, 5))
    data = bytearray(_file(tmp_path, "a").read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    data[start + 2 * 12] ^= 1
    _file(tmp_path, "a").write_bytes(data)
    (number,) = store.shards
    store.read(number, [0, 1, 3, 4])
    with pytest.raises(FormatError, match="shard a: row 2 is not what was written; verify"):
        store.read(number, [1, 2])
    unchecked = Store.open(tmp_path, check=False)
    assert len(pickle.loads(pickle.dumps(unchecked)).read(0, [1, 2])["latents"]) == 2  # noqa: S301


def test_a_shard_that_was_replaced_by_other_content_is_read_anew(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(make_shard("a", 0, 5))
    assert _read_all(store, 0, 5) == list(range(5))
    other = make_shard("a", 0, 5)
    tensors = {"latents": other.tensors["latents"] + 1}
    Store.open(tmp_path).put(type(other)("a", other.keys, tensors, {}, other.encoder))
    assert _read_all(store, 0, 5) == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("name", ["", ".a", "a/b", "../a", "a b", "é", "a" * 300])
def test_a_shard_needs_the_name_of_a_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError, match="no file name"):
        Store.open(tmp_path).put(make_shard(name, 0, 1))
    assert list(tmp_path.iterdir()) == []


def test_rows_that_are_not_there_are_refused(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    store.put(make_shard("a", 0, 5))
    (number,) = store.shards
    for rows in ([5], [-1], [0, 1 << 40]):
        with pytest.raises(FormatError, match="it has 5 rows"):
            store.read(number, rows)
    assert store.read(number, [])["latents"].shape == (0, 2, 3)


def test_a_store_of_another_user_is_read_without_keeping_an_index(
    tmp_path: Path, as_nobody: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "vae"
    folder.mkdir(mode=0o755)
    Store.open(folder).put(make_shard("a", 0, 3))
    for path in (folder, folder / "shards"):
        path.chmod(0o555)
    with caplog.at_level(logging.INFO), as_nobody():
        assert _read_all(Store.open(folder), 0, 3) == [0, 1, 2]
    assert "the index is not kept" in caplog.text
    assert not (folder / INDEX).exists()


def test_threads_put_and_find_at_once(tmp_path: Path) -> None:
    store = Store.open(tmp_path)

    def put(at: int) -> None:
        for step in range(4):
            first = 40 * at + 10 * step
            store.put(make_shard(f"s{first}", first, 10))
            assert _read_all(store, first, 10) == list(range(first, first + 10))
            store.refresh()

    threads = [threading.Thread(target=put, args=(at,)) for at in range(4)]
    failed: list[Any] = []
    hook, threading.excepthook = threading.excepthook, failed.append
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        threading.excepthook = hook
    assert failed == []
    assert len(Store.open(tmp_path).shards) == len(store.shards) == 16


def _answer(store: Store, pipe: Any) -> None:
    try:
        pipe.send(_read_all(store, 0, 5))
    except BaseException as error:
        pipe.send(repr(error))
        raise


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_a_forked_process_reads_with_the_same_store(address: str) -> None:
    store = Store.open(address)
    store.put(make_shard("a", 0, 5))
    assert _read_all(store, 0, 5) == list(range(5))
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=_answer, args=(store, its))
    process.start()
    try:
        assert mine.poll(60)
        assert mine.recv() == list(range(5))
    finally:
        process.kill()
        process.join()
    assert _read_all(store, 0, 5) == list(range(5))


def test_reading_makes_a_shard_the_last_used(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    for at, name in enumerate("ab"):
        store.put(make_shard(name, at, 1))
        os.utime(_file(tmp_path, name), (1e9, 1e9))
    _read_all(store, 1, 1)
    used_s = store.used_s()
    assert used_s["a"] == 1e9
    assert used_s["b"] > 1.6e9


def test_keys_by_the_thousand_are_found(tmp_path: Path) -> None:
    store = Store.open(tmp_path)
    rng = np.random.default_rng(1)
    keys = rng.integers(0, 256, (3000, 32), np.uint8)
    for at in range(0, 3000, 1000):
        shard = make_shard(f"s{at}", 0, 1000)
        store.put(type(shard)(shard.name, keys[at : at + 1000], shard.tensors, {}, {}))
    found = store.find(keys[::-1])
    names = [store.shards[number].name for number in found.shard.tolist()]
    assert names == [f"s{at // 1000 * 1000}" for at in range(2999, -1, -1)]
    assert found.row.tolist() == [at % 1000 for at in range(2999, -1, -1)]
