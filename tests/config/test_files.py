"""Files: what a file may look like, and one clear line for whatever else it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.config import Config, all_keys, build_config, load_file
from hffs.config.files import is_config_file
from hffs.errors import ConfigError

ENVIRON = {"HOME": "/home/me"}


def write(folder: Path, name: str, content: bytes | str) -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b'\xef\xbb\xbf{"type": "huggingface"}', "line 1, column 1: a byte order mark"),
        (b'{\n "dataset_name":\n  "\xff"}', "line 3, column 4: byte 0xff is not UTF-8"),
        ('{"dataset_name": "x",\n}', "line 1, column 21: a comma with nothing behind it"),
        ('[{"dataset_name": "x"},]', "line 1, column 23: a comma with nothing behind it"),
        ('{"dataset_name": "x" "split": "a"}', "line 1, column 22: expecting ',' delimiter"),
        ('{"dataset_name": "x"', "line 1, column 21: expecting ',' delimiter"),
        ('{"dataset_name": "x", "dataset_name": "y"}', "dataset_name stands twice in one object"),
        ('{"dataset_name": NaN}', "NaN is no number of JSON"),
        ('{"dataset_name": ' + "9" * 5000 + "}", "a number has too many digits"),
        ('{"dataset_name": ' + "[" * 100_000, "it is nested too deep"),
        ("[]", "it has no entry"),
        ('[{"dataset_name": "x"}, 5]', "entry 2 is not an object with keys"),
        ("5", "entry 1 is not an object with keys"),
        ("", "line 1, column 1: expecting value"),
    ],
)
def test_a_broken_json_file_is_one_line(tmp_path: Path, content: bytes | str, why: str) -> None:
    path = write(tmp_path, "photos.json", content)
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    assert str(caught.value).startswith(f"cannot use config {path}: {why}")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ('split = "a"\nsplit = "b"\n', "line 2, column 12: cannot overwrite a value"),
        ("split = \n", "line 1, column 9: invalid value"),
        ("split", "end of document: expected '=' after a key"),
        ("seed = " + "9" * 5000, "exceeds the limit (4300 digits)"),
        ("seed = " + "[" * 100_000, "it is nested too deep"),
        ("dataset = []", "it has no entry"),
        ("dataset = 5", "entry 1 is not an object with keys"),
        ('split = "a"\n[[dataset]]\nid = "x"', "beside [[dataset]] stands split; move it into"),
        (b"\xff", "line 1, column 1: byte 0xff is not UTF-8"),
    ],
)
def test_a_broken_toml_file_is_one_line(tmp_path: Path, content: bytes | str, why: str) -> None:
    path = write(tmp_path, "photos.toml", content)
    with pytest.raises(ConfigError) as caught:
        load_file(path)
    assert str(caught.value).startswith(f"cannot use config {path}: {why}")


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"photos\.toml: no such file or directory$"):
        load_file(tmp_path / "photos.toml")


@pytest.mark.parametrize(
    ("content", "ids"),
    [
        ('id = "a"\ndataset_name = "x"', ["a"]),
        ('[[dataset]]\nid = "a"\n[[dataset]]\ndataset_name = "org/b"', ["a", "org-b"]),
        ('[dataset]\nid = "a"', ["a"]),
    ],
)
def test_toml_holds_one_entry_or_several(tmp_path: Path, content: str, ids: list[str]) -> None:
    assert [entry.id for entry in load_file(write(tmp_path, "x.toml", content))] == ids


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.toml", "", True),
        ("a.TOML", "", True),
        ("a.json", '{"dataset_name": "x"}', True),
        ("a.json", '[{"id": 1}, {"type": "huggingface"}]', True),
        ("a.json", '{"huggingface": {}}', True),
        ("a.json", '{"instance_data_dir": "x", }', True),  # broken, and meant as one
        ("a.json", '[{"id": 1, "text": "a cat", "type": "photo"}]', False),
        ("a.json", '{"data": [{"dataset_name": "x"}]}', False),
        ("a.json", '{"id": 1}\n{"id": 2}', False),
        ("a.json", "not json", False),
        ("a.json", '{"dataset_name": "x", "y": "' + "z" * 2**22 + '"}', False),
        ("a.jsonl", '{"dataset_name": "x"}', False),
        ("a.parquet", '{"dataset_name": "x"}', False),
    ],
)
def test_a_config_file_is_told_from_data(
    tmp_path: Path, name: str, content: str, expected: bool
) -> None:
    assert is_config_file(str(write(tmp_path, name, content))) is expected


def test_a_json_file_that_is_not_there_and_a_folder_are_data(tmp_path: Path) -> None:
    (tmp_path / "set.toml").mkdir()
    assert not is_config_file(str(tmp_path / "set.toml"))
    assert not is_config_file(str(tmp_path / "missing.json"))


def test_regression_a_config_in_a_closed_folder_is_told_as_one(
    tmp_path: Path, as_nobody: Callable[[], Any]
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)
    file = write(tmp_path / "closed", "set.toml", 'dataset_name = "a/b"')
    with as_nobody():
        assert is_config_file(str(file))
        with pytest.raises(ConfigError, match=r"closed/set.toml: .*[Pp]ermission"):
            load_file(file)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=5,
)
KNOWN = [
    *Config.model_fields,
    *("huggingface", "config", "disabled", "repeats", "caption_strategy"),
]
BLOCK = st.dictionaries(
    st.sampled_from([*KNOWN, "where", "min_width", "collection", "quality_thresholds", "layout"]),
    JSON | st.dictionaries(st.sampled_from(["min_width", "enabled", "collection"]), JSON),
)
ENTRY = st.dictionaries(st.sampled_from(KNOWN) | st.text(max_size=5), JSON | BLOCK)


def outcome(path: Path, flags: dict[str, object]) -> Config | str:
    """What comes of a file: a Config, or the line that refuses it."""
    try:
        load_file(path)
        return build_config(str(path), flags, None, ENVIRON)
    except ConfigError as error:
        return str(error)


@settings(max_examples=80)
@given(content=JSON | st.lists(ENTRY, max_size=2) | ENTRY)
def test_any_json_is_a_config_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: object
) -> None:
    if isinstance(content, dict):
        content.setdefault("dataset_name", "org/photos")
    path = write(tmp_path_factory.getbasetemp(), "fuzz.json", json.dumps(content))
    found = outcome(path, {})
    assert isinstance(found, Config) or "\n" not in found


@settings(max_examples=80)
@given(flags=st.dictionaries(st.sampled_from(sorted(all_keys())), JSON, max_size=3))
def test_any_values_are_a_config_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, flags: dict[str, object]
) -> None:
    path = write(tmp_path_factory.getbasetemp(), "fuzz.toml", 'dataset_name = "org/photos"')
    found = outcome(path, flags)
    assert isinstance(found, Config) or found.encode().count(b"\n") == 0


@settings(max_examples=200)
@given(content=st.binary(max_size=40), name=st.sampled_from(["fuzz.json", "fuzz.toml"]))
def test_any_bytes_are_entries_or_one_line(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    found = outcome(write(tmp_path_factory.getbasetemp(), name, content), {})
    assert isinstance(found, Config) or "\n" not in found
