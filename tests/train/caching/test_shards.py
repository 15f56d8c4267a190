"""Shards as files: what is packed comes back, and nothing else is believed."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from hffs.errors import FormatError
from hffs.train.caching.shards import MOST_WHY, Shard, pack, read_keys, read_rows, unpack
from tests.train.caching.shards import make_key, make_keys, make_shard

DTYPES = [
    torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.uint8, torch.int8,
    torch.int16, torch.int32, torch.int64, torch.bool, torch.float8_e4m3fn, torch.float8_e5m2,
]  # fmt: skip

NAMES = st.text("abz._-/é", min_size=1, max_size=8)
SHAPES = st.lists(st.integers(1, 4), max_size=3).map(tuple)


@st.composite
def shards(draw: st.DrawFn) -> Shard:
    rows = draw(st.integers(0, 5))
    tensors = {}
    for name in draw(st.lists(NAMES, max_size=4, unique=True)):
        dtype, shape = draw(st.sampled_from(DTYPES)), draw(SHAPES)
        raw = torch.arange(rows * int(np.prod(shape)) * dtype.itemsize, dtype=torch.int64) % 2
        tensors[name] = raw.to(torch.uint8).view(dtype).reshape(rows, *shape)
    refused = {make_key(100 + row).hex(): draw(st.text(max_size=5)) for row in range(rows % 3)}
    return Shard("a", make_keys(0, rows), tensors, refused, {"name": "one", "sizes": [1, 2.5]})


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return (one.dtype, one.shape) == (other.dtype, other.shape) and _raw(one) == _raw(other)


def _raw(tensor: torch.Tensor) -> bytes:
    return bytes(tensor.flatten().view(torch.uint8).numpy()) if tensor.numel() else b""


def _part(data: bytes) -> Callable[[int, int], bytes]:
    return lambda start, stop: data[start:stop]


@settings(max_examples=40)
@given(shards(), st.randoms())
def test_what_is_packed_comes_back_and_is_the_same_bytes(shard: Shard, random: Any) -> None:
    data = pack(shard)
    found = unpack(data, "a")
    assert np.array_equal(found.keys, shard.keys)
    assert (found.refused, found.encoder) == (shard.refused, shard.encoder)
    assert found.tensors.keys() == shard.tensors.keys()
    for name, tensor in shard.tensors.items():
        assert _same(found.tensors[name], tensor)
    names = list(shard.tensors)
    random.shuffle(names)
    anew = Shard("b", shard.keys, {name: shard.tensors[name] for name in names},
                 dict(sorted(shard.refused.items(), reverse=True)), shard.encoder)  # fmt: skip
    assert pack(anew) == data


@settings(max_examples=30)
@given(shards(), st.data())
def test_any_rows_come_in_their_order(shard: Shard, data: st.DataObject) -> None:
    file = pack(shard)
    rows = data.draw(st.lists(st.integers(0, len(shard.keys) - 1))) if len(shard.keys) else []
    head = read_keys(_part(file), len(file), "a").head
    for name, tensor in read_rows(_part(file), head, rows, "a").items():
        assert _same(tensor, shard.tensors[name][rows])


def test_any_program_reads_it_by_safetensors() -> None:
    tensors = load(pack(make_shard("a", 0, 3)))
    assert set(tensors) == {"latents", "keys", "checksums"}
    assert tensors["latents"].dtype == torch.bfloat16
    assert tensors["keys"].numpy().tobytes() == make_keys(0, 3).tobytes()


def test_keys_are_read_without_the_tensors() -> None:
    tensors = {"latents": torch.zeros(4, 1 << 20)}
    data = pack(Shard("a", make_keys(0, 4), tensors, {}, {}))
    parts: list[int] = []

    def read_part(start: int, stop: int) -> bytes:
        parts.append(stop - start)
        return data[start:stop]

    assert np.array_equal(read_keys(read_part, len(data), "a").keys, make_keys(0, 4))
    assert len(parts) == 2
    assert sum(parts) < 20_000


@settings(max_examples=60)
@given(st.data())
def test_a_byte_that_changed_is_told(data: st.DataObject) -> None:
    """In the header it may change a word that means nothing, but never a sample."""
    shard = make_shard("a", 0, 3)
    file = bytearray(pack(shard))
    at = data.draw(st.integers(0, len(file) - 1))
    file[at] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(file), "a")
    except FormatError:
        return
    assert at < 8 + int.from_bytes(pack(shard)[:8], "little")
    for tensor in found.tensors.values():
        assert _same(tensor, shard.tensors["latents"])
    assert np.array_equal(found.keys, shard.keys)


@settings(max_examples=40)
@given(st.integers(0, 1000))
def test_a_file_that_ends_early_is_told(length: int) -> None:
    data = pack(make_shard("a", 0, 8))
    with pytest.raises(FormatError, match="shard a"):
        unpack(data[: min(length, len(data) - 1)], "a")


def test_a_range_that_comes_short_is_told() -> None:
    data = pack(make_shard("a", 0, 8))
    head = read_keys(_part(data), len(data), "a").head
    with pytest.raises(FormatError, match="ends early"):
        read_rows(lambda start, stop: data[start : stop - 1], head, [0], "a")


def _forge(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """A file whose header is another than was written."""
    data = pack(make_shard("a", 0, 2))
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header = change(header) or header
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(raw).to_bytes(8, "little") + raw + data[end:]


def _about(**changed: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        about = {**json.loads(header["__metadata__"]["hffs"]), **changed}
        header["__metadata__"]["hffs"] = json.dumps(about)

    return change


def _latents(**changed: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header["latents"].update(changed)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: b"[" * 100_000,
        lambda header: b"{}",
        lambda header: b"[]",
        lambda header: b"\xff",
        lambda header: header.pop("keys") and None,
        lambda header: header.pop("checksums") and None,
        lambda header: header.pop("__metadata__") and None,
        lambda header: header.update(keys={**header["keys"], "shape": [2, 31]}),
        lambda header: header.update(keys={**header["keys"], "dtype": "I8"}),
        lambda header: header.update({str(at): header["latents"] for at in range(300)}),
        _latents(dtype="C64"),
        _latents(dtype=["BF16"]),
        _latents(shape=[]),
        _latents(shape=[2, -2, -3]),
        _latents(shape=[3, 2, 2]),
        _latents(shape=[2, 6.0]),
        _latents(shape=[2, 1 << 70]),
        _latents(shape=[2, 0, 1 << 70], data_offsets=[0, 0]),
        _latents(shape=[2, *[1] * 20, 6]),
        _latents(data_offsets=[0, 1 << 60]),
        _latents(data_offsets=[12, 36]),
        _latents(data_offsets="ab"),
        _latents(data_offsets=[0]),
        _about(version=2),
        _about(version=[1]),
        _about(encoder=3),
        _about(encoder=[[1, 2], ["a", 3]]),
        _latents(shape=[2, *[10**999] * 600]),
        _about(refused={"zz": ""}),
        _about(refused={"00": ""}),
        _about(refused=[]),
    ],
)
def test_a_header_that_lies_is_refused(change: Callable[[dict[str, Any]], Any]) -> None:
    data = _forge(change)
    with pytest.raises(FormatError, match="cannot use the shard a"):
        read_keys(_part(data), len(data), "a")


@pytest.mark.parametrize("length", [1 << 25, 1 << 62])
def test_a_header_that_is_said_to_be_huge_is_not_read(length: int) -> None:
    asked: list[int] = []

    def read_part(start: int, stop: int) -> bytes:
        asked.append(stop - start)
        return (length.to_bytes(8, "little") + bytes(stop - start))[start : stop - start]

    with pytest.raises(FormatError, match="too long"):
        read_keys(read_part, 1 << 63, "a")
    assert sum(asked) < 1 << 20


def test_a_long_header_is_read_in_whole() -> None:
    refused = {make_key(number).hex(): "w" * 900 for number in range(100)}
    data = pack(make_shard("a", 0, 2, refused))
    found = read_keys(_part(data), len(data), "a")
    assert found.head.refused == {key: "w" * MOST_WHY for key in refused}
    assert np.array_equal(found.keys, make_keys(0, 2))


def test_keys_and_checksums_may_be_apart() -> None:
    """As a writer of safetensors that is not ours may have them."""
    data = pack(make_shard("a", 0, 3))
    tensors = load(data)
    end = 8 + int.from_bytes(data[:8], "little")
    tensors["checksums_"] = torch.zeros(3, 1, dtype=torch.uint8)
    other = save(tensors, json.loads(data[8:end])["__metadata__"])
    assert np.array_equal(read_keys(_part(other), len(other), "a").keys, make_keys(0, 3))


def test_a_shard_that_no_reader_would_take_is_not_packed() -> None:
    for tensors in (
        {"keys": torch.zeros(2, 1)},
        {"latents": torch.zeros(2, 1, dtype=torch.complex64)},
        {"latents": torch.zeros(1, 1)},
    ):
        with pytest.raises(FormatError):
            pack(Shard("a", make_keys(0, 2), tensors, {}, {}))
