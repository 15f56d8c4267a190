"""Named bytes in a folder and in stores: the same of all of them."""

from __future__ import annotations

import os
import pickle
import stat
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from fsspec.implementations.memory import MemoryFileSystem

from hffs.data.folders import replace_file
from hffs.data.objects import LocalObjects, Objects, open_objects
from hffs.data.remote.filesystems import Entry, Store
from hffs.errors import AccessError, DataError, HffsError, SourceError
from tests.data.buckets import serving_buckets, use_endpoint, write_keys

DATA = bytes(range(256)) * 300


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving_buckets() as buckets, pytest.MonkeyPatch.context() as patch:
        use_endpoint(patch, buckets.endpoint)
        write_keys("kept", {"other": b"is not below it"})
        yield buckets.endpoint


@pytest.fixture(params=["folder", "url", "memory", "s3"])
def objects(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Objects:
    address: str | Path = tmp_path / "kept"
    if request.param == "url":
        address = f"file://{address}"
    elif request.param == "memory":
        address = f"memory://{tmp_path.name}/kept"
    elif request.param == "s3":
        use_endpoint(monkeypatch, request.getfixturevalue("endpoint"))
        address = f"s3://kept/be low/{tmp_path.name}/"
    return open_objects(address)


def test_what_is_written_is_listed_read_replaced_and_removed(objects: Objects) -> None:
    assert objects.names() == objects.names("of") == []
    objects.write("of/one.bin", DATA)
    objects.write("two.bin", b"")
    assert [(each.name, each.size_bytes) for each in objects.names()] == [
        ("of/one.bin", len(DATA)),
        ("two.bin", 0),
    ]
    (one,) = objects.names("of")
    assert one.name == "of/one.bin"
    assert one.time_s > 1.6e9
    assert objects.read("of/one.bin") == DATA
    assert objects.read("two.bin") == b""
    for start, stop in [(0, 10), (7, 1000), (70_000, 76_800), (5, 5), (76_000, 80_000)]:
        assert objects.read("of/one.bin", start, stop) == DATA[start:stop]
    objects.write("of/one.bin", b"less")
    assert objects.read("of/one.bin") == b"less"
    objects.touch("of/one.bin")
    objects.remove("of/one.bin")
    objects.remove("of/one.bin")
    assert [each.name for each in objects.names()] == ["two.bin"]
    with pytest.raises(SourceError, match=r"of/one\.bin: no such"):
        objects.read("of/one.bin")


def test_they_are_pickled_by_their_address(objects: Objects) -> None:
    objects.write("a", DATA)
    other = pickle.loads(pickle.dumps(objects))  # noqa: S301
    assert other.address == objects.address
    assert other.read("a", 3, 9) == DATA[3:9]


@pytest.mark.parametrize("name", ["", "../a", "a/../../b", "/etc/passwd", "a//b", ".", "a\nb"])
def test_a_name_never_leads_out(tmp_path: Path, name: str) -> None:
    objects = open_objects(tmp_path)
    for act in (
        objects.read, objects.remove, lambda each: objects.write(each, b"")
    ):  # fmt: skip
        with pytest.raises(DataError, match="no name of an object"):
            act(name)


def test_threads_write_at_once(objects: Objects) -> None:
    datas = [bytes([number]) * 1000 for number in range(8)]
    mask = os.umask(0o022)
    threads = [
        threading.Thread(target=objects.write, args=(name, data))
        for data in datas
        for name in ("same", f"own{data[0]}")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert os.umask(mask) == 0o022
    assert objects.read("same") in datas
    assert [objects.read(f"own{data[0]}") for data in datas] == datas


def test_a_folder_is_made_private_and_one_that_is_there_keeps_its_mode(tmp_path: Path) -> None:
    open_objects(tmp_path / "new").write("a/b", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("new", "new/a", "new/a/b")]
    assert modes == [0o700, 0o700, 0o600]
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o750)
    open_objects(tmp_path / "old").write("a/b", b"")
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("old", "old/a", "old/a/b")]
    assert modes == [0o750, 0o750, 0o640]


def test_nothing_is_made_before_something_is_written(tmp_path: Path) -> None:
    objects = open_objects(tmp_path / "new")
    assert objects.names() == []
    objects.remove("a")
    assert list(tmp_path.iterdir()) == []


def test_links_and_files_in_the_making_are_not_listed_and_go_in_time(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    objects.write("a", DATA)
    (tmp_path / "link").symlink_to(tmp_path / "a")
    (tmp_path / "loop").symlink_to(tmp_path)
    left = tmp_path / ".hffs-abcd1234"
    left.write_bytes(b"half")
    os.utime(left, (1e9, 1e9))
    with replace_file(tmp_path / "b") as file:
        file.write(b"not yet")
        file.flush()
        assert [each.name for each in objects.names()] == ["a"]
        objects.write("c", DATA)
    assert not left.exists()
    assert [each.name for each in objects.names()] == ["a", "b", "c"]


def test_touching_makes_a_file_the_last_used(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    objects.write("a", b"")
    os.utime(tmp_path / "a", (1e9, 1e9))
    objects.touch("a")
    objects.touch("none")
    assert objects.names()[0].time_s > 1.6e9


def test_what_the_system_refuses_is_said(tmp_path: Path, as_nobody: Callable[[], Any]) -> None:
    objects = open_objects(tmp_path / "kept")
    objects.write("a", b"")
    (tmp_path / "kept" / "a").chmod(0)
    (tmp_path / "kept").chmod(0o755)
    with as_nobody():
        with pytest.raises(AccessError, match="cannot read"):
            objects.read("a")
        with pytest.raises(AccessError, match="cannot write"):
            objects.write("b", b"")
    with pytest.raises(DataError, match="cannot read"):
        open_objects(tmp_path).read("kept")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("simplecache::s3://a/b", "chained"),
        ("simplecache::memory://a", "chained"),
        ("memory://a::file://b", "chained"),
        ("ftp://me:secret@host/a", "user name"),
        ("s3://", "no bucket"),
        ("none-such://a/b", "does not take it|no such store"),
        ("hdfs3://a/b", "cannot open"),
    ],
)
def test_an_address_that_is_not_taken(address: str, why: str) -> None:
    with pytest.raises(HffsError, match=why) as caught:
        open_objects(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("told", "time_s"),
    [
        ({"LastModified": datetime(2026, 1, 2, tzinfo=UTC)}, 1767312000),
        ({"updated": "2026-01-02T00:00:00.000Z"}, 1767312000),
        ({"mtime": 1767312000.5}, 1767312000.5),
        ({"updated": "today"}, 0),
        ({}, 0),
    ],
)
def test_when_an_object_changed_is_known_in_the_words_of_any_store(
    told: dict[str, object], time_s: float
) -> None:
    class Telling(MemoryFileSystem):  # type: ignore[misc]
        def find(self, path: str, **options: object) -> dict[str, dict[str, object]]:
            return {"/a": {"name": "/a", "size": 3, "type": "file", **told}}

    assert Store(Telling()).find_aged("/") == [(Entry("/a", 3, ANY), time_s)]


def test_what_a_store_refuses_is_said_without_credentials(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_endpoint(monkeypatch, endpoint)
    with pytest.raises(HffsError, match=r"s3://none-such/a/b: no such bucket") as caught:
        open_objects("s3://none-such/a").write("b", b"")
    assert "something" not in str(caught.value)


def test_nothing_is_written_where_it_would_not_be_listed(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "store").mkdir()
    (tmp_path / "store/shards").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="it is a symbolic link"):
        LocalObjects(tmp_path / "store").write("shards/a", b"a")
    assert not list((tmp_path / "elsewhere").iterdir())
