"""The files of a view, opened from its recording: as a mount has them, in any process."""

from __future__ import annotations

import errno
import pickle
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from hffs.cli.sources import choose_configs
from hffs.errors import DataError, FormatError
from hffs.view.files import OpenViewFiles, ViewFiles
from hffs.view.opening import open_view
from hffs.view.tree import Tree
from tests.view.conftest import Quiet, encode, write_set
from tests.view.portable import build, environ, record
from tests.view.test_composites import grid
from tests.view.test_model import listing, read

TILES = {"enabled": True, "image_count": 4, "select_index": "all"}


@pytest.fixture
def carry(tmp_path: Path) -> Callable[..., OpenViewFiles]:
    """Record a view, and what opens it on a host with other caches, pickled on the way."""

    def make(source: Path, keys: Mapping[str, Any] = {}) -> OpenViewFiles:
        record(source, tmp_path / "v.parquet", tmp_path / "here", keys)
        config = build(source, tmp_path / "there", keys)
        made = OpenViewFiles.of(config, (tmp_path / "v.parquet").read_bytes())
        again: OpenViewFiles = pickle.loads(pickle.dumps(made))  # noqa: S301 - our own
        assert again == made
        return again

    return make


def compare(tree: Tree, files: ViewFiles) -> int:
    expected = {name: read(tree, inode) for name, inode in listing(tree).items()}
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(files.read, expected)) == list(expected.values())
    return len(expected)


@pytest.mark.parametrize(
    ("keys", "count"),
    [
        ({}, 10),
        ({"group_by": "group", "metadata_jsonl": True}, 11),
        ({"image_format": "jpg", "composite_image_config": TILES}, 40),
        ({"shard": "1/2"}, 6),
    ],
)
def test_they_are_those_of_the_view(
    carry: Callable[..., OpenViewFiles], tmp_path: Path, keys: dict[str, Any], count: int
) -> None:
    images = [encode("JPEG", 1), grid(2, 2), encode("PNG", 2), grid(2, 2), encode("WEBP", 3)]
    texts = ["one", "two", "three", "four", "five"]
    source = write_set(tmp_path / "set.parquet", images, text=texts, group=list("abbaa"))
    whole = {name: value for name, value in keys.items() if name != "shard"}
    opens = carry(source, whole)
    if whole != keys:
        opens = OpenViewFiles.of(build(source, tmp_path / "there", keys), opens.view)
    with open_view(build(source, tmp_path / "here", keys), Quiet(), 1) as tree, opens() as files:
        assert compare(tree, files) == count


def test_what_is_no_file_is_an_error_as_of_a_folder(
    carry: Callable[..., OpenViewFiles], tmp_path: Path
) -> None:
    source = write_set(tmp_path / "set.parquet", [encode("JPEG")], group=["a"])
    with carry(source, {"group_by": "group"})() as files:
        assert files.read("a/0.jpg") == encode("JPEG")
        for name in ("0.jpg", "a/1.jpg", "a/0.jpg/x", "b/0.jpg", "", "../a/0.jpg", "a/0.txt"):
            with pytest.raises(FileNotFoundError) as missing:
                files.read(name)
            assert missing.value.filename == name
        with pytest.raises(IsADirectoryError):
            files.read("a")


def test_a_broken_image_is_told_and_others_are_read(
    carry: Callable[..., OpenViewFiles], tmp_path: Path
) -> None:
    images = [encode("PNG")[:500], encode("PNG")]
    source = write_set(tmp_path / "set.parquet", images)
    with carry(source, {"image_format": "jpg"})() as files:
        with pytest.raises(DataError, match=r"cannot render 0\.jpg"):
            files.read("0.jpg")
        assert files.read("1.jpg")


def test_what_may_not_be_read_is_an_error_as_of_a_mount(
    carry: Callable[..., OpenViewFiles], tmp_path: Path
) -> None:
    source = write_set(tmp_path / "set.parquet", ["http://127.0.0.1:9/0.jpg"])
    with carry(source)() as files, pytest.raises(OSError, match="127") as refused:
        files.read("0.jpg")
    assert refused.value.errno == errno.EACCES


def test_a_recorded_view_opens_where_its_source_was_moved(
    carry: Callable[..., OpenViewFiles], tmp_path: Path
) -> None:
    source = write_set(tmp_path / "set.parquet", [encode("JPEG")])
    opens = carry(source)
    moved = shutil.move(source, tmp_path / "moved.parquet")
    view = str(tmp_path / "v.parquet")
    flags: dict[str, object] = {"dataset_name": str(moved)}
    (config,) = choose_configs(view, flags, None, environ(tmp_path / "there")).configs
    with OpenViewFiles.of(config, opens.view)() as files:
        assert files.read("0.jpg") == encode("JPEG")
    shutil.move(moved, source)
    (config,) = choose_configs(view, {}, None, environ(tmp_path / "there")).configs
    assert OpenViewFiles.of(config, opens.view).place is None
    with OpenViewFiles.of(config, opens.view)() as files:
        assert files.read("0.jpg") == encode("JPEG")


def test_what_is_no_view_is_refused(tmp_path: Path) -> None:
    config = build(tmp_path / "set.parquet", tmp_path / "there", {})
    opens = OpenViewFiles.of(config, b"PAR1 is how many a file begins")
    with pytest.raises(FormatError, match="it is no view file"), opens():
        pass
