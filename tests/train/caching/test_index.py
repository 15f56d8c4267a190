"""The index as a file: the same of the same shards, and believed only as far as it can be."""

from __future__ import annotations

import json
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hffs.train.caching.index import Known, describe, pack_index, unpack_index
from hffs.train.caching.shards import pack, read_keys
from tests.train.caching.shards import make_key, make_shard


def _known(name: str, first: int, count: int, **options: object) -> Known:
    data = pack(make_shard(name, first, count, **options))  # type: ignore[arg-type]
    return describe(name, len(data), read_keys(lambda a, b: data[a:b], len(data), name))


SHARDS = [
    _known("a", 0, 5),
    _known("b", 5, 0, refused={make_key(9).hex(): "bad", make_key(8).hex(): "worse"}),
    _known("c", 7, 1, encoder="two", refused={make_key(6).hex(): "bad"}),
]


def test_it_comes_back_and_is_the_same_bytes_in_any_order() -> None:
    data = pack_index(SHARDS)
    found = unpack_index(data, 100)
    for one, other in zip(found, SHARDS, strict=True):
        assert (one.name, one.size_bytes, one.encoder) == (
            other.name, other.size_bytes, other.encoder
        )  # fmt: skip
        assert one.encoder_id == other.encoder_id
        assert one.tensors == other.tensors == {"latents": ("BF16", (2, 3))}
        assert one.refused == other.refused
        assert np.array_equal(one.keys, other.keys)
    chance = random.Random(1)  # noqa: S311
    shuffled = chance.sample(found, len(found))
    assert pack_index(shuffled) == data
    assert unpack_index(pack_index([]), 0) == []


def test_any_program_reads_where_a_key_is() -> None:
    table = pq.read_table(pa.BufferReader(pack_index(SHARDS)))
    rows = {row["key"]: (row["shard"], row["row"], row["why"]) for row in table.to_pylist()}
    assert rows[make_key(3)] == (0, 3, None)
    assert rows[make_key(7)] == (2, 0, None)
    assert rows[make_key(9)] == (1, -1, "bad")
    assert len(rows) == 9


def test_more_rows_than_the_shards_can_hold_are_not_read() -> None:
    data = pack_index(SHARDS)
    assert len(unpack_index(data, 9)) == 3
    assert unpack_index(data, 8) == []


def _forge(change: object = None, why: str | None = None, key: pa.DataType | None = None) -> bytes:
    table = pq.read_table(pa.BufferReader(pack_index(SHARDS)))
    metadata = dict(table.schema.metadata)
    if why is not None:
        table = table.set_column(3, "why", pa.array([why] * len(table), pa.string()))
    if key is not None:
        table = table.set_column(0, "key", table["key"].cast(key))
    about = json.loads(metadata[b"hffs.store"])
    if isinstance(change, dict):
        about.update(change)
    raw = json.dumps(about) if change is None or isinstance(change, dict) else str(change)
    sink = pa.BufferOutputStream()
    pq.write_table(table.replace_schema_metadata({"hffs.store": raw}), sink, compression="none")
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        pack_index(SHARDS)[:-30],
        pack_index(SHARDS)[:40] + bytes(40) + pack_index(SHARDS)[-60:],
        _forge("{"),
        _forge("[" * 100_000),
        _forge("[1]"),
        _forge({"version": 2}),
        _forge({"encoders": []}),
        _forge({"encoders": {}}),
        _forge({"shards": 3}),
        _forge({"shards": [["a", 1]]}),
        _forge({"shards": [["a", 1, SHARDS[0].encoder_id, 9, 1, {}]]}),
        _forge({"shards": [["a", 1, SHARDS[0].encoder_id, -1, 1, {}]]}),
        _forge({"shards": [["a", 1, SHARDS[0].encoder_id, 3, 0, {}]]}),
        _forge(why="w" * 501),
        _forge(key=pa.binary()),
    ],
)
def test_one_that_is_broken_tells_nothing(data: bytes) -> None:
    assert len(unpack_index(_forge(), 100)) == 3
    assert unpack_index(data, 100) == []


def test_regression_a_few_bytes_do_not_become_many() -> None:
    table = pq.read_table(pa.BufferReader(pack_index(SHARDS)))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    assert unpack_index(bytes(sink.getvalue()), 100) == []
