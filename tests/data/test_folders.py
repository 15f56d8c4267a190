"""Files that are complete or absent."""

import fcntl
import json
import os
from pathlib import Path

import pytest

from hffs.data.folders import replace_whole, write_json


def test_a_file_is_written_whole_into_a_folder_that_is_made(tmp_path: Path) -> None:
    path = tmp_path / "made/file.json"
    for value in (1, 2):
        write_json(path, {"value": value, "path": tmp_path})
        assert json.loads(path.read_text()) == {"value": value, "path": str(tmp_path)}
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert [each.name for each in path.parent.iterdir()] == ["file.json"]


def test_what_fails_leaves_the_file_before_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    write_json(path, {"value": 1})
    with pytest.raises(TypeError):
        write_json(path, {("no", "key"): 2})  # type: ignore[dict-item] # what JSON cannot have
    assert json.loads(path.read_text()) == {"value": 1}
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


def test_a_file_takes_the_place_of_another_with_its_mode(tmp_path: Path) -> None:
    path, mask = tmp_path / "file", os.umask(0o027)
    try:
        for mode, content in ((0o640, b"first"), (0o600, b"second")):
            with replace_whole(path) as file:
                file.write(content)
                assert path.exists() == (content == b"second")
            assert (path.read_bytes(), path.stat().st_mode & 0o777) == (content, mode)
            path.chmod(0o600)
    finally:
        os.umask(mask)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_who_fails_while_writing_leaves_the_file_before(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"before")
    with pytest.raises(ZeroDivisionError), replace_whole(path) as file:
        file.write(bytes([1 // 0]))
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_what_killed_writers_left_goes_and_what_is_being_written_stays(tmp_path: Path) -> None:
    left, young, held = (tmp_path / f".hffs-{name * 8}" for name in "abc")
    target = tmp_path / "target"
    for path in (left, young, held, target):
        path.write_bytes(b"half")
    (tmp_path / ".hffs-dddddddd").symlink_to(target)
    for path in (left, held, target):
        os.utime(path, (1, 1))
    with held.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with replace_whole(tmp_path / "file") as written:
            written.write(b"whole")
    assert not left.exists()
    assert young.exists()
    assert held.exists()
    assert target.exists()
