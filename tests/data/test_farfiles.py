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
from hffs.data.remote.files import Range, RangeReader
from hffs.data.shards import Located
from hffs.errors import (
    AccessError,
    FormatError,
    HffsError,
    OutageError,
    SourceError,
    StaleError,
)
from tests.data.far_values import list_bytes, open_fetcher, put_file
from tests.hub import Fail, HubServer
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


class FarFilm:
    """A large file on a Hub on this machine, as the only range of an index."""

    def __init__(self, hub: HubServer, size: int) -> None:
        self.content = np.random.default_rng(3).bytes(size)
        self.file = put_file(hub, "a.mp4", self.content)

    def open(self, reader: RangeReader, etag: str = "") -> FileStore:
        address = self.file.url.removesuffix("a.mp4")
        size = len(self.content)
        etags = TextTable(*_texts((etag or self.file.etag).encode()))
        table = FarFileTable(*_texts(b"a.mp4"), np.array([size]), etags)
        ranges = FarRangeTable(np.zeros(2, np.int32), np.array([0, 512]), np.array([size, 99]))
        index = cast(CellIndex, SimpleNamespace(far_files=table, far_ranges=ranges))
        return FileStore(index, Located("owner/set", Path(), (), address=address), reader)


@pytest.fixture
def film(hub: HubServer) -> FarFilm:
    return FarFilm(hub, 3_000_001)


def test_parts_of_a_file_are_those_of_the_whole(
    film: FarFilm, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(farfiles, "_MOST_BYTES", 1000)  # parts may be of any file
    with open_fetcher(hub, tmp_path / "cache") as reader:
        files = film.open(reader)
        assert (files.size(0), files.size(1)) == (3_000_001, 99)
        assert hub.requests == []
        assert not files.has_part(0, 2_900_000, 3_100_000)
        for start, stop in [(2_900_000, 3_100_000), (0, 1), (5, 5), (-5, 300_000), (9**9, 9**10)]:
            part = files.read_part(0, start, stop)
            assert part == film.content[max(start, 0) : max(stop, 0)]
            assert files.has_part(0, start, stop)
        assert sum(stop + 1 - start for start, stop in list_bytes(hub)) < 1_400_000
        assert files.read_part(1, 90, 200) == film.content[602:611]
        with pytest.raises(FormatError, match="over 1000 bytes"):
            files.read(0)


def test_parts_of_what_was_fetched_whole_ask_nobody(
    film: FarFilm, hub: HubServer, tmp_path: Path
) -> None:
    with open_fetcher(hub, tmp_path / "cache") as reader:
        assert film.open(reader).read(0) == film.content
    with open_fetcher(hub, tmp_path / "cache", offline=True) as reader:
        files = film.open(reader)
        for start in (2_000_000, 7):
            assert files.has_part(0, start, start + 500_000)
            assert (
                files.read_part(0, start, start + 500_000)
                == (film.content[start : start + 500_000])
            )


@pytest.mark.parametrize(
    ("etag", "status", "error"),
    [("0" * 64, 0, StaleError), ("", 404, SourceError), ("", 403, AccessError)],
)
def test_parts_fail_as_files_do(
    etag: str, status: int, error: type[HffsError], hub: HubServer, tmp_path: Path
) -> None:
    film = FarFilm(hub, 3_000_001)
    if status:
        hub.faults.append(Fail("GET .*/resolve/", status, times=None))
    with open_fetcher(hub, tmp_path / "cache") as reader:
        files = film.open(reader, etag)
        with pytest.raises(error) as whole:
            files.read(0)
        with pytest.raises(error) as part:
            files.read_part(0, 2_900_000, 2_900_010)
        assert str(part.value) == str(whole.value)
        assert not files.has_part(0, 2_900_000, 2_900_010)


def test_offline_a_part_is_an_outage(film: FarFilm, hub: HubServer, tmp_path: Path) -> None:
    with open_fetcher(hub, tmp_path / "cache", offline=True) as reader:
        files = film.open(reader)
        assert not files.has_part(0, 0, 1)
        with pytest.raises(OutageError, match="offline"):
            files.read_part(0, 0, 1)
    assert hub.requests == []
