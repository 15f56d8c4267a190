"""Finding keys, beside a dict."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.train.caching.lookup import Lookup

KEYS = st.binary(min_size=1, max_size=2).map(lambda each: (bytes(7) + each).ljust(32, b"\0"))
"""Often the same, and often the same in the part that is sorted by."""


def _array(keys: list[bytes]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), 32)


@given(st.lists(st.lists(KEYS, max_size=12), max_size=5), st.lists(KEYS, max_size=20))
def test_it_finds_what_a_dict_does(shards: list[list[bytes]], asked: list[bytes]) -> None:
    numbers = list(range(3, 3 + len(shards)))[::-1]
    places: dict[bytes, tuple[int, int]] = {}
    for number, keys in zip(numbers, shards, strict=True):
        for row, key in enumerate(keys):
            places.setdefault(key, (number, row))
    asked = asked + [key for keys in shards for key in keys]
    lookup = Lookup([(number, _array(keys)) for number, keys in zip(numbers, shards, strict=True)])
    found = lookup.find(_array(asked))
    expected = [places.get(key, (-1, -1)) for key in asked]
    assert list(zip(found.shard.tolist(), found.row.tolist(), strict=True)) == expected
    assert found.present.tolist() == [key in places for key in asked]
