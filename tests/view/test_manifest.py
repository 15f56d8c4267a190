from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.types import Position
from hffs.view.layout import Layout
from hffs.view.manifest import Manifest, TextFiles, ViewInfo, make_fingerprint

FACTS = {"identity": "abc", "target": "jpg"}


def _captions(texts: list[str]) -> TextFiles:
    blobs = [text.encode() for text in texts]
    offsets = np.cumsum([0, *map(len, blobs)], dtype=np.int64)
    return TextFiles(offsets, np.frombuffer(b"".join(blobs), np.uint8))


def _manifest(info: ViewInfo, *cells: int) -> Manifest:
    forms = np.zeros(len(cells), np.uint8)
    return Manifest(
        np.array(cells, np.int64), forms, None, Layout(len(cells)), None, None, None, info
    )


@given(st.lists(st.text(min_size=1), min_size=1))
def test_captions_are_cut_where_they_were_joined(texts: list[str]) -> None:
    files = _captions(texts)
    read = [bytes(files.read(Position(i))).decode() for i in range(len(texts))]
    assert read == texts
    assert [files.size_bytes(Position(i)) for i in range(len(texts))] == [
        len(text.encode()) for text in texts
    ]
    assert files.total_bytes == sum(len(text.encode()) for text in texts)


@given(st.lists(st.text(min_size=1), min_size=1), st.integers(1, 4))
def test_tiles_of_one_image_share_its_caption(texts: list[str], each: int) -> None:
    plain = _captions(texts)
    files = TextFiles(plain.offsets, plain.blob, each)
    read = [bytes(files.read(Position(i))).decode() for i in range(len(texts) * each)]
    assert read == [text for text in texts for _ in range(each)]
    assert files.total_bytes == sum(files.size_bytes(Position(i)) for i in range(len(read)))


def test_the_fingerprint_is_of_the_outcome() -> None:
    def make(facts: Mapping[str, object], cells: Sequence[int], **more: str) -> str:
        arrays = {name: np.frombuffer(text.encode(), np.uint8) for name, text in more.items()}
        return make_fingerprint(facts, arrays | {"cells": np.array(cells, np.int64)})

    base = make(FACTS, [0, 2], captions="ab", offsets="012")
    assert base == make(dict(reversed(FACTS.items())), [0, 2], offsets="012", captions="ab")
    others = {
        make(FACTS | {"target": "png"}, [0, 2], captions="ab", offsets="012"),
        make(FACTS, [2, 0], captions="ab", offsets="012"),
        make(FACTS, [0, 2, 3], captions="ab", offsets="012"),
        make(FACTS, [0, 2], captions="ab", offsets="022"),
        make(FACTS, [0, 2], captions="ac", offsets="012"),
        make(FACTS, [0, 2], captions="ab"),
        make(FACTS, [0, 2], captions="ab", offset="012"),
    }
    assert len(others) == 7
    assert base not in others


@pytest.fixture
def info() -> ViewInfo:
    return ViewInfo(
        source="/data/a.parquet", commit="",
        identity="abc", fingerprint="0" * 64, source_rows=3, positions=2,
        columns=("image", "caption"),
        rendered=0, image_column="image", caption_column="caption", image_format="jpg",
        orientation="as-is", composite="", numbering="position", name_width=0,
        caption_extension="txt", group_column=None, removed=(), dropped=(),
    )  # fmt: skip


def test_the_time_comes_from_the_fingerprint(info: ViewInfo) -> None:
    first = _manifest(info, 0, 1)
    other = _manifest(replace(info, fingerprint="f" * 64), 0, 1)
    assert first.mtime_ns == _manifest(info, 5).mtime_ns
    assert first.mtime_ns != other.mtime_ns
    for manifest in (first, other):
        assert 946_684_800 <= manifest.mtime_ns // 10**9 < 946_684_800 + 20 * 366 * 86400


def test_the_summary_is_plain_values(info: ViewInfo) -> None:
    summary = _manifest(info, 0, 1).summary()
    assert summary["positions"] == 2
    assert summary["source"] == "/data/a.parquet"
