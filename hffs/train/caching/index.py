"""The index of a store: which shard and row each key is in, as one Parquet file.

Owns what is in the file. Must not know where it is kept. It has a row a key: `key`, `shard` (the
number of the shard in the order of names), `row`, and for a sample that was refused `why`, with -1
as its row; the metadata names the shards, their sizes, shapes and encoders. Invariants: of the same
shards it is the same bytes; it says nothing that the shards do not say, so that one that is lost,
late or broken costs only the reading of their heads.
"""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hffs.train.caching.keys import KEY_BYTES, identify_encoder
from hffs.train.caching.shards import MOST_WHY, Keys

_VERSION = 1
_ABOUT = b"hffs.store"
_KEY = pa.binary(KEY_BYTES)
_SCHEMA = pa.schema(
    [("key", _KEY), ("shard", pa.int32()), ("row", pa.int32()), ("why", pa.string())]
)
_GROUP_ROWS = 1 << 20
_BROKEN = (
    pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError,
    OverflowError,
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """A shard as far as finding its samples takes.

    `name` is without suffix; `keys` are (n, 32) uint8; `tensors` says of each what its numbers are
    called and the shape that a sample has; `refused` is by key.
    """

    name: str
    size_bytes: int
    encoder: Mapping[str, Any]
    encoder_id: str
    tensors: Mapping[str, tuple[str, tuple[int, ...]]]
    keys: NDArray[np.uint8]
    refused: Mapping[bytes, str]


def describe(name: str, size_bytes: int, found: Keys) -> Known:
    """What an index keeps of a shard."""
    head = found.head
    tensors = {key: (at.dtype, at.shape[1:]) for key, at in sorted(head.tensors.items())}
    refused = {bytes.fromhex(key): why for key, why in sorted(head.refused.items())}
    encoder_id = identify_encoder(head.encoder)
    return Known(name, size_bytes, head.encoder, encoder_id, tensors, found.keys, refused)


def pack_index(shards: Collection[Known]) -> bytes:
    """The index of some shards as a file."""
    ordered = sorted(shards, key=lambda each: each.name)
    tables = [_make_table(number, each) for number, each in enumerate(ordered)]
    encoders = {each.encoder_id: each.encoder for each in ordered}
    told = [
        [each.name, each.size_bytes, each.encoder_id, len(each.keys), len(each.refused),
         {key: [dtype, list(shape)] for key, (dtype, shape) in each.tensors.items()}]
        for each in ordered
    ]  # fmt: skip
    about = {"version": _VERSION, "encoders": encoders, "shards": told}
    schema = _SCHEMA.with_metadata({_ABOUT: json.dumps(about, sort_keys=True)})
    table = pa.concat_tables([schema.empty_table(), *tables]).replace_schema_metadata(
        schema.metadata
    )
    sink = io.BytesIO()
    # Keys are digests: nothing makes them smaller.
    pq.write_table(
        table.combine_chunks(), sink, row_group_size=_GROUP_ROWS, compression="none",
        use_dictionary=["shard", "row", "why"], write_statistics=False,
    )  # fmt: skip
    return sink.getvalue()


def _make_table(number: int, shard: Known) -> pa.Table:
    rows, bad = len(shard.keys), len(shard.refused)
    data = shard.keys.tobytes() + b"".join(shard.refused)
    key = pa.FixedSizeBinaryArray.from_buffers(_KEY, rows + bad, [None, pa.py_buffer(data)])
    at = np.concatenate((np.arange(rows, dtype=np.int32), np.full(bad, -1, np.int32)))
    why = pa.array([None] * rows + list(shard.refused.values()), pa.string())
    return pa.table([key, np.full(rows + bad, number, np.int32), at, why], schema=_SCHEMA)


def unpack_index(data: bytes, most_rows: int) -> list[Known]:
    """The shards that an index tells of; none where it is broken, or of more rows than can be."""
    try:
        file = pq.ParquetFile(pa.BufferReader(data), read_dictionary=["why"])
        if file.metadata.num_rows > most_rows or _is_swollen(file.metadata):
            return []
        about = json.loads(file.schema_arrow.metadata[_ABOUT])
        if about["version"] != _VERSION:
            return []
        table = file.read(["key", "why"])
        words = [each for chunk in table["why"].chunks for each in chunk.dictionary.to_pylist()]
        if table["key"].type != _KEY or any(len(each) > MOST_WHY for each in words):
            return []
        return _split(table, about["shards"], about["encoders"])
    except _BROKEN:
        return []


def _is_swollen(about: pq.FileMetaData) -> bool:
    """Whether a few bytes may become many: an index is written without compression."""
    groups = map(about.row_group, range(about.num_row_groups))
    columns = (group.column(at) for group in groups for at in range(group.num_columns))
    return any(column.compression != "UNCOMPRESSED" for column in columns)


def _split(
    table: pa.Table, told: Sequence[Sequence[Any]], encoders: Mapping[str, Mapping[str, Any]]
) -> list[Known]:
    ids = {key: identify_encoder(facts) for key, facts in encoders.items()}
    column = table["key"].combine_chunks()
    buffer, first = column.buffers()[1], column.offset * KEY_BYTES
    flat = np.frombuffer(buffer or b"", np.uint8)[first : first + len(column) * KEY_BYTES]
    keys, why = flat.reshape(-1, KEY_BYTES), table["why"]
    found, start = [], 0
    for name, size_bytes, encoder, rows, bad, tensors in told:
        if rows < 0 or bad < 0 or start + rows + bad > len(keys):
            return []
        middle, stop = start + rows, start + rows + bad
        reasons = map(str, why[middle:stop].to_pylist()) if bad else ()
        found.append(
            Known(
                str(name),
                int(size_bytes),
                encoders[encoder],
                ids[encoder],
                {key: (str(dtype), tuple(shape)) for key, (dtype, shape) in tensors.items()},
                keys[start:middle],
                dict(zip(map(bytes, keys[middle:stop]), reasons, strict=True)),
            )
        )
        start = stop
    return found if start == len(keys) else []
