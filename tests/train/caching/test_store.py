"""The store: what was put is found and read again, by anyone, whatever else lies there."""

from __future__ import annotations

from pathlib import Path

import torch

from hffs.train.caching.keys import identify_encoder
from hffs.train.caching.store import Store
from tests.train.caching.shards import make_keys, make_shard


def _file(folder: Path, name: str) -> Path:
    return folder / "shards" / f"{name}.safetensors"


def test_what_was_put_is_found_and_read(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "store")
    shards = [make_shard("a", 0, 5), make_shard("b", 5, 3)]
    for shard in shards:
        store.put(shard)
    other = Store.open(tmp_path / "store")
    for each in (store, other):
        found = each.find(make_keys(0, 10))
        assert found.row.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, -1, -1]
        assert found.present.tolist() == [True] * 8 + [False] * 2
        read = each.read(int(found.shard[5]), [2, 0], make_keys(5, 3)[[2, 0]])
        assert torch.equal(read["latents"], shards[1].tensors["latents"][[2, 0]])
        assert each.shape(int(found.shard[0])) == {"latents": (2, 3)}
        assert each.encoders() == {identify_encoder({"name": "one"}): {"name": "one"}}
        assert each.has("a")
        assert not each.has("c")
        assert each.size_bytes == sum(_file(tmp_path / "store", n).stat().st_size for n in "ab")
