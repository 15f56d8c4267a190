"""What of a plan is in a store, and where: its captions, and the rows of keys.

Owns how many of them are looked up at once, in arrays. Must not know what tensors are used for.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from torch import Tensor

from hffs.data.watcher import Watcher
from hffs.errors import ConfigError, DataError
from hffs.train.files import FolderFiles
from hffs.train.loading import read_caption
from hffs.train.plan import Plan

if TYPE_CHECKING:
    from hffs.train.caching.store import Store

_READERS = 16
"""Threads that read captions: they wait, for a mount or a network."""

_AT_ONCE = 4096


Where: TypeAlias = "Store | str | Path"
"""A store, or the path or fsspec address of one."""


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Keys (n, 32), and the shard (-1: none) and row of each in a store, (n,)."""

    keys: NDArray[np.uint8]
    shard: NDArray[np.int32]
    row: NDArray[np.int32]

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which are there, (n,)."""
        return self.shard >= 0

    def take(self, which: NDArray[Any]) -> Located:
        """Some of them, by numbers or by a mask."""
        return Located(self.keys[which], self.shard[which], self.row[which])


def locate(store: Store, keys: NDArray[np.uint8]) -> Located:
    """Where keys are in a store."""
    found = store.find(keys)
    return Located(keys, found.shard, found.row)


def look_up(store: Store, keys: NDArray[np.uint8]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which keys are there, and which others were refused for good, (n,) each."""
    there = store.find(keys).present
    absent = np.flatnonzero(~there)
    refused = np.zeros(len(keys), np.bool_)
    if known := store.refused(keys[absent]):
        refused[absent] = [keys[number].tobytes() in known for number in absent]
    return there, refused


def choose_encoder(store: Store, named: str | None) -> str:
    """The id of the encoder whose tensors are meant: that which is named (its beginning will do),
    or the only one. Raises ConfigError where that is none, or one of several.
    """
    known = sorted(store.encoders())
    fits = [one for one in known if one.startswith(named or "")]
    if len(fits) == 1:
        return fits[0]
    why = f"there are {', '.join(one[:12] for one in known)}" if known else "nothing is in it"
    fix = "name one of them" if known else "hffs cache fills it"
    raise ConfigError("cannot choose an encoder of", store.address, why=why, fix=fix)


def identify(plan: Plan) -> NDArray[np.uint8]:
    """The identity of each image of a plan's scan, (n, 32)."""
    from hffs.train.caching.identities import identify_images  # late: it loads sources

    return identify_images(plan, lambda done, total: None).digests


@dataclass(frozen=True, slots=True, eq=False)
class Captions:
    """The captions of a plan's images: each text once, and which is whose.

    `of_image`: (n,) int32, which of the texts an image of the scan has; -1 for one without a
    sample, or whose caption cannot be read.
    """

    texts: pa.LargeStringArray
    of_image: NDArray[np.int32]


def read_captions(plan: Plan, watcher: Watcher | None = None) -> Captions:
    """The sidecars of all images that have a sample; `watcher` hears of those that cannot be read,
    as a count and one of them.
    """
    files, names = FolderFiles(plan.scan.folder), plan.scan.names
    problems = dict[str, str]()

    def read(name: str) -> str | None:
        try:
            return read_caption(files, name, plan.caption_extension)
        except DataError as error:
            problems[name] = error.why
            return None

    image = np.unique(plan.assignment.image)
    parts = []
    with ThreadPoolExecutor(_READERS) as pool:
        for begin in range(0, len(image), _AT_ONCE):
            some = names.take(pa.array(image[begin : begin + _AT_ONCE])).to_pylist()
            parts.append(pa.array(pool.map(read, some), pa.large_string()))
    encoded = pa.chunked_array(parts, pa.large_string()).combine_chunks().dictionary_encode()
    of_image = np.full(len(names), -1, np.int32)
    of_image[image] = encoded.indices.fill_null(-1).to_numpy()
    if watcher is not None and problems:
        name, why = next(iter(problems.items()))
        watcher.notice(f"{len(problems)} captions cannot be read; one: {name}: {why}")
    return Captions(encoded.dictionary, of_image)


def open_store(where: Where) -> Store:
    """The store at a path or an fsspec address, or the one that is given."""
    if not isinstance(where, str | Path):
        return where
    from hffs.train.caching.store import Store  # late: it loads file systems

    return Store.open(where)


def read_key(store: Store, key: NDArray[np.uint8]) -> dict[str, Tensor]:
    """The tensors of one key (32,) by name; DataError where it is gone.

    It is looked up anew: in another process the store may number its shards otherwise.
    """
    keys = key[None]
    found = store.find(keys)
    if found.shard[0] < 0:
        why, fix = "it is there no more", "hffs cache makes it again"
        raise DataError("cannot read", f"a sample of {store.address}", why=why, fix=fix)
    tensors = store.read(int(found.shard[0]), [int(found.row[0])], keys)
    return {name: tensor[0] for name, tensor in tensors.items()}
