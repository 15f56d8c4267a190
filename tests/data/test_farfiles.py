"""Files elsewhere that cells name, and parts of such, by number."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from hffs.data import farfiles
from hffs.data.cells.index import CellIndex, FarFileTable, FarRangeTable, TextTable
from hffs.data.farfiles import FileStore
from hffs.data.remote.files import Range
from hffs.data.shards import Located
from hffs.errors import FormatError
from tests.ranges import LocalReader


def _texts(*texts: bytes) -> tuple[Any, Any]:
    return np.frombuffer(b"".join(texts), np.uint8), np.cumsum([len(text) for text in texts])


class _Next:
    """Wants the one after."""

    def note(self, page: int) -> Sequence[int]:
        return [page + 1] if page < 3 else []


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[FileStore, LocalReader]:
    names = [f"{number}.jpg" for number in range(3)]
    for number, name in enumerate(names):
        (tmp_path / name).write_bytes(bytes([number]) * (number + 5))
    table = FarFileTable(
        *_texts(*(name.encode() for name in names)),
        np.array([5, 6, 7]),
        TextTable(*_texts(b"a", b"b", b"c")),
    )
    ranges = FarRangeTable(
        np.array([0, 1, 2, 2], np.int32), np.array([0, 0, 0, 3]), np.array([5, 6, 7, 2])
    )
    index = cast(CellIndex, SimpleNamespace(far_files=table, far_ranges=ranges))
    reader = LocalReader(base=(f"hf://datasets/owner/set@{'1' * 40}", str(tmp_path)))
    located = Located("owner/set", tmp_path, (), address=f"hf://datasets/owner/set@{'1' * 40}/")
    return FileStore(index, located, reader, _Next()), reader


def test_a_file_is_read_whole_and_the_next_is_fetched_ahead(
    store: tuple[FileStore, LocalReader],
) -> None:
    files, reader = store
    assert bytes(files.read(1)) == b"\1" * 6
    assert [url.rpartition("/")[2] for url, _ in reader.asked] == ["1.jpg"]
    assert [url.rpartition("/")[2] for url, _ in reader.ahead] == ["2.jpg"]


def test_of_a_part_nothing_else_is_fetched(store: tuple[FileStore, LocalReader]) -> None:
    files, reader = store
    assert bytes(files.read(2)) == b"\2" * 7
    assert reader.ahead == [(reader.asked[0][0], Range(3, 5))]
    assert [files.is_here(number) for number in range(4)] == [False, False, True, True]
    assert bytes(files.read(3)) == b"\2" * 2
    assert len(reader.asked) == 1


def test_one_that_is_too_large_is_refused(
    store: tuple[FileStore, LocalReader], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farfiles, "_MOST_BYTES", 5)
    files, reader = store
    assert bytes(files.read(0)) == b"\0" * 5
    assert not reader.ahead
    with pytest.raises(FormatError, match=r"1\.jpg: over 5 bytes"):
        files.read(1)
