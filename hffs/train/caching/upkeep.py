"""Upkeep of a store: what is damaged, what nobody uses, and what takes too much.

Owns what is removed and when. Must not know how shards are found or kept. Invariants: no sample in
use is ever gone, a killed run's neither: what takes its place is written before it is removed;
what a store does not know (other files) stays.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hffs.errors import DataError
from hffs.train.caching.chunks import rename_shard
from hffs.train.caching.index import Known, describe
from hffs.train.caching.keys import KEY_BYTES
from hffs.train.caching.lookup import Lookup
from hffs.train.caching.shards import Shard, check_file
from hffs.train.caching.store import Store, examine

Progress = Callable[[int, int], None]
"""Told how many shards of how many are done."""

_THREADS = 4  # each has a whole shard in memory


@dataclass(frozen=True, slots=True)
class Verified:
    """How many shards and samples are sound, and by name why the others are not.

    `is_index_wrong` says whether the index told other keys than the shards; it is written anew.
    """

    shards: int
    samples: int
    damaged: Mapping[str, str]
    is_index_wrong: bool


@dataclass(frozen=True, slots=True)
class Pruned:
    """How many shards went, how many were written anew with fewer samples, and what that freed."""

    removed: int
    rewritten: int
    freed_bytes: int


def verify(store: Store, progress: Progress | None = None, *, remove: bool = False) -> Verified:
    """Read all of every shard. With `remove` damaged ones go, so that the next run makes them."""
    store.refresh()
    known = {each.name: each for each in store.shards.values()}
    damaged = dict[str, str]()
    shards, samples, is_index_wrong = 0, 0, False
    names = sorted({*known, *store.damaged})
    with ThreadPoolExecutor(_THREADS) as threads:
        found = _map_few(threads, partial(_check, store), names)
        for done, (name, each) in enumerate(zip(names, found, strict=True), 1):
            if isinstance(each, str):
                damaged[name] = each
                # At once, and looked at again: a run beside this may have made it anew.
                if remove and isinstance(_check(store, name), str):
                    store.remove(name)
            elif each is not None:
                shards, samples = shards + 1, samples + len(each.keys)
                if name not in known or not _is_same(known[name], each):
                    is_index_wrong = True
                    store.learn(each)
            if progress is not None:
                progress(done, len(names))
    store.write_index(anew=is_index_wrong)
    return Verified(shards, samples, damaged, is_index_wrong)


def _map_few(
    threads: ThreadPoolExecutor, check: Callable[[str], Known | str | None], names: list[str]
) -> Iterator[Known | str | None]:
    """As `threads.map`, without running ahead of who takes the results by more than a little."""
    for start in range(0, len(names), _THREADS):
        yield from threads.map(check, names[start : start + _THREADS])


def _check(store: Store, name: str) -> Known | str | None:
    """As `examine`, of all that is in a shard."""

    def read() -> Known:
        data = store.read_whole(name)
        return describe(name, len(data), check_file(data, name))

    return examine(read)


def _is_same(one: Known, other: Known) -> bool:
    return (
        np.array_equal(one.keys, other.keys)
        and one.refused == other.refused
        and one.encoder_id == other.encoder_id
        and one.tensors == other.tensors
    )


def prune(store: Store, keep: NDArray[np.uint8], *, spare: Collection[str] = ()) -> Pruned:
    """Remove what is not of the keys (n, 32) in use, but for shards of the encoders to `spare`.

    A shard stays as it is where at least half of its samples are in use; of others those in use
    are written into a new one first.
    """
    store.refresh()
    removed = rewritten = freed_bytes = 0
    shards, wanted = store.shards, Lookup([(0, keep)])
    for number, rows in _find_used(store, keep).items():
        known = shards[number]
        refused = _find_refused(known, wanted)
        is_used = bool(rows.size or refused)
        if known.encoder_id in spare or (is_used and 2 * rows.size >= len(known.keys)):
            continue
        freed_bytes += known.size_bytes
        if is_used:
            tensors = store.read(number, rows.tolist(), known.keys[rows])
            freed_bytes -= store.put(_select(known, rows, tensors, refused))
            rewritten += 1
        else:
            removed += 1
        store.remove(known.name)
    store.write_index()
    return Pruned(removed, rewritten, freed_bytes)


def _find_used(store: Store, keep: NDArray[np.uint8]) -> dict[int, NDArray[np.int32]]:
    """The rows in use of every shard; of a key in several shards it is one row."""
    found = store.find(keep)
    shard, row = found.shard[found.present], found.row[found.present]
    order = np.argsort(shard, kind="stable")
    numbers = sorted(store.shards)
    starts = np.searchsorted(shard[order], numbers)
    ends = np.searchsorted(shard[order], numbers, side="right")
    spans = zip(numbers, starts, ends, strict=True)
    return {number: np.unique(row[order[start:end]]) for number, start, end in spans}


def _find_refused(known: Known, wanted: Lookup) -> dict[str, str]:
    """What was refused of the keys in use."""
    keys = np.frombuffer(b"".join(known.refused), np.uint8).reshape(-1, KEY_BYTES)
    is_used = wanted.find(keys).present
    told = zip(known.refused.items(), is_used, strict=True)
    return {key.hex(): why for (key, why), used in told if used}


def _select(
    known: Known,
    rows: NDArray[np.int32],
    tensors: Mapping[str, Tensor],
    refused: Mapping[str, str],
) -> Shard:
    """A shard of some rows of another, under a name of its own."""
    keys = known.keys[rows]
    return Shard(rename_shard(known.name, keys, refused), keys, tensors, refused, known.encoder)


def shrink(store: Store, max_bytes: int, keep: NDArray[np.uint8]) -> int:
    """Remove shards until the store takes no more than `max_bytes`; how many bytes that freed.

    Those unused for longest go first, as far as the store notes use, else the oldest; never one
    with a key (n, 32) in use, for which the store may stay larger.
    """
    store.refresh()
    over, freed_bytes = store.size_bytes - max_bytes, 0
    if over <= 0:
        return 0
    used_s = store.used_s()
    used = {number for number, rows in _find_used(store, keep).items() if rows.size}
    idle = [each for number, each in store.shards.items() if number not in used]
    for each in sorted(idle, key=lambda each: (used_s.get(each.name, 0.0), each.name)):
        if freed_bytes >= over:
            break
        store.remove(each.name)
        freed_bytes += each.size_bytes
    store.write_index()
    return freed_bytes


def reserve(store: Store, size_bytes: int, max_bytes: int, keep: NDArray[np.uint8]) -> None:
    """See that so many bytes more may be put, before anything is computed for them.

    What nobody uses goes as in `shrink`. Raises DataError where that does not do.
    """
    if store.size_bytes + size_bytes <= max_bytes:
        return
    store.refresh()
    used = {number for number, rows in _find_used(store, keep).items() if rows.size}
    held_bytes = sum(store.shards[number].size_bytes for number in used)
    if held_bytes + size_bytes > max_bytes:  # before anything goes in vain
        raise DataError(
            "the cache is full",
            store.address,
            why=f"{_show(held_bytes)} are in use, {_show(size_bytes)} more are needed, "
            f"{_show(max_bytes)} are allowed",
            fix="raise --max-size",
        )
    shrink(store, max(max_bytes - size_bytes, 0), keep)


def _show(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.2f} GB"
