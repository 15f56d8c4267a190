from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hffs.data.locating.local import locate, source_identity
from hffs.errors import AccessError, DataError, HffsError, SourceError


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"some bytes")
    return root


def _names(source: Path | str, split: str = "train") -> list[str]:
    return [shard.name for shard in locate(str(source), split).shards]


def test_one_file(tmp_path: Path) -> None:
    path = _touch(tmp_path, "a.parquet") / "a.parquet"
    located = locate(str(path))
    (shard,) = located.shards
    assert (located.name, located.root) == (str(path), tmp_path)
    assert (shard.path, shard.name, shard.layout) == (path, "a.parquet", "parquet")
    assert (shard.size_bytes, shard.mtime_ns) == (10, path.stat().st_mtime_ns)
    assert locate(str(_touch(tmp_path, "B.ARROW") / "B.ARROW")).shards[0].layout == "arrow"


def test_relative_paths_and_home_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "a.parquet")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("a.parquet", "~/a.parquet", "*.parquet", "."):
        located = locate(name)
        assert located.shards[0].path == tmp_path / "a.parquet"
        assert located.name == name


def test_regression_shards_are_in_the_order_of_load_dataset(tmp_path: Path) -> None:
    _touch(tmp_path, "part-10.parquet", "part-2.parquet", "sub/0.parquet", "README.md")
    _touch(tmp_path, ".hidden.parquet", ".git/x.parquet", "__old/y.parquet", "part-2a.parquet")
    found = ["part-10.parquet", "part-2.parquet", "part-2a.parquet"]
    assert _names(tmp_path) == [*found, "sub/0.parquet"]
    assert _names(tmp_path / "*.parquet") == found


def test_regression_what_names_tell_counts_for_all_of_a_folder(tmp_path: Path) -> None:
    _touch(tmp_path, "data/train-00000-of-00001.parquet", "stats/sizes.parquet")
    assert _names(tmp_path) == ["data/train-00000-of-00001.parquet"]


def test_results_of_map_are_no_rows(tmp_path: Path) -> None:
    _touch(tmp_path, "set.arrow", "cache-0123456789abcdef.arrow", "cache-photos.arrow")
    _touch(tmp_path, "cache-0123456789abcdef_00000_of_00002.arrow")
    assert _names(tmp_path) == ["cache-photos.arrow", "set.arrow"]


def test_linked_folders_are_entered_once(tmp_path: Path) -> None:
    _touch(tmp_path / "elsewhere", "b.parquet")
    root = _touch(tmp_path / "set", "a.parquet")
    (root / "link").symlink_to(tmp_path / "elsewhere")
    (root / "loop").symlink_to(root)
    assert _names(root) == ["a.parquet", "link/b.parquet"]


def test_a_split_is_chosen_in_a_folder(tmp_path: Path) -> None:
    _touch(tmp_path, "data/train-00001-of-00002.parquet", "data/train-00000-of-00002.parquet")
    _touch(tmp_path, "data/extra-00000-of-00001.parquet", "data/test-00000-of-00001.parquet")
    assert _names(tmp_path) == [
        "data/train-00000-of-00002.parquet",
        "data/train-00001-of-00002.parquet",
    ]
    assert _names(tmp_path, "extra") == ["data/extra-00000-of-00001.parquet"]
    with pytest.raises(SourceError, match=r"split val of .*: there are: extra, test, train$"):
        locate(str(tmp_path), "val")


def test_files_that_are_named_need_no_split(tmp_path: Path) -> None:
    _touch(tmp_path, "test-0.parquet", "test-1.parquet", "train-0.parquet")
    assert _names(tmp_path / "test-0.parquet") == ["test-0.parquet"]
    assert _names(tmp_path / "test-0.parquet", "test") == ["test-0.parquet"]
    assert _names(tmp_path / "test-*.parquet") == ["test-0.parquet", "test-1.parquet"]
    assert _names(tmp_path / "*.parquet") == ["train-0.parquet"]
    assert _names(tmp_path / "*.parquet", "test") == ["test-0.parquet", "test-1.parquet"]
    for name in ("test-0.parquet", "*.parquet"):
        with pytest.raises(SourceError, match=r"split extra of .*: there are: test"):
            locate(str(tmp_path / name), "extra")


def test_a_glob_takes_data_files_only(tmp_path: Path) -> None:
    _touch(tmp_path, "a/10.parquet", "a/9.parquet", "a/b/1.parquet", "a/README.md", "[x].parquet")
    assert _names(tmp_path / "a" / "*") == ["10.parquet", "9.parquet"]
    assert _names(tmp_path / "**" / "[0-9].parquet") == ["a/9.parquet", "a/b/1.parquet"]
    assert _names(tmp_path / "[x].parquet") == ["[x].parquet"]
    with pytest.raises(SourceError, match=r"no Parquet or Arrow file here \(found 1 \.md file\)"):
        locate(str(tmp_path / "a" / "*.md"))


def _save_to_disk(folder: Path, *names: str) -> Path:
    _touch(folder, *names)
    state = {"_data_files": [{"filename": name} for name in names], "_split": "test"}
    (folder / "state.json").write_text(json.dumps(state))
    return folder


def test_save_to_disk_is_read_in_the_order_of_its_state(tmp_path: Path) -> None:
    names = ["data-00001-of-00002.arrow", "data-00000-of-00002.arrow"]
    folder = _save_to_disk(tmp_path / "saved", *names)
    _touch(folder, "cache-0123456789abcdef.arrow")
    assert _names(folder) == names


def test_a_saved_dict_picks_the_split(tmp_path: Path) -> None:
    for split in ("train", "test"):
        _save_to_disk(tmp_path / split, "data-00000-of-00001.arrow")
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["train", "test", "../x", 3]}')
    assert _names(tmp_path, "test") == ["test/data-00000-of-00001.arrow"]
    assert locate(str(tmp_path)).root == tmp_path
    with pytest.raises(SourceError, match=r"split \.\./x of .*: there are: test, train$"):
        locate(str(tmp_path), "../x")


@pytest.mark.parametrize(
    "state",
    ["{", "[]", "{}", '{"_data_files": 3}', '{"_data_files": [{"filename": "../a.arrow"}, 3]}'],
)
def test_a_broken_state_is_a_data_error(state: str, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text(state)
    with pytest.raises(DataError, match=r"cannot (read|use) .*state\.json: "):
        locate(str(tmp_path))


def _make_bad(root: Path) -> None:
    _touch(root, "mixed/a.parquet", "mixed/b.arrow", "folder.parquet/a.txt", "notes.csv")
    _touch(root, *(f"photos/{n}.jpg" for n in range(12)), "photos/list.csv", "photos/LICENSE")
    (root / "bare").mkdir()
    (root / "empty.parquet").write_bytes(b"")
    (root / "dead").mkdir()
    (root / "dead" / "a.parquet").symlink_to("gone")
    os.mkfifo(root / "pipe.parquet")


@pytest.mark.parametrize(
    ("name", "kind", "message"),
    [
        ("gone.parquet", SourceError, "gone.parquet: no such file or folder; check the path"),
        ("gone/*.parquet", SourceError, "no file matches this pattern; check it"),
        ("notes.csv", SourceError, r"no Parquet or Arrow file here \(found 1 \.csv file\)"),
        ("photos", SourceError, "found 12 .jpg files, 1 .csv file, 1 no-suffix file"),
        ("bare", SourceError, r"no Parquet or Arrow file here \(nothing found\)"),
        ("folder.parquet", SourceError, "found 1 .txt file"),
        ("mixed", DataError, r"are mixed \(a.parquet, b.arrow\); name one kind by a glob"),
        ("empty.parquet", DataError, "empty.parquet: the file is empty"),
        ("dead", SourceError, "a.parquet: no such file or folder"),
        ("dead/*", SourceError, "a.parquet: no such file or folder"),
        ("pipe.parquet", SourceError, "not a regular file"),
        ("notes.csv/x.parquet", SourceError, "not a directory"),
        ("a" * 300, SourceError, "file name too long"),
    ],
)
def test_what_cannot_be_used_is_one_clear_line(
    name: str, kind: type[HffsError], message: str, tmp_path: Path
) -> None:
    _make_bad(tmp_path)
    with pytest.raises(HffsError, match=message) as caught:
        locate(str(tmp_path / name))
    assert type(caught.value) is kind
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("user/name", "cannot open user/name: no such file or folder; check the path; a data set"),
        ("hf://datasets/user/name", "nothing here reads such an address; give a path, owner/name"),
        ("", "this is no path"),
        ("a\0b", "this is no path"),
        ("mnist", "no such file or folder"),
    ],
)
def test_names_that_are_no_local_path(name: str, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        locate(name)


def test_what_may_not_be_read_is_an_access_error(
    tmp_path: Path, as_nobody: Callable[[], Any]
) -> None:
    folder = _touch(tmp_path / "closed", "a.parquet", "sub/b.parquet")
    shards = locate(str(folder)).shards
    (folder / "a.parquet").chmod(0)
    (folder / "sub").chmod(0)
    with as_nobody():
        with pytest.raises(AccessError, match="permission denied"):
            source_identity(shards)
        for name in (folder, folder / "sub" / "b.parquet"):
            with pytest.raises(AccessError, match="permission denied"):
                locate(str(name))


def test_identity_is_of_content_and_time_not_of_place(tmp_path: Path) -> None:
    def identity(folder: str, data: bytes, mtime_ns: int = 5, name: str = "a.parquet") -> str:
        (tmp_path / folder).mkdir(exist_ok=True)
        path = tmp_path / folder / name
        path.write_bytes(data)
        os.utime(path, ns=(mtime_ns, mtime_ns))
        return source_identity(locate(str(path)).shards)

    data = bytes(300_000)
    first = identity("one", data)
    assert identity("two", data) == first
    others = [
        identity("one", b"x" + data[1:]),
        identity("one", data[:-1] + b"x"),
        identity("one", data + b"\0"),
        identity("one", data, mtime_ns=6),
        identity("one", data, name="b.parquet"),
    ]
    assert len({first, *others}) == 6
