from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.types import Position
from hffs.view.manifest import CaptionFiles, Manifest, ViewInfo, make_fingerprint

RENDERING = {"identity": "abc", "target": "jpg"}


def _captions(texts: list[str]) -> CaptionFiles:
    blobs = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, blobs)], dtype=np.int64)
    return CaptionFiles(offsets, np.frombuffer(b"".join(blobs), np.uint8))


def _cells(*numbers: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array(numbers, np.int64)


@given(st.lists(st.text(min_size=1), min_size=1))
def test_captions_are_cut_where_they_were_joined(texts: list[str]) -> None:
    files = _captions(texts)
    read = [bytes(files.read(Position(i))).decode() for i in range(len(texts))]
    assert read == texts
    assert [files.size_bytes(Position(i)) for i in range(len(texts))] == [
        len(text.encode()) for text in texts
    ]
    assert files.total_bytes == sum(len(text.encode()) for text in texts)


def test_the_fingerprint_is_of_the_outcome() -> None:
    base = make_fingerprint(RENDERING, _cells(0, 2), _captions(["a", "b"]))
    turned = dict(reversed(RENDERING.items()))
    assert base == make_fingerprint(turned, _cells(0, 2), _captions(["a", "b"]))
    others = {
        make_fingerprint(RENDERING | {"target": "png"}, _cells(0, 2), _captions(["a", "b"])),
        make_fingerprint(RENDERING, _cells(2, 0), _captions(["a", "b"])),
        make_fingerprint(RENDERING, _cells(0, 2, 3), _captions(["a", "b"])),
        make_fingerprint(RENDERING, _cells(0, 2), _captions(["ab", ""])),
        make_fingerprint(RENDERING, _cells(0, 2), _captions(["a", "c"])),
        make_fingerprint(RENDERING, _cells(0, 2), None),
    }
    assert len(others) == 6
    assert base not in others


@pytest.fixture
def info() -> ViewInfo:
    return ViewInfo(
        source="/data/a.parquet", identity="abc", fingerprint="0" * 64, source_rows=3, positions=2,
        columns=("image", "caption"),
        rendered=0, image_column="image", caption_column="caption", image_format="jpg",
        removed=(), dropped=(),
    )  # fmt: skip


def test_the_time_comes_from_the_fingerprint(info: ViewInfo) -> None:
    first = Manifest(info, _cells(0, 1), None)
    other = Manifest(replace(info, fingerprint="f" * 64), _cells(0, 1), None)
    assert first.mtime_ns == Manifest(info, _cells(5), None).mtime_ns
    assert first.mtime_ns != other.mtime_ns
    for manifest in (first, other):
        assert 946_684_800 <= manifest.mtime_ns // 10**9 < 946_684_800 + 20 * 366 * 86400


def test_the_summary_is_plain_values(info: ViewInfo) -> None:
    summary = Manifest(info, _cells(0, 1), None).summary()
    assert summary["positions"] == 2
    assert summary["source"] == "/data/a.parquet"
