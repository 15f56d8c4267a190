"""A shard: samples of one shape as one safetensors file.

Owns what is in the file. Must not know where files are kept. A file holds the tensors under their
names, each (n, ...), `keys` (n, 32) uint8, and `checksums` (n, 16) uint8, each of a key and of what
is kept under it; its one metadata value says as JSON by what encoder, and which samples were
refused. Invariants: the same samples are the same bytes; a file may be anybody's, so that nothing
in it is believed before it is checked against the size of the file, and no more memory is taken.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hffs.errors import FormatError
from hffs.train.caching.keys import KEY_BYTES

CHECKSUM_BYTES = 16
MOST_WHY = 500
"""How many characters are kept of why a sample was refused."""

ReadPart = Callable[[int, int], bytes]
"""Reads a file from one offset to another; as much as there is."""

_VERSION = 1
_KEYS, _CHECKSUMS, _ABOUT = "keys", "checksums", "hffs"
_LENGTH_BYTES = 8
_FIRST_BYTES = 1 << 14
_MOST_HEADER_BYTES = 1 << 24
_MOST_TENSORS = 256
_MOST_DIMENSIONS, _MOST_EXTENT = 8, 1 << 48

_DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16,
    "I32": torch.int32, "I64": torch.int64, "F16": torch.float16, "BF16": torch.bfloat16,
    "F32": torch.float32, "F64": torch.float64, "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
}  # fmt: skip
"""What numbers are called by safetensors."""


@dataclass(frozen=True, slots=True, eq=False)
class Shard:
    """Encoded samples that belong into one file.

    `name` is that of the file without its suffix; `keys` are (n, 32) uint8, `tensors` by name
    (n, ...) on the CPU. `refused` says by key (hex) why a sample that was planned for it could not
    be read, which would be so again. `encoder` is what the encoder says of itself.
    """

    name: str
    keys: NDArray[np.uint8]
    tensors: Mapping[str, Tensor]
    refused: Mapping[str, str]
    encoder: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a tensor is in a file, in bytes; its shape is (n, ...)."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Head:
    """What a file says of itself; `tensors` are without the keys and checksums."""

    encoder: Mapping[str, Any]
    refused: Mapping[str, str]
    tensors: Mapping[str, Placed]
    keys: Placed
    checksums: Placed

    @property
    def rows(self) -> int:
        """How many samples there are."""
        return self.keys.shape[0]


@dataclass(frozen=True, slots=True, eq=False)
class Keys:
    """The head of a file, its keys (n, 32) and its checksums (n, 16), both uint8."""

    head: Head
    keys: NDArray[np.uint8]
    checksums: NDArray[np.uint8]


def pack(shard: Shard) -> bytes:
    """A shard as a file. Raises FormatError for one that no reader would take."""
    from safetensors.torch import save

    tensors = {name: each.detach().contiguous() for name, each in shard.tensors.items()}
    if {_KEYS, _CHECKSUMS} & tensors.keys():
        raise _refuse(shard.name, f"a tensor cannot be named {_KEYS} or {_CHECKSUMS}")
    if any(each.shape[:1] != (len(shard.keys),) for each in tensors.values()):
        raise _refuse(shard.name, "a tensor has not a row a sample")
    own = {_KEYS: shard.keys, _CHECKSUMS: checksum(shard.keys, tensors)}
    about = {"version": _VERSION, "encoder": shard.encoder, "refused": _cut(shard.refused)}
    file = {**tensors, **{name: torch.from_numpy(each.copy()) for name, each in own.items()}}
    data: bytes = save(file, {_ABOUT: json.dumps(about, sort_keys=True)})
    parse_head(data, len(data), shard.name)
    return data


def _cut(refused: Mapping[str, str]) -> dict[str, str]:
    return {
        key: str(why)[:MOST_WHY].encode("utf-8", "replace").decode() for key, why in refused.items()
    }


def unpack(data: bytes, name: str) -> Shard:
    """The shard of a file, checked in whole. Raises FormatError, as all that reads files here."""
    found, tensors = _read_file(data, name)
    return Shard(name, found.keys, tensors, found.head.refused, found.head.encoder)


def check_file(data: bytes, name: str) -> Keys:
    """What is in a file, all of which is checked."""
    return _read_file(data, name)[0]


def _read_file(data: bytes, name: str) -> tuple[Keys, dict[str, Tensor]]:
    def read_part(start: int, stop: int) -> bytes:
        return data[start:stop]

    found = read_keys(read_part, len(data), name)
    rows = range(found.head.rows)
    tensors = read_rows(read_part, found.head, rows, name)
    check_rows(found, rows, tensors, name)
    return found, tensors


def read_keys(read_part: ReadPart, size_bytes: int, name: str) -> Keys:
    """The head, keys and checksums of a file, without what else is in it."""
    head = read_head(read_part, size_bytes, name)
    first, last = sorted((head.keys, head.checksums), key=lambda at: (at.start, at.stop))
    if first.stop == last.start:  # as `pack` has them
        data = read_part(first.start, last.stop)
        parts = {first: data[: _size(first)], last: data[_size(first) :]}
    else:
        parts = {at: read_part(at.start, at.stop) for at in (first, last)}
    keys, checksums = (_view(parts[at], at, name).numpy() for at in (head.keys, head.checksums))
    return Keys(head, keys, checksums)


def read_head(read_part: ReadPart, size_bytes: int, name: str) -> Head:
    """What a file of a size says of itself."""
    data = read_part(0, min(_FIRST_BYTES, size_bytes))
    length = _LENGTH_BYTES + int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < length <= min(size_bytes, _MOST_HEADER_BYTES):
        data += read_part(len(data), length)
    return parse_head(data, size_bytes, name)


def parse_head(data: bytes, size_bytes: int, name: str) -> Head:
    """What the first bytes of a file of a size say."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    start = _LENGTH_BYTES + length
    if len(data) < _LENGTH_BYTES or start > min(size_bytes, _MOST_HEADER_BYTES, len(data)):
        raise _refuse(name, "its header is not whole, or too long")
    try:
        header = json.loads(data[_LENGTH_BYTES:start])
        about = json.loads(header.pop("__metadata__")[_ABOUT])
        placed = {str(key): _parse_placed(at, start) for key, at in header.items()}
        head = Head(
            _require_object(about["encoder"]),
            {bytes.fromhex(key).hex(): why for key, why in _cut(about["refused"]).items()},
            placed,
            placed.pop(_KEYS),
            placed.pop(_CHECKSUMS),
        )
        version = about["version"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _refuse(name, "its header is not that of a shard") from error
    if version != _VERSION:
        raise _refuse(name, f"it is of version {version!r:.20}, not {_VERSION}")
    _check(head, start, size_bytes, name)
    return head


def _require_object(value: Any) -> dict[str, Any]:
    if type(value) is not dict:  # pairs would be taken by `dict` too, with keys of any kind
        raise TypeError("not an object")
    return value


def _parse_placed(at: Mapping[str, Any], base: int) -> Placed:
    start, stop = at["data_offsets"]
    shape = tuple(at["shape"])
    if len(shape) > _MOST_DIMENSIONS:
        raise ValueError("too many dimensions")
    if not all(type(each) is int and 0 <= each <= _MOST_EXTENT for each in (start, stop, *shape)):
        raise ValueError("sizes are numbers")
    return Placed(str(at["dtype"]), shape, base + start, base + stop)


def _check(head: Head, start: int, size_bytes: int, name: str) -> None:
    """Every tensor has a row a sample, and together they are all of the file."""
    for own, width in ((head.keys, KEY_BYTES), (head.checksums, CHECKSUM_BYTES)):
        if own.dtype != "U8" or own.shape != (head.rows, width):
            raise _refuse(name, "its keys or checksums are not such")
    if any(len(key) != 2 * KEY_BYTES for key in head.refused):
        raise _refuse(name, "a refused key is none")
    if len(head.tensors) > _MOST_TENSORS:
        raise _refuse(name, "it holds too many tensors")
    every = (*head.tensors.values(), head.keys, head.checksums)
    for at in sorted(every, key=lambda at: (at.start, at.stop)):
        extent = math.prod(max(each, 1) for each in at.shape)  # torch counts empty ones too
        is_known = at.dtype in _DTYPES and 1 <= len(at.shape) <= _MOST_DIMENSIONS
        is_known &= extent <= _MOST_EXTENT
        if not is_known or at.shape[0] != head.rows:
            raise _refuse(name, "a tensor has not a row a sample, or is of unknown numbers")
        if at.start != start or at.stop - at.start != _size(at):
            raise _refuse(name, "its tensors are not where its header says")
        start = at.stop
    if start != size_bytes:
        raise _refuse(name, f"it has {size_bytes} bytes and should have {start}")


def _size(at: Placed) -> int:
    return math.prod(at.shape) * _DTYPES[at.dtype].itemsize


def read_rows(read_part: ReadPart, head: Head, rows: Sequence[int], name: str) -> dict[str, Tensor]:
    """Some rows of each tensor, in their order; those that are side by side are read at once."""
    runs = _join(rows)
    found = {}
    for key, at in sorted(head.tensors.items()):
        row_bytes = _size(at) // max(head.rows, 1)
        places = [(at.start + first * row_bytes, at.start + end * row_bytes) for first, end in runs]
        data = b"".join(read_part(*place) for place in places)
        wanted = Placed(at.dtype, (len(rows), *at.shape[1:]), 0, len(rows) * row_bytes)
        found[key] = _view(data, wanted, name)
    return found


def _join(rows: Sequence[int]) -> list[tuple[int, int]]:
    """Rows as ranges, in their order."""
    runs: list[tuple[int, int]] = []
    for row in rows:
        if runs and runs[-1][1] == row:
            runs[-1] = runs[-1][0], row + 1
        else:
            runs.append((row, row + 1))
    return runs


def _view(data: bytes, at: Placed, name: str) -> Tensor:
    if len(data) != at.stop - at.start:
        raise _refuse(name, "it ends early")
    if not data:
        return torch.empty(at.shape, dtype=_DTYPES[at.dtype])
    # A copy that may be written to, as torch wants of memory.
    return torch.frombuffer(bytearray(data), dtype=_DTYPES[at.dtype]).reshape(at.shape)


def checksum(keys: NDArray[np.uint8], tensors: Mapping[str, Tensor]) -> NDArray[np.uint8]:
    """(n, 16) uint8: BLAKE2b of each key and of its row of every tensor, by name."""
    columns = [_as_bytes(tensors[name]) for name in sorted(tensors)]
    sums = np.empty((len(keys), CHECKSUM_BYTES), np.uint8)
    for row, key in enumerate(keys):
        digest = blake2b(key.tobytes(), digest_size=CHECKSUM_BYTES)
        for column in columns:
            digest.update(column[row])
        sums[row] = np.frombuffer(digest.digest(), np.uint8)
    return sums


def _as_bytes(tensor: Tensor) -> NDArray[np.uint8]:
    rows = len(tensor)
    width = tensor[:1].numel() * tensor.element_size() if rows else 0
    flat = tensor.contiguous().reshape(-1)
    if not flat.numel():
        return np.empty((rows, 0), np.uint8)
    return flat.view(torch.uint8).numpy().reshape(rows, width)


def check_rows(found: Keys, rows: Sequence[int], tensors: Mapping[str, Tensor], name: str) -> None:
    """Raise FormatError if one of some rows that were read is not what was written."""
    at = np.asarray(rows, np.int64)
    wrong = (checksum(found.keys[at], tensors) != found.checksums[at]).any(axis=1)
    if wrong.any():
        raise _refuse(name, f"row {at[wrong][0]} is not what was written")


def _refuse(name: str, why: str) -> FormatError:
    fix = "verify the store with remove=True, and run again"
    return FormatError("cannot use the shard", name, why=why, fix=fix)
