"""Files that are complete or absent."""

import json
from pathlib import Path

import pytest

from hffs.data.folders import write_json


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
