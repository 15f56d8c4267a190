from __future__ import annotations

import bz2
import gzip
import lzma
from collections.abc import Callable

import pyarrow as pa
import pytest

from hffs.core.formats import list_extensions
from hffs.data.prepare.fields import (
    AUDIO_EXTENSIONS,
    IMAGE_EXTENSIONS,
    MAX_VALUE_BYTES,
    VIDEO_EXTENSIONS,
    FieldKind,
    decode_value,
    find_kind,
)


def decode(field: str, data: bytes) -> object:
    kind = find_kind(field)
    assert kind is not None
    return decode_value(field, kind, memoryview(data))


def refusal(field: str, data: bytes) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the words are what is asked for
        decode(field, data)
    return str(caught.value)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
    "lz4": lambda data: pa.compress(data, codec="lz4", asbytes=True),
}


def test_extensions_are_those_of_datasets() -> None:
    from datasets.packaged_modules.webdataset import webdataset as theirs

    not_images = {"mpg", "mpeg", "h5", "hdf"}
    assert set(theirs.IMAGE_EXTENSIONS) - not_images <= IMAGE_EXTENSIONS
    assert not IMAGE_EXTENSIONS & not_images
    assert set(theirs.AUDIO_EXTENSIONS) <= AUDIO_EXTENSIONS
    assert set(theirs.VIDEO_EXTENSIONS) <= VIDEO_EXTENSIONS
    assert list_extensions("image") <= IMAGE_EXTENSIONS
    assert list_extensions("video") <= VIDEO_EXTENSIONS
    assert list_extensions("audio") <= AUDIO_EXTENSIONS
    assert not VIDEO_EXTENSIONS & AUDIO_EXTENSIONS
    decoded = {ext for ext in theirs.DECODERS if find_kind(ext) is not None}
    assert set(theirs.DECODERS) - decoded == {
        "ten", "tb", "mp", "msg", "npy", "npz", "cbor", "pth",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("field", "kind"),
    [
        ("jpg", FieldKind.IMAGE),
        ("JPG", FieldKind.IMAGE),
        ("seg.png", FieldKind.IMAGE),
        ("mpg", FieldKind.VIDEO),
        ("json.gz", FieldKind.JSON),
        ("jpg.gz", None),
        ("pickle", None),
        ("pyd", None),
        ("npy", None),
        ("pth", None),
        ("", None),
        ("gz", None),
    ],
)
def test_the_kind_of_a_field(field: str, kind: FieldKind | None) -> None:
    assert find_kind(field) is kind


def test_values() -> None:
    assert decode("txt", "ä\n".encode()) == "ä\n"
    assert decode("cls", b" 12\n") == 12
    assert decode("json", b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("packing", PACKED)
def test_packed_values(packing: str) -> None:
    pack = PACKED[packing]
    assert decode(f"txt.{packing}", pack(b"text" * 1000)) == "text" * 1000
    assert "broken" in refusal(f"txt.{packing}", pack(b"text" * 1000)[:-9])
    assert "broken" in refusal(f"txt.{packing}", b"junk" * 10)
    assert "larger than 1 MB" in refusal(f"txt.{packing}", pack(bytes(MAX_VALUE_BYTES + 1)))


@pytest.mark.parametrize(
    ("field", "data", "why"),
    [
        ("txt", b"\xff", "not UTF-8"),
        ("json", b"\xff", "not UTF-8"),
        ("json", b"{", "not JSON"),
        ("json", b"[" * 100_000, "not JSON"),
        ("json", b"1" * 5000, "not JSON"),
        ("cls", b"cat", "not a whole number"),
        ("cls", b"9" * 30, "number beyond 64 bits"),
        ("txt", b"a" * (MAX_VALUE_BYTES + 1), "larger than 1 MB"),
    ],
)
def test_a_value_that_is_none_says_why(field: str, data: bytes, why: str) -> None:
    assert refusal(field, data) == why
