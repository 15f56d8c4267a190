from __future__ import annotations

import mmap
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.formats import MediaFormat
from hffs.data import mapped
from hffs.data.mapped import MappedFile, open_mapped, sniff_values
from hffs.errors import AccessError, DataError, SourceError, StaleError

JPEG, PNG = b"\xff\xd8\xff\xe0photo", b"\x89PNG\r\n\x1a\nphoto"


class WatchedMap(mmap.mmap):
    """Anonymous memory that remembers what was advised, as (start, length)."""

    asked: list[tuple[int, int]]

    def madvise(self, option: int, start: int = 0, length: int = 0) -> None:
        assert option == mmap.MADV_WILLNEED
        super().madvise(option, start, length)  # refuses what the kernel refuses
        self.asked.append((start, length))


def watched(size: int) -> tuple[MappedFile, list[tuple[int, int]]]:
    mapped = WatchedMap(-1, size)
    mapped.asked = []
    return MappedFile(Path("memory"), memoryview(mapped), size, 0, -1, mapped), mapped.asked


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_mapped_file_is_its_bytes_read_only(tmp_path: Path) -> None:
    with open_mapped(written(tmp_path / "a", b"abc")) as file:
        assert (bytes(file.view), file.size_bytes) == (b"abc", 3)
        assert file.view.readonly
        file.check()


def test_an_empty_file_is_mapped_and_advised(tmp_path: Path) -> None:
    with open_mapped(written(tmp_path / "a", b"")) as file:
        assert not len(file.view)
        file.advise(0, 10)
        file.advise_pages(np.zeros(1, np.int64))
        file.check()


def test_views_outlive_closing(tmp_path: Path) -> None:
    file = open_mapped(written(tmp_path / "a", b"abc"))
    view = file.view[1:]
    file.close()
    assert bytes(view) == b"bc"


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"cannot open .*/none: No such file"):
        open_mapped(tmp_path / "none")


def test_a_closed_file_is_denied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:  # root may open anything
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", deny)
    with pytest.raises(AccessError, match="Permission denied"):
        open_mapped(tmp_path / "a")


def test_folders_and_pipes_are_refused_at_once_and_leave_nothing_open(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    before = os.listdir("/proc/self/fd")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(SourceError, match="not a regular file"):
            open_mapped(path)
    assert os.listdir("/proc/self/fd") == before


def test_a_replaced_file_keeps_its_bytes(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"old")
    with open_mapped(path) as file:
        written(tmp_path / "b", b"new and longer").rename(path)
        file.check()
        assert bytes(file.view) == b"old"


def test_a_file_changed_in_place_is_stale(tmp_path: Path) -> None:
    path = written(tmp_path / "a", b"old")
    with open_mapped(path) as file:
        path.write_bytes(b"longer")
        with pytest.raises(StaleError, match="changed while mounted"):
            file.check()
    with open_mapped(path) as file:
        os.utime(path, ns=(0, file.mtime_ns + 1))
        with pytest.raises(StaleError):
            file.check()


def test_a_part_is_read_into_a_buffer(tmp_path: Path) -> None:
    buffer = memoryview(bytearray(5))
    with open_mapped(written(tmp_path / "a", b"abcdefg")) as file:
        file.read_into(buffer[:4], 2)
        file.read_into(buffer[4:], 0)
        file.read_into(buffer[:0], 7)
    assert bytes(buffer) == b"cdefa"


def test_what_a_file_does_not_have_is_never_taken_for_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A buffer may hold what somebody else has read: short is an error, whatever is the reason."""
    path = written(tmp_path / "a", b"abcdefg")
    buffer = memoryview(bytearray(4))
    with open_mapped(path) as file:
        with pytest.raises(DataError, match=r"cannot read .*/a: it is shorter than it was"):
            file.read_into(buffer, 5)
        with path.open("ab") as more:
            more.write(b"h")
        with pytest.raises(StaleError):
            file.read_into(buffer, 0)

        def fail(*_: object) -> int:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(os, "preadv", fail)
        with pytest.raises(DataError, match=r"cannot read .*/a: Input/output error"):
            file.read_into(buffer, 0)


PAGE = mmap.PAGESIZE


@pytest.mark.parametrize(
    ("offset", "length", "asked"),
    [
        (PAGE + 5, 10, [(PAGE, 15)]),
        (0, 300 << 10, [(0, 128 << 10), (128 << 10, 128 << 10), (256 << 10, 44 << 10)]),
        ((1 << 20) - 10, 100, [((1 << 20) - PAGE, PAGE)]),
        (1 << 20, 100, []),
    ],
)
def test_advice_is_aligned_bounded_and_in_pieces(
    offset: int, length: int, asked: list[tuple[int, int]]
) -> None:
    file, heard = watched(1 << 20)
    file.advise(offset, length)
    assert heard == asked


def test_advice_on_many_places_joins_neighbours() -> None:
    file, heard = watched(1 << 20)
    places = [5 * PAGE + 9, 6 * PAGE, 5 * PAGE, 0, 100 * PAGE, 1 << 20]
    file.advise_pages(np.array(places, np.int64))
    assert heard == [(0, PAGE), (5 * PAGE, 2 * PAGE), (100 * PAGE, PAGE)]
    heard.clear()
    file.advise_pages(np.arange(0, 1 << 20, PAGE, dtype=np.int64))
    assert heard == [(start, 128 << 10) for start in range(0, 1 << 20, 128 << 10)]


def test_nothing_is_asked_for_where_a_few_pages_are_in_memory(tmp_path: Path) -> None:
    path = written(tmp_path / "file", bytes(64 * PAGE))
    with path.open("rb") as opened:
        own = WatchedMap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        own.asked = []
        file = MappedFile(path, memoryview(own), 64 * PAGE, 0, opened.fileno(), own)
        every = np.arange(0, 64 * PAGE, PAGE, dtype=np.int64)
        file.advise_pages(every)
        assert own.asked == []
        file.advise_pages(every[:3])  # too few to be worth a look
        assert own.asked == [(0, 3 * PAGE)]


def test_heads_are_advised_and_sniffed_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped, "_SNIFF_BATCH", 2)
    data = b"".join([JPEG, PNG, JPEG])
    offsets = np.array([0, -1, len(JPEG), len(JPEG + PNG)], np.int64)
    lengths = np.array([len(JPEG), 0, len(PNG), len(JPEG)], np.int64)
    asked: list[list[int]] = []
    codes = sniff_values(memoryview(data), offsets, lengths, lambda at: asked.append(at.tolist()))
    assert codes.tolist() == [MediaFormat.JPEG, 0, MediaFormat.PNG, MediaFormat.JPEG]
    assert asked == [[0, 9, 8, 20], [22, 30]]


@given(ranges=st.lists(st.tuples(st.integers(0, 90_000), st.integers(1, 20_000))))
def test_many_ranges_are_asked_for_page_by_page(ranges: list[tuple[int, int]]) -> None:
    file, asked = watched(100_000)
    offsets, lengths = np.array(ranges, np.int64).reshape(-1, 2).T
    file.advise_ranges(offsets, lengths)
    page, wanted = mmap.PAGESIZE, set[int]()
    for offset, length in ranges:
        end = min(offset + length, 100_000)
        wanted |= set(range(offset // page, (end - 1) // page + 1))
    pages = [start // page + n for start, length in asked for n in range(length // page)]
    assert sorted(pages) == sorted(wanted)


def test_what_was_just_written_is_cached_and_what_cannot_be_asked_is_not(tmp_path: Path) -> None:
    with open_mapped(written(tmp_path / "a", b"abc" * 10_000)) as file:
        assert file.is_cached(np.array([0, 29_999], np.int64))
    unknown, _ = watched(100)
    assert not unknown.is_cached(np.zeros(1, np.int64))
    assert unknown.is_cached(np.zeros(0, np.int64))
