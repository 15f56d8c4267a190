from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.data.prepare import unpacking
from hffs.data.prepare.unpacking import open_plain
from hffs.errors import DataError, FormatError


def _pack_lz4(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "lz4") as stream:
        stream.write(data)
    return bytes(sink.getvalue())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "lz4": _pack_lz4,
}
PACKINGS = pytest.mark.parametrize("packing", PACKERS)


def unpacked(path: Path, told: Callable[[int], None] = lambda _: None) -> bytes:
    """What a file holds; nothing is left beside it."""
    before = set(path.parent.iterdir())
    with open_plain(path, "set.tar", path.parent, told) as plain:
        content = plain.read_bytes()
    assert set(path.parent.iterdir()) == before
    return content


def refusal(path: Path, kind: type[FormatError] | type[DataError] = FormatError) -> str:
    before = set(path.parent.iterdir())
    with pytest.raises(kind) as caught, open_plain(path, "set.tar", path.parent, lambda _: None):
        pytest.fail("it was unpacked")
    assert set(path.parent.iterdir()) == before
    return str(caught.value)


def write(folder: Path, data: bytes) -> Path:
    path = folder / "packed"
    path.write_bytes(data)
    return path


def test_a_plain_file_is_its_own(tmp_path: Path) -> None:
    path = write(tmp_path, b"no magic")
    with open_plain(path, "set.tar", tmp_path, lambda _: None) as plain:
        assert plain == path


@PACKINGS
def test_large_files_come_out_whole(packing: str, tmp_path: Path) -> None:
    data = bytes(range(256)) * 20_000
    path, told = write(tmp_path, PACKERS[packing](data)), list[int]()
    assert unpacked(path, told.append) == data
    assert told == sorted(told)
    assert told[-1] == path.stat().st_size


@PACKINGS
@given(parts=st.lists(st.binary(min_size=1, max_size=5000), min_size=1, max_size=3))
@settings(max_examples=30)
def test_streams_one_after_the_other(
    packing: str, parts: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    packed = b"".join(map(PACKERS[packing], parts))
    assert unpacked(write(tmp_path_factory.mktemp("set"), packed)) == b"".join(parts)


@PACKINGS
@given(data=st.data())
@settings(max_examples=60)
def test_what_is_cut_off_is_refused(
    packing: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    packed = PACKERS[packing](bytes(range(256)) * 40)
    cut = packed[: data.draw(st.integers(6, len(packed) - 1))]
    path = write(tmp_path_factory.mktemp("set"), cut)
    assert refusal(path) == f"cannot read set.tar: broken {packing}; fetch it again"


@PACKINGS
def test_a_bomb_is_refused(packing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "FREE_BYTES", 1 << 16)
    path = write(tmp_path, PACKERS[packing](bytes(1 << 23)))
    assert "unpacks to more than 200 times its size" in refusal(path, DataError)
    allowed = write(tmp_path, PACKERS[packing](bytes(1 << 16)))
    assert unpacked(allowed) == bytes(1 << 16)


def test_xz_that_asks_for_much_memory_is_refused(tmp_path: Path) -> None:
    packed = bytearray(lzma.compress(b"x" * 100))
    end = 12 + (packed[12] + 1) * 4  # of the block's header, whose last 4 bytes are its CRC
    packed[packed.index(b"\x21\x01", 12) + 2] = 40  # a dictionary of 4 GB
    packed[end - 4 : end] = zlib.crc32(packed[12 : end - 4]).to_bytes(4, "little")
    assert "broken xz" in refusal(write(tmp_path, bytes(packed)))


def test_a_disk_that_fails_is_not_the_files_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path, gzip.compress(b"x"))

    def fail(packed: object, packing: str) -> object:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(unpacking, "_unpack_stream", fail)
    with pytest.raises(OSError, match="Input"), open_plain(path, "s", tmp_path, lambda _: None):
        pytest.fail("it was unpacked")
