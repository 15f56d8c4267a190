"""Tars that lie elsewhere: the table by ranges is that of the whole files, by few requests."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.data.cache import DiskCache
from hffs.data.prepare import fartars
from hffs.data.prepare.fartars import GAP_BYTES, Windows, open_far_tars
from hffs.data.prepare.job import Job
from hffs.data.prepare.preparing import prepare
from hffs.data.prepare.tarindex import read_members
from hffs.data.remote.files import Range, RemoteFile
from hffs.errors import DataError, HffsError, OutageError
from tests.ranges import LocalReader

JPEG = b"\xff\xd8\xff"


@dataclass
class _Far:
    """Tars of a folder as if they lay elsewhere, and what is fetched of them."""

    folder: Path
    reader: LocalReader = field(default_factory=LocalReader)

    def prepare(self, *names: str) -> Path:
        """The table that is made of some; raises what making it does."""
        files = []
        for name in names:
            path = self.folder / name
            remote = RemoteFile(f"test://{path}", f"etag-{name}", path.stat().st_size)
            files.append((remote, f"set@1/{name}", name))
        cache = DiskCache(self.folder / "blobs", 1 << 40)
        out = self.folder / f"far{len(self.reader.asked)}"
        out.mkdir()
        with open_far_tars(files, self.reader, cache) as tars:
            job = make_job(self.folder, names, out)
            return prepare(replace(job, far_tars=tars))[0]


def make_job(folder: Path, names: tuple[str, ...], out: Path) -> Job:
    paths = tuple(folder / name for name in names)
    return Job("set", "webdataset", {}, "train", paths, folder, out, lambda *_: None, print)


def prepare_here(folder: Path, *names: str) -> Path:
    (folder / "here").mkdir()
    return prepare(make_job(folder, names, folder / "here"))[0]


def pack(members: list[tuple[str, bytes]], form: int = tarfile.PAX_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5  # which pax tells in a record
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def photos(count: int, size_bytes: int) -> list[tuple[str, bytes]]:
    members = []
    for number in range(count):
        about = json.dumps({"width": number, "words": "w" * 300}).encode()
        parts = {"jpg": JPEG + bytes(size_bytes - 3), "json": about, "txt": b"a photo %d" % number}
        members += [(f"{number:05d}.{name}", data) for name, data in parts.items()]
    return members


names = st.text(st.sampled_from("ab/ü. "), min_size=1, max_size=130).map(
    lambda text: f"k/{text}".rstrip("/ ")
)
contents = st.builds(
    lambda head, size: head + bytes(size),
    st.sampled_from([b"", JPEG, b"\x89PNG\r\n\x1a\n", b"{}", b"7"]),
    st.one_of(st.integers(0, 2000), st.sampled_from([20_000, 33_000, 100_000, 1 << 20])),
)
extensions = st.sampled_from(["jpg", "seg.png", "txt", "json", "cls", "mp3", "npy", "json.gz"])
samples = st.dictionaries(names, st.dictionaries(extensions, contents, min_size=1), max_size=6)


@st.composite
def packed(draw: st.DrawFn) -> bytes:
    """A tar of samples, or the beginning of one."""
    parts = draw(samples)
    members = [(f"{key}.{name}", data) for key, own in parts.items() for name, data in own.items()]
    whole = pack(members, draw(st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])))
    return whole[: draw(st.just(len(whole)) | st.integers(1, len(whole)))]


@given(
    st.lists(packed(), min_size=1, max_size=3),
    st.sampled_from([1, 3, 1 << 10]),
    st.sampled_from([512, 4096, 16 << 10]),
)
@settings(max_examples=80)
def test_the_table_by_ranges_is_that_of_the_whole_files(
    tmp_path_factory: pytest.TempPathFactory, tars: list[bytes], members: int, window_bytes: int
) -> None:
    folder = tmp_path_factory.mktemp("set")
    files = [f"{number}.tar" for number in range(len(tars))]
    for name, data in zip(files, tars, strict=True):
        (folder / name).write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fartars, "_PIECE_MEMBERS", members)
        patch.setattr(fartars, "FIRST_BYTES", window_bytes)
        patch.setattr(fartars, "_LEAST_BYTES", 512)
        far = _Far(folder)
        found, refusal = _outcome(lambda: far.prepare(*files))
        asked = len(far.reader.asked)
        expected = _outcome(lambda: prepare_here(folder, *files))
        assert (found, refusal) == expected
        if found is not None:
            far.prepare(*files)
            assert len(far.reader.asked) == asked


def _outcome(make: Callable[[], Path]) -> tuple[pa.Table | None, tuple[type, str] | None]:
    """A table with its metadata, or what was said instead."""
    try:
        return pq.read_table(make()), None
    except HffsError as error:
        return None, (type(error), error.why)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 400_000)), max_size=30),
    st.integers(0, 1 << 20),
)
@settings(max_examples=60)
def test_windows_hold_what_is_asked_for_and_are_few(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, int]], last: int
) -> None:
    """The bytes of any forward walk are those of the file; a leap is one request, a run few."""
    path = tmp_path_factory.mktemp("set") / "x"
    size = sum(step for _, step in steps) + last + 1
    data = (b"%08d" * (size // 8 + 1) % tuple(range(size // 8 + 1)))[:size]
    path.write_bytes(data)
    reader = LocalReader()
    windows = Windows(reader, RemoteFile(f"test://{path}", "e", size))
    at = 0
    for blocks, step in steps:
        stop = at + blocks * 512
        assert bytes(windows(at, stop)) == data[at:stop]
        at += step
    leaps = sum(step > GAP_BYTES for _, step in steps)
    assert len(reader.asked) <= 2 * len(steps)
    assert len(reader.asked) <= 3 * (leaps + 1) + size // GAP_BYTES
    assert all(stop - start <= 1 << 20 for _, (start, stop) in reader.asked)


def test_of_photos_headers_and_texts_are_fetched(tmp_path: Path) -> None:
    count, size = 200, 100_000
    (tmp_path / "a.tar").write_bytes(pack(photos(count, size)))
    far = _Far(tmp_path)
    rows = pq.read_table(far.prepare("a.tar"))
    assert rows.num_rows == count
    assert len(far.reader.asked) <= count + 5
    assert far.reader.asked_bytes < 0.1 * count * size


def test_small_members_are_read_in_large_steps(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pack(photos(1000, 5000)))
    far = _Far(tmp_path)
    assert pq.read_table(far.prepare("a.tar")).num_rows == 1000
    assert len(far.reader.asked) < 25


def test_what_was_read_before_an_end_is_not_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fartars, "_PIECE_MEMBERS", 30)
    (tmp_path / "a.tar").write_bytes(pack(photos(100, 100_000)))
    far = _Far(tmp_path)

    class Ending(LocalReader):
        def submit(self, *args: object, **options: object) -> list[object]:  # type: ignore[override]  # whatever is asked
            self.failing = OutageError("gone") if len(self.asked) > 60 else None
            return super().submit(*args, **options)  # type: ignore[arg-type,return-value]  # as above

    far.reader = Ending()
    with pytest.raises(OutageError, match="gone"):
        far.prepare("a.tar")
    (again := _Far(tmp_path)).reader.asked.append(("", Range(0, 0)))
    assert pq.read_table(again.prepare("a.tar")).num_rows == 100
    assert len(again.reader.asked) < 60


def test_what_the_cache_has_no_room_for_is_fetched_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiskCache, "put", lambda self, key, data: memoryview(data))
    monkeypatch.setattr(fartars, "_PIECE_MEMBERS", 30)
    (tmp_path / "a.tar").write_bytes(pack(photos(40, 100_000)))
    here = pq.read_table(prepare_here(tmp_path, "a.tar"))
    assert pq.read_table(_Far(tmp_path).prepare("a.tar")).equals(here)


class _Flipping(LocalReader):
    """The first range that is asked for comes with a bit that is not what it was."""

    def _get(self, file: RemoteFile, *rest: Any, **more: Any) -> Future[memoryview]:
        future = super()._get(file, *rest, **more)
        if len(self.asked) > 1:
            return future
        data = bytearray(future.result())
        data[len(data) // 2] ^= 1
        flipped: Future[memoryview] = Future()
        flipped.set_result(memoryview(data))
        return flipped


def test_a_header_that_came_damaged_is_fetched_again(tmp_path: Path) -> None:
    members = [(f"{number}.cls", b"") for number in range(40)]  # nothing but headers
    (tmp_path / "a.tar").write_bytes(pack([("a.jpg", JPEG), *members], tarfile.GNU_FORMAT))
    far = _Far(tmp_path, _Flipping())
    assert pq.read_table(far.prepare("a.tar")).num_rows == 41
    assert [place.start for _, place in far.reader.asked] == [0, 0, fartars.FIRST_BYTES]


@pytest.mark.parametrize("name", ["a.tar", "b.tar"])
def test_a_compressed_tar_is_refused_by_what_it_holds(name: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(pack(photos(3, 1000)))
    (tmp_path / "b.tar").write_bytes(pack(photos(3, 1000)))
    (tmp_path / name).write_bytes(gzip.compress((tmp_path / name).read_bytes()))
    with pytest.raises(DataError) as caught:
        _Far(tmp_path).prepare("a.tar", "b.tar")
    assert str(caught.value) == (
        f"cannot stream set@1/{name}: it is compressed, so that no range of it is a file; "
        "leave --streaming out"
    )


def _claim(size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo("big.jpg")
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


HOSTILE: dict[str, Callable[[], bytes]] = {
    "a member beyond the end": lambda: _claim(1 << 40),
    "records without end": lambda: _claim(1 << 21, tarfile.XHDTYPE) + bytes(3 << 20),
    "records that follow records": lambda: _claim(512, tarfile.XGLTYPE) * 2 * 4000,
    "a map without end": lambda: _sparse() + (bytes(504) + b"\1" + bytes(7)) * 8000,
    "nothing": lambda: b"",
    "no tar": lambda: b"no tar" * 10_000,
}


def _sparse() -> bytes:
    header = bytearray(_claim(512, tarfile.GNUTYPE_SPARSE))
    header[482] = 1
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    return bytes(header)


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_tar_is_refused_as_one_that_is_here(what: str, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(HOSTILE[what]())
    with pytest.raises(DataError) as caught:
        prepare_here(tmp_path, "a.tar")
    far = _Far(tmp_path)
    with pytest.raises(type(caught.value)) as told:
        far.prepare("a.tar")
    assert told.value.why == caught.value.why
    assert far.reader.asked_bytes <= 3 * (tmp_path / "a.tar").stat().st_size
    assert len(far.reader.asked) < 30


def test_the_members_behind_any_member_are_the_rest() -> None:
    data = pack(photos(5, 700))

    def take(start: int, stop: int) -> memoryview:
        return memoryview(data)[start:stop]

    members = list(read_members(take, len(data), "x"))
    for number, member in enumerate(members):
        assert list(read_members(take, len(data), "x", member.end)) == members[number + 1 :]


def test_progress_counts_all_tars(tmp_path: Path) -> None:
    names = ("a.tar", "b.tar", "c.tar")
    for name in names:
        (tmp_path / name).write_bytes(pack(photos(3, 1000)))
    told: list[tuple[str, int, int]] = []
    job = make_job(tmp_path, names, tmp_path)
    files = [
        (
            RemoteFile(f"test://{tmp_path / name}", name, (tmp_path / name).stat().st_size),
            name,
            name,
        )
        for name in names
    ]
    cache = DiskCache(tmp_path / "blobs", 1 << 40)
    with open_far_tars(files, LocalReader(), cache) as tars:
        prepare(replace(job, far_tars=tars, progress=lambda *step: told.append(step)))
    total = sum(file.size_bytes for file, _, _ in files)
    done = [step[1] for step in told if step[0] == "indexing tars"]
    assert done == sorted(done)
    assert done[-1] == total
    assert {step[2] for step in told if step[0] == "indexing tars"} == {total}
