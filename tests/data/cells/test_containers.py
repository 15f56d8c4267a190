"""Cells in archives: hostile ones are counted or give one error; the others are their bytes."""

from __future__ import annotations

import io
import logging
import os
import struct
import tracemalloc
import warnings
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from hffs.core.zips import read_directory
from hffs.data import openfiles
from hffs.data.cells import containers
from hffs.data.cells.building import Coding, SegmentKind
from hffs.data.cells.paths import PathResolver
from hffs.data.rows import RowStore
from hffs.errors import AccessError, FormatError, StaleError

JPEG = b"\xff\xd8\xff" + bytes(range(200)) * 3
PNG = b"\x89PNG\r\n\x1a\n" + b"png" * 300
STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])

Members = Sequence[tuple[str, bytes, int]]
PLAIN, DEFLATE = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def _zip(path: Path, members: Members, comment: bytes = b"") -> Path:
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name, data, method in members:
            archive.writestr(zipfile.ZipInfo(name), data, method)
        archive.comment = comment
    return path


def _open(sets: Any, folder: Path, paths: Sequence[str | None], **options: Any) -> Any:
    table = pa.table({"image": pa.array([{"bytes": None, "path": p} for p in paths], STRUCT)})
    path = sets.write("parquet-plain", table, folder / "rows")
    return sets.open(path, folder / "cache", **options)


def test_members_of_zips_are_slices_of_their_map_or_inflated(
    form: str, tmp_path: Path, sets: Any
) -> None:
    members = [("a.jpg", JPEG, PLAIN), ("in/b.png", PNG, DEFLATE), ("../up.jpg", JPEG, PLAIN)]
    archive = _zip(tmp_path / "images.zip", members)
    paths = [f"zip://{name}::images.zip" for name, _, _ in members]
    paths.append(f"zip://in/b.png::{archive}")
    table = pa.table({"image": pa.array([{"bytes": None, "path": p} for p in paths], STRUCT)})
    opened = sets.open(sets.write(form, table, tmp_path / "rows"), tmp_path / "cache")
    expected = [data for _, data, _ in [*members, members[1]]]
    assert opened.read_all() == [(row, 0, data) for row, data in enumerate(expected)]
    assert opened.index.format.tolist() == [1, 2, 1, 2]
    assert opened.index.dropped == {}
    assert len(opened.index.containers) == 1
    kinds, codings = opened.index.segments.kind, opened.index.segments.coding
    assert {SegmentKind.CONTAINER} == set(kinds[opened.index.segment].tolist())
    assert codings[opened.index.segment].tolist() == [Coding.RAW, Coding.DEFLATE] * 2
    stored = opened.store.read(0)
    assert stored.readonly
    assert archive.read_bytes()[int(opened.index.offset[0]) :][: len(stored)] == stored
    assert opened.store.read(1) is None


def test_ranges_of_tars_are_slices_of_their_map(tmp_path: Path, sets: Any) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar").write_bytes(bytes(512) + JPEG + PNG)
    size = 512 + len(JPEG) + len(PNG)
    good = [(512, len(JPEG)), (512 + len(JPEG), len(PNG)), (size - 1, 1)]
    bad = [(0, size + 1), (size, 1), (10**17, 1), (1, 10**17), (10**18 - 1, 10**18 - 1)]
    paths = [f"tar://{offset}:{length}::in/a.tar" for offset, length in [*good, *bad, (5, 0)]]
    malformed = ["tar://1:2", "tar://-1:2::in/a.tar", "tar://1::in/a.tar", "tar://x:1::in/a.tar"]
    malformed += [f"tar://{10**18}:1::in/a.tar", "tar://1:2::", "zip://a.jpg", "zip://::in/a.tar"]
    elsewhere = ["tar://0:1::../x", "tar://0:1::gone.tar", "tar://0:1::https://host/a.tar"]
    elsewhere += ["tar://0:1::/etc/passwd", "tar://0:1::in"]
    opened = _open(sets, tmp_path, [*paths, *malformed, *elsewhere])
    assert [data for _, _, data in opened.read_all()] == [JPEG, PNG, PNG[-1:]]
    assert opened.index.stored.tolist() == []
    assert opened.index.dropped == {
        containers.OUT_OF_RANGE: 5,
        containers.MEMBER_EMPTY: 1,
        containers.BAD_REFERENCE: 8,
        "file missing": 3,
        "path outside the data set": 1,
        "URL that is neither http nor https": 1,
    }


def _patch(path: Path, magic: bytes, field: int, value: bytes) -> None:
    """Write over a field of the last record with this magic number."""
    data = bytearray(path.read_bytes())
    place = data.rfind(magic) + field
    data[place : place + len(value)] = value
    path.write_bytes(data)


ENTRY, LOCAL = b"PK\x01\x02", b"PK\x03\x04"

HOSTILE: dict[str, tuple[Callable[[Path], None], str]] = {
    "encrypted": (lambda p: _patch(p, ENTRY, 8, b"\x01"), containers.MEMBER_ENCRYPTED),
    "lzma": (lambda p: _patch(p, ENTRY, 10, b"\x0e"), containers.MEMBER_UNREADABLE),
    "declared empty": (lambda p: _patch(p, ENTRY, 24, bytes(4)), containers.MEMBER_EMPTY),
    "header outside": (
        lambda p: _patch(p, ENTRY, 42, b"\xff\xff\xff\x7f"),
        containers.MEMBER_BROKEN,
    ),
    "no header there": (lambda p: _patch(p, ENTRY, 42, b"\x01"), containers.MEMBER_BROKEN),
    "data outside": (lambda p: _patch(p, ENTRY, 20, b"\0\0\0\x01"), containers.MEMBER_BROKEN),
    "named otherwise": (lambda p: _patch(p, LOCAL, 30, b"z"), containers.MEMBER_BROKEN),
    "declared huge": (lambda p: _patch(p, ENTRY, 24, b"\0\0\0\x7f"), containers.TOO_LARGE),
    "wide, and not": (lambda p: _patch(p, ENTRY, 20, b"\xff" * 8), containers.MEMBER_BROKEN),
    "entry damaged": (lambda p: _patch(p, ENTRY, 0, b"XX"), containers.ARCHIVE_BROKEN),
    "cut short": (lambda p: os.truncate(p, p.stat().st_size - 5), containers.ARCHIVE_BROKEN),
    "no archive": (lambda p: _rewrite(p, JPEG), containers.ARCHIVE_BROKEN),
    "empty": (lambda p: _rewrite(p, b""), "empty file"),
}


def _rewrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


@pytest.mark.parametrize("how", HOSTILE)
def test_broken_archives_and_members_are_counted(
    how: str, tmp_path: Path, sets: Any, caplog: pytest.LogCaptureFixture
) -> None:
    harm, reason = HOSTILE[how]
    harm(_zip(tmp_path / "bad.zip", [("a.jpg", JPEG, DEFLATE)]))
    _zip(tmp_path / "good.zip", [("a.jpg", JPEG, DEFLATE)])
    paths = ["zip://a.jpg::bad.zip", "zip://a.jpg::good.zip", "zip://a.jpg::bad.zip"]
    opened = _open(sets, tmp_path, paths)
    assert opened.read_all() == [(1, 0, JPEG)]
    assert opened.index.dropped == {reason: 2}
    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == (reason == containers.ARCHIVE_BROKEN)


def test_stored_members_that_end_outside_their_archive_are_counted(
    tmp_path: Path, sets: Any
) -> None:
    archive = _zip(tmp_path / "a.zip", [("a.jpg", JPEG, PLAIN)])
    _patch(archive, ENTRY, 20, struct.pack("<LL", 5000, 5000))
    opened = _open(sets, tmp_path, ["zip://a.jpg::a.zip"])
    assert opened.index.dropped == {containers.MEMBER_BROKEN: 1}


LYING: dict[str, tuple[Callable[[Path], None], str]] = {
    "shorter": (lambda p: _patch(p, ENTRY, 24, struct.pack("<L", 1000)), "more than the 1000"),
    "longer": (lambda p: _patch(p, ENTRY, 24, struct.pack("<L", 10**6)), "does not inflate to"),
    "checksum": (lambda p: _patch(p, ENTRY, 16, b"abcd"), "checksum"),
    "stored": (lambda p: _patch(p, ENTRY, 20, struct.pack("<L", 90)), "does not inflate to"),
    "bytes": (lambda p: _patch(p, LOCAL, 60, b"\xff" * 40), ""),
}


@pytest.mark.parametrize("how", LYING)
def test_members_that_lie_are_errors_of_their_own_cell(how: str, tmp_path: Path, sets: Any) -> None:
    harm, why = LYING[how]
    data = JPEG + bytes(100_000)  # inflates to far more than it declares: a bomb
    harm(_zip(tmp_path / "bad.zip", [("a.jpg", data, DEFLATE)]))
    _zip(tmp_path / "good.zip", [("a.jpg", data, DEFLATE)])
    opened = _open(sets, tmp_path, ["zip://a.jpg::bad.zip", "zip://a.jpg::good.zip"])
    with pytest.raises(FormatError, match=f"cannot decode the image of row 0 of .*: .*{why}"):
        opened.store.load(0)
    assert opened.store.load(1) == data


def test_overlapping_and_twice_named_members_are_what_the_directory_says(
    tmp_path: Path, sets: Any
) -> None:
    members = [("a.jpg", JPEG, PLAIN), ("b.jpg", PNG, DEFLATE), ("a.jpg", PNG, PLAIN)]
    path = _zip(tmp_path / "twice.zip", members)
    overlapping = bytearray(path.read_bytes())
    first = overlapping.find(ENTRY)
    last = overlapping.rfind(ENTRY)
    assert first != last
    overlapping[last : last + 46] = overlapping[first : first + 46]  # both begin in one place
    (tmp_path / "over.zip").write_bytes(overlapping)
    names = ["zip://a.jpg::twice.zip", "zip://a.jpg::over.zip", "zip://b.jpg::over.zip"]
    opened = _open(sets, tmp_path, names)
    assert [data for _, _, data in opened.read_all()] == [PNG, JPEG, PNG]


def test_thousands_of_members_and_archives(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "_OPEN_ARCHIVES", 2)
    monkeypatch.setattr(containers, "_KEPT_MEMBERS", 2500)
    monkeypatch.setattr(containers, "_KEPT_PATHS", 2)
    monkeypatch.setattr(openfiles, "_OPEN_ARCHIVES", 2)
    for number in range(4):
        members = [
            (f"{n}.jpg", JPEG + b"%d %d" % (number, n), n % 2 * DEFLATE) for n in range(1000)
        ]
        _zip(tmp_path / f"{number}.zip", members)
    order = np.random.default_rng(3).permutation(4000).tolist()
    opened = _open(sets, tmp_path, [f"zip://{n % 1000}.jpg::{n // 1000}.zip" for n in order])
    opened.store.pin()
    assert not opened.store._opened._archives
    expected = [(row, 0, JPEG + b"%d %d" % divmod(n, 1000)) for row, n in enumerate(order)]
    assert opened.read_all() == expected
    assert len(opened.store._opened._archives) == 2
    for cell in (0, 1, 2, 3):
        opened.store.check(cell)


def test_regression_an_archive_that_is_read_is_not_closed_for_another(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openfiles, "_OPEN_ARCHIVES", 1)
    paths = [_zip(tmp_path / f"{n}.zip", [("a.jpg", JPEG + b"%d" % n, PLAIN)]) for n in range(3)]
    for path in paths:
        os.utime(path, ns=(10**18, 10**18))  # by size and time one is as the other
    files = _open(sets, tmp_path, [f"zip://a.jpg::{n}.zip" for n in range(3)]).store._opened
    held = files.archive(0)
    files.archive(1)
    before = len(os.listdir("/proc/self/fd"))
    files.archive(2)
    assert len(os.listdir("/proc/self/fd")) == before  # the second was given back at once
    assert held.read(0, held.size_bytes) == paths[0].read_bytes()
    untouched = held.leave_untouched()
    del held
    assert len(os.listdir("/proc/self/fd")) == before
    assert untouched.open_native().read() == paths[0].read_bytes()
    del untouched
    assert len(os.listdir("/proc/self/fd")) < before


def test_archives_that_change_are_stale(tmp_path: Path, sets: Any) -> None:
    archive = _zip(tmp_path / "a.zip", [("a.jpg", JPEG, PLAIN), ("b.png", PNG, DEFLATE)])
    paths = ["zip://a.jpg::a.zip", "zip://b.png::a.zip"]
    opened = _open(sets, tmp_path, paths)
    opened.store.pin()
    opened.store.check(0)
    again = RowStore(opened.index, opened.located, opened.cache)
    os.utime(archive, ns=(1, 1))
    for cell in (0, 1):
        for act in (opened.store.check, again.check, again.load):
            with pytest.raises(StaleError, match="changed while mounted; mount again"):
                act(cell)
    with pytest.raises(StaleError):
        again.pin()
    assert _open(sets, tmp_path, paths).steps != []
    archive.unlink()
    assert opened.store.read(0) == JPEG
    with pytest.raises(StaleError, match="removed while mounted"):
        again.pin()


def test_an_index_of_a_changed_archive_is_made_again(tmp_path: Path, sets: Any) -> None:
    archive = _zip(tmp_path / "a.zip", [("a.jpg", JPEG, DEFLATE)])
    paths = ["zip://a.jpg::a.zip"]
    first = _open(sets, tmp_path, paths)
    path = first.located.shards[0].path
    kept = sets.open(path, tmp_path / "cache")
    assert (kept.steps, kept.index.identity) == ([], first.index.identity)
    assert kept.read_all() == [(0, 0, JPEG)]
    _zip(archive, [("a.jpg", PNG, DEFLATE)])
    second = sets.open(path, tmp_path / "cache")
    assert second.read_all() == [(0, 0, PNG)]
    assert second.index.identity != first.index.identity
    os.utime(archive, ns=(1, 1))
    assert sets.open(path, tmp_path / "cache").index.identity != second.index.identity
    archive.unlink()
    assert sets.open(path, tmp_path / "cache").index.dropped == {"file missing": 1}
    _zip(archive, [("a.jpg", JPEG, PLAIN)])
    assert sets.open(path, tmp_path / "cache").read_all() == [(0, 0, JPEG)]


def test_an_archive_that_changes_while_it_is_indexed_is_stale(
    tmp_path: Path, sets: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = _zip(tmp_path / "a.zip", [("a.jpg", JPEG, DEFLATE)])
    read = read_directory

    def change(view: memoryview) -> Any:
        os.utime(archive, ns=(1, 1))
        return read(view)

    monkeypatch.setattr(containers, "read_directory", change)
    with pytest.raises(StaleError, match="changed"):
        _open(sets, tmp_path, ["zip://a.jpg::a.zip"])


def test_archives_that_may_not_be_read(
    tmp_path: Path, sets: Any, as_nobody: Callable[[], Any]
) -> None:
    archive = _zip(tmp_path / "a.zip", [("a.jpg", JPEG, DEFLATE)])
    opened = _open(sets, tmp_path, ["zip://a.jpg::a.zip"])
    archive.chmod(0)
    opened.located.shards[0].path.chmod(0o644)
    with as_nobody(), pytest.raises(AccessError, match=r"(?i)permission denied"):
        opened.store.check(0)
    with as_nobody():
        resolver = PathResolver(tmp_path)
        references = containers.References()
        references.add(0, b"zip://a.jpg::a.zip")
        found = list(containers.Archives(resolver).find(references))
    assert found == [containers.Dropped("file that may not be read", 1)]


@pytest.mark.parametrize("name", ["length", "stored", "offset", "crc"])
def test_an_index_that_is_wrong_gives_an_error_not_half_an_image(
    name: str, tmp_path: Path, sets: Any
) -> None:
    _zip(tmp_path / "a.zip", [("a.jpg", JPEG, DEFLATE)])
    opened = _open(sets, tmp_path, ["zip://a.jpg::a.zip"])
    index = opened.index
    for value in (0, 1, 1 << 30):
        wrong = replace(index, **{name: np.full(1, value, getattr(index, name).dtype)})
        with pytest.raises(FormatError):
            RowStore(wrong, opened.located, opened.cache).load(0)


def test_what_datasets_makes_of_a_folder_of_zips_is_read(tmp_path: Path, sets: Any) -> None:
    import datasets  # late: it takes seconds
    from PIL import Image

    images = {}
    for number, name in enumerate(["a.jpg", "in/caf\u00e9.jpg", "sp ace#%41.jpg", "x::y.jpg"]):
        file = io.BytesIO()
        Image.new("RGB", (8, 8), (number, 0, 0)).save(file, "JPEG")
        images[name] = file.getvalue()
    _zip(tmp_path / "set.zip", [(name, data, DEFLATE) for name, data in images.items()])
    rows = datasets.load_dataset(
        "imagefolder",
        data_files={"train": str(tmp_path / "set.zip")},
        cache_dir=str(tmp_path / "c"),
    )["train"].cast_column("image", datasets.Image(decode=False))
    rows.to_parquet(str(tmp_path / "rows.parquet"), batch_size=2)
    paths = [row["image"]["path"] for row in rows]
    found = _open(sets, tmp_path, paths).read_all()
    names = [path[len("zip://") :].rpartition("::")[0] for path in paths]
    assert sorted(names) == sorted(images)
    assert [data for _, _, data in found] == [images[name] for name in names]


def test_a_bomb_is_an_error_that_takes_no_memory(tmp_path: Path, sets: Any) -> None:
    _zip(tmp_path / "a.zip", [("a.jpg", JPEG + bytes(64 << 20), DEFLATE)])
    _patch(tmp_path / "a.zip", ENTRY, 24, struct.pack("<L", 1 << 20))
    opened = _open(sets, tmp_path, ["zip://a.jpg::a.zip"])
    tracemalloc.start()
    with pytest.raises(FormatError, match="more than the 1048576 bytes"):
        opened.store.load(0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
