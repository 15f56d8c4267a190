"""Records of sources that were downloaded or made: found again only as long as they hold."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from hffs.config import Config, build_config
from hffs.data.hub.resolution import Request
from hffs.data.locating.record import (
    Record,
    Wanted,
    find_missing,
    find_source,
    is_hub_id,
    keep_acquired,
    load_acquired,
    name_source,
    parse_name,
    pin_files,
    read_record,
)
from hffs.data.shards import Located, Pin, Shard, Term, identify
from hffs.errors import ConfigError, MountError, SourceError

COMMIT = "3f2a" * 10


def _want(request: Request) -> Wanted:
    return Wanted(request)


def _config(name: str, **keys: object) -> Config:
    return build_config(name, keys, None, os.environ)


@pytest.mark.parametrize("name", ["owner/name", "o-w/n.a-m_e", "1/2"])
def test_an_id_on_the_hub_has_an_owner_and_a_name(name: str) -> None:
    assert is_hub_id(name)


@pytest.mark.parametrize(
    "name", ["name", "a/b/c", "/a/b", "photos/a.parquet", "sets/list.JSONL", "a/", "../a", "a b/c"]
)
def test_other_names_are_paths_and_no_request_is_made_for_them(name: str) -> None:
    assert not is_hub_id(name)
    with pytest.raises(SourceError, match="no such file or folder"):
        find_source(_want(Request(name)), Path("/nowhere"))


def test_addresses_of_the_hub_mean_an_id_and_a_revision() -> None:
    assert parse_name("owner/name", "v1") == ("owner/name", "v1")
    assert parse_name("hf://datasets/owner/name", "v1") == ("owner/name", "v1")
    assert parse_name("hf://datasets/owner/name@v2/", "main") == ("owner/name", "v2")
    assert parse_name("hf://datasets/owner/name@v2", "v2") == ("owner/name", "v2")


def test_regression_a_revision_in_the_name_may_be_quoted_and_is_not_overruled() -> None:
    quoted = "hf://datasets/owner/name@refs%2Fconvert%2Fparquet"
    assert parse_name(quoted, "main") == ("owner/name", "refs/convert/parquet")
    with pytest.raises(ConfigError, match=r"cannot use revision v1: .* means revision v2"):
        parse_name("hf://datasets/owner/name@v2", "v1")


def test_splits_are_asked_for_once_each() -> None:
    wanted = name_source(
        _config("owner/name", split="train[:5]+test+train[9:]", image_column="photo")
    )
    assert wanted.request.splits == ("train", "test")
    assert wanted.split == "train[:5]+test+train[9:]"


def _acquired(folder: Path) -> Located:
    shards = []
    for name in ("a.parquet", "b.parquet"):
        path = folder / name
        path.write_bytes(b"PAR1")
        found = path.stat()
        shards.append(Shard(path, name, found.st_size, found.st_mtime_ns, "parquet"))
    (folder / "snapshot").mkdir(exist_ok=True)
    (folder / "snapshot/a.tar").write_bytes(b"tar")
    return Located(
        "owner/name",
        folder,
        tuple(shards),
        terms=((Term("train", "[:5]"), 1), (Term("test"), 1)),
        base=folder / "snapshot",
        commit=COMMIT,
        pins=(Pin("webdataset", 0, ""), Pin("a.tar", 3, "etag"), Pin("a.parquet", 4, "etag")),
        features='{"info": {}}',
    )


def test_a_record_is_what_was_kept_until_its_files_change(tmp_path: Path) -> None:
    wanted = _want(Request("owner/name", revision=COMMIT))
    located = _acquired(tmp_path)
    assert load_acquired(wanted, tmp_path / "store") is None
    keep_acquired(wanted, tmp_path / "store", Record(located))
    assert load_acquired(wanted, tmp_path / "store") == located
    assert find_source(wanted, tmp_path / "store") == located
    (tmp_path / "b.parquet").unlink()
    assert load_acquired(wanted, tmp_path / "store") is None
    assert read_record(wanted, tmp_path / "store") == Record(located)
    assert list(find_missing(located)) == ["b.parquet"]
    os.utime(tmp_path / "a.parquet", ns=(1, 1))
    assert list(find_missing(located)) == ["a.parquet", "b.parquet"]


def test_regression_what_was_found_offline_is_not_believed_by_who_may_ask(tmp_path: Path) -> None:
    for revision in ("main", COMMIT):
        wanted = _want(Request("owner/name", revision=revision))
        offline = replace(wanted, request=replace(wanted.request, offline=True))
        located = _acquired(tmp_path)
        found = Record(located, pin_files(str(tmp_path / "snapshot")))
        keep_acquired(offline, tmp_path / "store", found)
        assert load_acquired(offline, tmp_path / "store") == located
        assert load_acquired(wanted, tmp_path / "store") is None
        (tmp_path / f"snapshot/{revision}.parquet").write_bytes(b"more")
        assert load_acquired(offline, tmp_path / "store") is None
        keep_acquired(wanted, tmp_path / "store", Record(located))
        assert load_acquired(offline, tmp_path / "store") == located


def test_regression_a_table_is_not_enough_without_the_files_that_it_names(tmp_path: Path) -> None:
    wanted = _want(Request("owner/name", revision=COMMIT))
    located = _acquired(tmp_path)
    keep_acquired(wanted, tmp_path / "store", Record(located))
    (tmp_path / "snapshot/a.tar").write_bytes(b"ta")
    assert list(find_missing(located)) == ["a.tar"]
    (tmp_path / "snapshot/a.tar").unlink()
    assert load_acquired(wanted, tmp_path / "store") is None


def test_regression_a_record_that_cannot_be_written_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(MountError, match=r"cannot write .*sources.*: Not a directory; free"):
        keep_acquired(_want(Request("owner/name")), tmp_path / "store", Record(_acquired(tmp_path)))


def test_a_branch_is_asked_for_again_unless_offline(tmp_path: Path) -> None:
    for request, found in (
        (Request("owner/name"), False),
        (Request("owner/name", offline=True), True),
        (Request("owner/name", revision=COMMIT), True),
    ):
        wanted = _want(request)
        keep_acquired(wanted, tmp_path / "store", Record(_acquired(tmp_path)))
        assert (find_source(wanted, tmp_path / "store") is not None) == found


@pytest.mark.parametrize(
    "other",
    [
        Request("owner/other"),
        Request("owner/name", config="b"),
        Request("owner/name", revision="dev"),
        Request("owner/name", data_files=("a",)),
        Request("owner/name", data_files={"train": ("a",)}),
    ],
)
def test_what_is_asked_otherwise_is_kept_apart(other: Request, tmp_path: Path) -> None:
    wanted = _want(Request("owner/name"))
    keep_acquired(wanted, tmp_path / "store", Record(_acquired(tmp_path)))
    assert read_record(_want(other), tmp_path / "store") is None
    for changed in (replace(wanted, split="test"), replace(wanted, column="x")):
        assert read_record(changed, tmp_path / "store") is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 5}'])
def test_a_damaged_record_is_none(content: bytes, tmp_path: Path) -> None:
    wanted = _want(Request("owner/name"))
    keep_acquired(wanted, tmp_path / "store", Record(_acquired(tmp_path)))
    (record,) = (tmp_path / "store" / "sources").iterdir()
    record.write_bytes(content)
    assert read_record(wanted, tmp_path / "store") is None


def test_a_record_with_a_damaged_byte_is_what_it_was_or_none(tmp_path: Path) -> None:
    wanted = _want(Request("owner/name"))
    kept = Record(_acquired(tmp_path))
    keep_acquired(wanted, tmp_path / "store", kept)
    (path,) = (tmp_path / "store" / "sources").iterdir()
    whole = path.read_bytes()
    for at in range(len(whole)):
        for mask in (1, 4, 0x80):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ mask]) + whole[at + 1 :])
            assert read_record(wanted, tmp_path / "store") in (None, kept)


def test_a_local_folder_is_looked_at_again_when_it_changes(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    (folder / "cats").mkdir(parents=True)
    (folder / "cats" / "1.jpg").write_bytes(b"1")
    (folder / "metadata.csv").write_text("file_name\ncats/1.jpg\n")
    wanted: Wanted = _want(Request(str(folder)))

    def is_kept() -> bool:
        return find_source(wanted, tmp_path / "store") is not None

    changes: list[Callable[[], object]] = [
        lambda: (folder / "cats" / "2.jpg").write_bytes(b"2"),
        lambda: (folder / "metadata.csv").write_text("file_name\ncats/2.jpg\n"),
        lambda: (folder / "cats" / "2.jpg").unlink(),
        lambda: (folder / "cats" / "1.jpg").rename(folder / "cats" / "3.jpg"),
        lambda: (folder / "x.tar").write_bytes(b"tar"),
    ]
    for change in changes:
        keep_acquired(
            wanted, tmp_path / "store", Record(_acquired(tmp_path), pin_files(str(folder)))
        )
        assert is_kept()
        change()
        assert not is_kept()


def test_identity_is_of_pins_and_not_of_where_files_lie(tmp_path: Path) -> None:
    located = _acquired(tmp_path)
    moved = replace(located, root=Path("/x"), base=Path("/y"), shards=located.shards[:1])
    assert identify(moved) == identify(located)
    for other in (
        replace(located, commit="0" * 40),
        replace(located, name="owner/other"),
        replace(located, pins=(Pin("a.parquet", 4, "other"),)),
        replace(located, terms=((Term("train", "[:6]"), 1), (Term("test"), 1))),
    ):
        assert identify(other) != identify(located)
