"""What a local path means that only `datasets` understands; no host is ever asked."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from hffs.data.hub.resolution import HubFile, Request
from hffs.data.hub.resolve_local import _require_inside
from hffs.errors import DataError
from tests.data.hub.conftest import Asker
from tests.hub import HubServer


@pytest.fixture(scope="module")
def watched() -> Iterator[HubServer]:
    """A Hub that nobody may ask."""
    with HubServer() as server:
        yield server
        assert server.requests == []


@pytest.fixture(scope="module")
def local(watched: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asker]:
    folder = tmp_path_factory.mktemp("local")
    with Asker.start(folder, watched.env(folder / "hf")) as process:
        yield process
    assert process.stderr.read_text() == ""


def _write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def _names(found: dict[str, Any], folder: Path, split: str = "train") -> list[str]:
    return [os.path.relpath(file["name"], folder) for file in found["files"][split]]


def test_a_folder_follows_the_rules_of_datasets(local: Asker, tmp_path: Path) -> None:
    images = {"train/cat/0.png": b"x", "train/metadata.csv": b"file_name\n", "test/dog/1.png": b""}
    folder = _write(tmp_path / "images", images)
    found = local("resolve_local", str(folder))
    assert (found["format"], found["commit"], found["name"]) == ("imagefolder", "", str(folder))
    assert sorted(_names(found, folder)) == ["train/cat/0.png", "train/metadata.csv"]
    [tested] = local("resolve_local", str(folder), splits=["test"])["files"]["test"]
    status = (folder / "test/dog/1.png").stat()
    assert tested["name"] == str(folder / "test/dog/1.png")
    assert (tested["size_bytes"], tested["etag"]) == (0, f"0-{status.st_mtime_ns}")
    kind, line = local.refusal("resolve_local", str(folder), splits=["val"])
    assert (kind, "test, train" in line) == ("SourceError", True)


def test_a_card_has_configs(local: Asker, tmp_path: Path) -> None:
    card = b"---\nconfigs:\n- {config_name: a, data_files: x.csv, sep: ';'}\n"
    card += b"- {config_name: b, data_files: y.csv}\n---\n"
    folder = _write(tmp_path / "set", {"README.md": card, "x.csv": b"a\n1\n", "y.csv": b"a\n"})
    found = local("resolve_local", str(folder), config="a")
    assert (found["config"], found["options"], _names(found, folder)) == (
        "a",
        {"sep": ";"},
        ["x.csv"],
    )
    kind, line = local.refusal("resolve_local", str(folder))
    assert (kind, "a, b" in line) == ("SourceError", True)


SPLITS = b"""---
configs:
- {config_name: other, data_files: other.csv}
- config_name: default
  data_files:
  - {split: train, path: train.csv}
  - {split: test, path: test.csv}
  - {split: more, path: more/*}
---
"""


def test_regression_a_snapshot_needs_no_other_split_nor_configuration(
    local: Asker, tmp_path: Path
) -> None:
    card = SPLITS.replace(b"train.csv", b"data/train-*").replace(b"test.csv", b"data/test-*")
    named = _write(tmp_path / "named", {"README.md": SPLITS, "train.csv": b"a\n1\n"})
    globbed = _write(tmp_path / "globbed", {"README.md": card, "data/train-0.csv": b"a\n1\n"})
    for folder, name in ((named, "train.csv"), (globbed, "data/train-0.csv")):
        given = {"folder": str(folder), "offline": True}
        found = local("resolve_snapshot", "me/set", **given)
        assert (found["name"], _names(found, folder)) == ("me/set", [name])
        for splits in (["test"], ["more"], ["train", "test"]):
            kind, line = local.refusal("resolve_snapshot", "me/set", splits=splits, **given)
            told = ("cannot read me/set: offline", ", ".join(splits), "HF_HUB_OFFLINE")
            assert (kind, [word in line for word in told]) == ("SourceError", [True] * 3), line
        kind, line = local.refusal("resolve_snapshot", "me/set", splits=["nix"], **given)
        assert line == "cannot find split nix of me/set: there are: more, test, train"


def test_classes_of_a_snapshot_are_those_of_all_splits_that_are_there(
    local: Asker, tmp_path: Path
) -> None:
    card = SPLITS.replace(b"train.csv", b"train/**").replace(b"test.csv", b"test/**")
    images = {"train/cat/0.png": b"x", "train/dog/1.png": b"x", "test/ant/2.png": b"x"}
    folder = _write(tmp_path / "classes", {"README.md": card} | images)
    found = local("resolve_snapshot", "me/set", folder=str(folder), offline=True)
    assert found["options"]["features"]["label"]["names"] == ["ant", "cat", "dog"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("x.csv", "csv"), ("x.tsv", "csv"), ("x.jsonl", "json"), ("x.tar", "webdataset")],
)
def test_one_file_is_taken_alone(local: Asker, tmp_path: Path, name: str, kind: str) -> None:
    card = b"---\nconfigs:\n- {config_name: a, data_files: no.csv}\n---\n"
    folder = _write(tmp_path / "a [set]", {name: b"{}\n", "README.md": card, "z.parquet": b"x"})
    found = local("resolve_local", str(folder / name))
    assert (found["format"], _names(found, folder)) == (kind, [name])
    kind, line = local.refusal("resolve_local", str(folder / name), splits=["test"])
    assert (kind, "there are: train" in line) == ("SourceError", True)


def test_data_files_belong_to_a_folder(local: Asker, tmp_path: Path) -> None:
    file = _write(tmp_path, {"x.csv": b"a\n"}) / "x.csv"
    kind, line = local.refusal("resolve_local", str(file), data_files=["x.csv"])
    assert (kind, "no folder" in line) == ("SourceError", True)


def test_a_glob_and_data_files_choose_in_order(local: Asker, tmp_path: Path) -> None:
    folder = _write(tmp_path / "set", {f"{n}/x.jsonl": b"{}\n" for n in "cab"} | {"d/y.txt": b""})
    found = local("resolve_local", str(folder / "*/*.jsonl"))
    assert (found["format"], _names(found, folder)) == ("json", [f"{n}/x.jsonl" for n in "abc"])
    found = local(
        "resolve_local", str(folder), data_files={"mine": ["b/*", "a/*"]}, splits=["mine"]
    )
    assert _names(found, folder, "mine") == ["b/x.jsonl", "a/x.jsonl"]


def test_zip_archives_are_looked_into(local: Asker, tmp_path: Path) -> None:
    folder = tmp_path / "zipped"
    folder.mkdir()
    with zipfile.ZipFile(folder / "train.zip", "w") as archive:
        archive.writestr("0.png", b"x")
    found = local("resolve_local", str(folder))
    assert (found["format"], _names(found, folder)) == ("imagefolder", ["train.zip"])
    assert local("resolve_local", str(folder / "train.zip"))["format"] == "imagefolder"
    (folder / "train.zip").write_bytes(b"PK no archive")
    kind, line = local.refusal("resolve_local", str(folder))
    assert (kind, str(folder) in line) == ("DataError", True)


@pytest.mark.parametrize("name", ["train.parquet", "train.arrow", "train.tar"])
def test_regression_what_is_served_in_place_is_refused_in_a_zip(
    local: Asker, tmp_path: Path, name: str
) -> None:
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr(name, b"x")
    kind, line = local.refusal("resolve_local", str(tmp_path))
    told = [word in line for word in ("in a zip (train.zip)", "unpack it")]
    assert (kind, told) == ("DataError", [True, True]), line


@pytest.mark.parametrize(
    ("files", "kind", "word"),
    [
        ({}, "DataError", "no files"),
        ({"x.pkl": b"x"}, "DataError", "no files"),
        (
            {"x.mp4": b"x"},
            "DataError",
            "it holds videos, no images; mount these by --dataset-type video",
        ),
        ({"bad.py": b"1", "x.csv": b"a\n"}, "DataError", "never runs"),
        ({"README.md": b"---\nconfigs: [\n---\n", "x.csv": b"a\n"}, "DataError", "cannot use"),
    ],
)
def test_what_cannot_be_used(
    local: Asker, tmp_path: Path, files: dict[str, bytes], kind: str, word: str
) -> None:
    folder = _write(tmp_path / "bad", files)
    folder.mkdir(exist_ok=True)
    got, line = local.refusal("resolve_local", str(folder))
    assert (got, word in line, str(folder) in line) == (kind, True, True), line


def test_a_path_that_is_not_there(local: Asker, tmp_path: Path) -> None:
    for name in ("none", "none.csv", "*.csv"):
        kind, line = local.refusal("resolve_local", str(tmp_path / name))
        assert (kind, str(tmp_path / name) in line) == ("SourceError", True), line


@pytest.mark.parametrize("where", ["data_files", "data_dir"])
def test_nobody_is_asked_whatever_a_folder_says(
    local: Asker, watched: HubServer, tmp_path: Path, where: str
) -> None:
    for number, url in enumerate(
        (f"{watched.endpoint}/x.csv", "hf://datasets/a/b/x.csv", "/etc/*", "../*", "file:/etc/*")
    ):
        card = f"---\nconfigs:\n- {{config_name: a, {where}: '{url}'}}\n---\n".encode()
        folder = _write(tmp_path / str(number), {"README.md": card, "x.csv": b"a\n1\n"})
        kind, line = local.refusal("resolve_local", str(folder))
        assert (kind, "outside of it" in line) == ("DataError", True)
    folder = _write(tmp_path / "plain", {"x.csv": b"a\n1\n"})
    for url in (f"{watched.endpoint}/x.csv", "zip://x.csv::x.zip"):
        kind, line = local.refusal("resolve_local", str(folder), data_files=[url])
        assert (kind, "it is a URL" in line) == ("SourceError", True)


def test_files_outside_of_a_folder_are_refused_whoever_named_them(tmp_path: Path) -> None:
    """Nothing that a README.md says comes this far: should it ever."""
    request = Request(str(tmp_path / "set"))
    (tmp_path / "set").mkdir()
    for name, is_inside in (("set/x.csv", True), ("set2/x.csv", False), ("x.csv", False)):
        files = {"train": (HubFile(str(tmp_path / name), 1, ""),)}
        refused = nullcontext() if is_inside else pytest.raises(DataError, match="not in it")
        with refused:
            _require_inside(request, tmp_path / "set", files)
