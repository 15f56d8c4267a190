"""The store: shards below an address, and where each key is in them.

    shards/NAME.safetensors    samples of one shape (hffs.train.caching.shards)
    index.parquet              which key is where (hffs.train.caching.index)

Owns what is known of the shards, and their reading. Must not know images, encoders or devices.
Invariants: a shard is whole or it is passed over and made anew; any number of processes and hosts
may put shards at once, the same ones too; the index holds nothing that the shards do not. Numbers
of shards are a `Store`'s own and stay while it lives.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hffs.data.objects import Held, LocalObjects, Objects, open_objects
from hffs.data.recent import Recent
from hffs.errors import (
    AccessError,
    ConfigError,
    DataError,
    FormatError,
    MissingError,
    OutageError,
    SourceError,
    StaleError,
)
from hffs.train.caching.index import Known, describe, pack_index, unpack_index
from hffs.train.caching.keys import KEY_BYTES
from hffs.train.caching.lookup import Found, Lookup
from hffs.train.caching.shards import (
    Keys,
    ReadPart,
    Shard,
    check_rows,
    pack,
    read_keys,
    read_rows,
)

INDEX = "index.parquet"

_log = logging.getLogger(__name__)
_FOLDER, _SUFFIX = "shards/", ".safetensors"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}")
_THREADS = 16
_OPEN_BYTES, _OPEN_COUNT = 1 << 26, 4096


class Store:
    """Shards, found and read by any thread. What is there is looked up when it is first asked for.

    `cache` is a folder that keeps what is read of remote shards, as whole ones. Without `check`
    what is read is not compared with its checksums.
    """

    def __init__(self, objects: Objects, cache: Path | None = None, *, check: bool = True) -> None:
        self._objects, self._cache, self._check = objects, cache, check
        self._lock = threading.RLock()
        self._shards: list[Known | None] = []
        self._numbers: dict[str, int] = {}
        self._damaged: dict[str, str] = {}
        self._is_loaded = False
        self._indexed: set[tuple[str, int]] | None = None
        self._lookups: tuple[Lookup, Lookup, list[str]] | None = None
        self._open = Recent[Keys](_OPEN_BYTES, _OPEN_COUNT, lambda each: each.keys.nbytes * 2)
        self._touched: set[str] = set()

    @classmethod
    def open(cls, address: str | Path, cache: Path | None = None, *, check: bool = True) -> Store:
        """The store at a folder or URL; see `hffs.data.objects.open_objects`."""
        return cls(open_objects(address), cache, check=check)

    def __reduce__(self) -> tuple[Any, ...]:
        """Open again, by the address."""
        return partial(Store, check=self._check), (self._objects, self._cache)

    @property
    def address(self) -> str:
        """Where it is, fit for a message."""
        return self._objects.address

    @property
    def shards(self) -> dict[int, Known]:
        """The shards by their numbers."""
        self._load()
        with self._lock:
            return {number: each for number, each in enumerate(self._shards) if each is not None}

    @property
    def damaged(self) -> dict[str, str]:
        """Why files among the shards are passed over, by name; as far as their heads tell."""
        self._load()
        return dict(self._damaged)

    @property
    def size_bytes(self) -> int:
        """What all shards take."""
        return sum(each.size_bytes for each in self.shards.values())

    def encoders(self) -> dict[str, Mapping[str, Any]]:
        """What the encoders of the shards said of themselves, by `keys.identify_encoder`."""
        return {each.encoder_id: each.encoder for each in self.shards.values()}

    def shape(self, shard: int) -> dict[str, tuple[int, ...]]:
        """The shape that a sample has in a shard, by tensor."""
        return {key: shape for key, (_, shape) in self._find(shard).tensors.items()}

    def has(self, name: str) -> bool:
        """Whether there is a shard of a name."""
        self._load()
        return name in self._numbers

    def find(self, keys: NDArray[np.uint8]) -> Found:
        """Where keys (n, 32) are. Of shards with the same key it is in the first by name."""
        return self._look()[0].find(keys)

    def refused(self, keys: NDArray[np.uint8]) -> dict[bytes, str]:
        """Why samples among some keys were refused and are not there."""
        shards, refused, reasons = self._look()
        told = refused.find(keys)
        bad = np.flatnonzero(told.present)
        bad = bad[~shards.find(keys[bad]).present]
        return {keys[at].tobytes(): reasons[told.row[at]] for at in bad}

    def put(self, shard: Shard) -> int:
        """Keep a shard, in the place of one of the same name; how many bytes it takes."""
        if not _NAME.fullmatch(shard.name):
            raise DataError("cannot keep the shard", repr(shard.name), why="it is no file name")
        data = pack(shard)
        found = read_keys(lambda start, stop: data[start:stop], len(data), shard.name)
        self._objects.write(_file(shard.name), data)
        self.learn(describe(shard.name, len(data), found))
        return len(data)

    def remove(self, name: str) -> None:
        """Take a shard away; who reads it has an error."""
        self._objects.remove(_file(name))
        self._forget([name])

    def learn(self, known: Known) -> None:
        """Take for known what is in a shard."""
        with self._lock:
            number = self._numbers.setdefault(known.name, len(self._shards))
            if number == len(self._shards):
                self._shards.append(known)
            self._shards[number] = known
            self._damaged.pop(known.name, None)
            self._lookups = None
        self._open.drop(known.name)

    def _forget(self, names: Iterable[str]) -> None:
        with self._lock:
            for name in names:
                self._damaged.pop(name, None)
                if name in self._numbers:
                    self._shards[self._numbers.pop(name)] = None
                self._open.drop(name)
            self._lookups = None

    def refresh(self) -> None:
        """Look at what is there now, and bring the index up to date where it is not.

        Only shards that neither this object nor the index knows are read, and of those the heads.
        """
        before = set(self._numbers) | set(self._damaged)
        held = {each.name: each for each in self._objects.names()}
        index = held.get(INDEX)
        there = {name: each.size_bytes for each in held.values() if (name := _name(each))}
        lacking = self._find_unknown(there)
        if index and (lacking or self._indexed is None):
            self._learn_index(index, there)
            lacking = self._find_unknown(there)
        self._forget(before - there.keys() | (lacking & before))
        self._read_heads({name: there[name] for name in lacking})
        self._is_loaded = True
        self.write_index()

    def _load(self) -> None:
        with self._lock:
            if not self._is_loaded:
                self.refresh()

    def _find_unknown(self, there: Mapping[str, int]) -> set[str]:
        with self._lock:
            known = {name: self._shards[number] for name, number in self._numbers.items()}
        sizes = {name: each.size_bytes for name, each in known.items() if each}
        return {name for name, size_bytes in there.items() if sizes.get(name) != size_bytes}

    def _learn_index(self, index: Held, there: Mapping[str, int]) -> None:
        """Learn of the index what is of shards that are there."""
        most_rows = sum(there.values()) // KEY_BYTES  # which a key takes in a shard
        try:
            told = unpack_index(self._objects.read(INDEX, 0, index.size_bytes), most_rows)
        except (SourceError, StaleError):  # another process has replaced it
            told = []
        self._indexed = {(each.name, each.size_bytes) for each in told}
        wanted = self._find_unknown(there)
        for each in told:
            if each.name in wanted and there[each.name] == each.size_bytes:
                self.learn(each)

    def _read_heads(self, sizes: Mapping[str, int]) -> None:
        """Learn shards by their heads; those that are no such are known to be damaged."""
        if not sizes:
            return
        with ThreadPoolExecutor(_THREADS) as threads:
            for name, found in zip(
                sizes, threads.map(self._try_head, sizes, sizes.values()), strict=True
            ):
                if isinstance(found, Known):
                    self.learn(found)
                elif found is not None:
                    self._damaged[name] = found

    def _try_head(self, name: str, size_bytes: int) -> Known | str | None:
        read_part = partial(self._objects.read, _file(name))
        return examine(lambda: describe(name, size_bytes, read_keys(read_part, size_bytes, name)))

    def write_index(self, *, anew: bool = False) -> None:
        """Write the index if it is not of the shards that are known; a store may be read-only."""
        shards = self.shards.values()
        known = {(each.name, each.size_bytes) for each in shards}
        if known == (self._indexed or set()) and not anew:
            return
        try:
            self._objects.write(INDEX, pack_index(shards))
            self._indexed = known
        except (DataError, SourceError, ConfigError) as error:
            _log.info("the index is not kept: %s", error)

    def read(
        self, shard: int, rows: Sequence[int], expect: NDArray[np.uint8] | None = None
    ) -> dict[str, Tensor]:
        """Samples of a shard by tensor, each (n, ...) on the CPU, in the order of `rows`.

        `expect` are the keys (n, 32) that they should have. Raises FormatError for a sample that is
        not what was written, or not what was expected.
        """
        name = self._find(shard).name
        self._touch(name)
        try:
            return self._try_read(name, rows, expect)
        except (FormatError, StaleError):  # what was kept of it may be of another file than this
            self._drop(name)
            return self._try_read(name, rows, expect)

    def _try_read(
        self, name: str, rows: Sequence[int], expect: NDArray[np.uint8] | None
    ) -> dict[str, Tensor]:
        read_part, size_bytes = self._reach(name)
        found = self._open.get(name)
        if found is None:
            found = read_keys(read_part, size_bytes, name)
            self._open.put(name, found)
        at = np.asarray(rows, np.int64)
        if at.size and not 0 <= at.min() <= at.max() < found.head.rows:
            raise _refuse_rows(name, f"it has {found.head.rows} rows")
        if expect is not None and not np.array_equal(found.keys[at], expect):
            raise _refuse_rows(name, "its rows are not of the keys that the index says")
        tensors = read_rows(read_part, found.head, rows, name)
        if self._check:
            check_rows(found, rows, tensors, name)
        return tensors

    def _reach(self, name: str) -> tuple[ReadPart, int]:
        """How a shard is read, and its size: of the cache, where there is one, once it is there."""
        size_bytes = self._find(self._numbers[name]).size_bytes
        if self._cache is None or self._objects.path(name) is not None:
            return partial(self._objects.read, _file(name)), size_bytes
        near, kept = LocalObjects(self._cache), self._kept_name(name)
        path = near.path(kept)
        if not path.is_file() or path.stat().st_size != size_bytes:
            near.write(kept, self._objects.read(_file(name), 0, size_bytes))
        return partial(near.read, kept), size_bytes

    def _kept_name(self, name: str) -> str:
        place = blake2b(self.address.encode(), digest_size=16).hexdigest()
        return f"{place}/{name}{_SUFFIX}"

    def _drop(self, name: str) -> None:
        self._open.drop(name)
        if self._cache is not None:
            LocalObjects(self._cache).remove(self._kept_name(name))

    def _touch(self, name: str) -> None:
        """Note once that a shard is in use, for `upkeep.shrink`."""
        if name not in self._touched:
            self._touched.add(name)
            self._objects.touch(_file(name))

    def _find(self, shard: int) -> Known:
        self._load()
        known = self._shards[shard] if 0 <= shard < len(self._shards) else None
        if known is None:
            raise MissingError(
                "cannot read", f"shard {shard}", why=f"{self.address} has it no more"
            )
        return known

    def _look(self) -> tuple[Lookup, Lookup, list[str]]:
        """What finds keys, what finds refused ones, and why these were."""
        with self._lock:
            if self._lookups is None:
                shards = sorted(self.shards.items(), key=lambda each: each[1].name)
                refused = {key: why for _, each in shards for key, why in each.refused.items()}
                keys = np.frombuffer(b"".join(refused), np.uint8).reshape(-1, KEY_BYTES)
                found = Lookup([(number, each.keys) for number, each in shards])
                self._lookups = found, Lookup([(0, keys)]), list(refused.values())
            return self._lookups

    def read_whole(self, name: str) -> bytes:
        """The file of a shard."""
        return self._objects.read(_file(name))

    def used_s(self) -> dict[str, float]:
        """The second at which each shard was last used or written, as far as the store tells."""
        held = self._objects.names(_FOLDER.rstrip("/"))
        return {name: each.time_s for each in held if (name := _name(each))}


def examine(read: Callable[[], Known]) -> Known | str | None:
    """What reading a shard gives; why it is damaged; None if it is gone."""
    try:
        return read()
    except OutageError:
        raise
    except (AccessError, DataError) as error:
        return error.why
    except SourceError:
        return None


def _file(name: str) -> str:
    return f"{_FOLDER}{name}{_SUFFIX}"


def _name(held: Held) -> str | None:
    """The shard that an object is, if it is one."""
    name = held.name.removeprefix(_FOLDER).removesuffix(_SUFFIX)
    return name if _NAME.fullmatch(name) and _file(name) == held.name else None


def _refuse_rows(name: str, why: str) -> FormatError:
    return FormatError("cannot use the shard", name, why=why, fix=f"remove {INDEX}, and run again")
