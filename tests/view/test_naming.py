"""What files are called and where they lie, in every combination of the keys that say so."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from hffs.core.inodes import ROOT, first_free_inode
from hffs.core.types import Inode
from hffs.errors import ConfigError, MissingError
from hffs.view.tree import Tree
from tests.view.conftest import OpenTree, Quiet, encode, write_set

JPEGS = [encode("JPEG", seed, (20 + seed, 30)) for seed in range(6)]
TEXTS = ["a", None, "c", 'd "quoted" é', "e", "f"]
KINDS = ["dog", "cat", "cat", None, "a/b", "dog"]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_set(tmp_path / "a.parquet", JPEGS, caption=TEXTS, kind=KINDS)


def walk(tree: Tree, folder: Inode = ROOT) -> dict[str, Inode]:
    """Inode of every file by its path; what a listing says must be what look-ups say."""
    found: dict[str, Inode] = {}
    entries = list(tree.entries(folder, 0))
    for number, entry in enumerate(entries):
        assert list(tree.entries(folder, entry.next_id)) == entries[number + 1 :]
        assert tree.lookup(folder, entry.name) == entry.inode
        assert tree.size_bytes(entry.inode) == entry.size_bytes
        if tree.is_folder(entry.inode):
            found |= walk(tree, entry.inode)
        else:
            found[tree.name(entry.inode)] = entry.inode
    return found


def read(tree: Tree, inode: Inode) -> bytes:
    tree.prepare(inode)
    ready = tree.ready(inode)
    return bytes(tree.request(inode).result(20) if ready is None else ready)


def paths(tree: Tree) -> list[str]:
    return list(walk(tree))


CHOICES: dict[str, list[object]] = {
    "names": ["position", "row"],
    "name_width": [0, 4],
    "caption_extension": ["txt", "caption"],
    "images_only": [False, True],
    "metadata_jsonl": [False, True],
    "group_by": [None, "kind"],
}


@pytest.mark.parametrize("values", list(itertools.product(*CHOICES.values())))
def test_any_combination_is_a_sound_tree(
    open_tree: OpenTree, source: Path, values: tuple[object, ...]
) -> None:
    keys = dict(zip(CHOICES, values, strict=True))
    tree = open_tree(source, **{name: value for name, value in keys.items() if value is not None})
    found = walk(tree)
    assert len(set(found.values())) == len(found) == tree.files
    for path, inode in found.items():
        assert len(read(tree, inode)) == tree.size_bytes(inode)
        if not path.endswith("metadata.jsonl"):
            row = int(tree.xattrs(inode)["user.hffs.row"])
            assert path.startswith(f"{(KINDS[row] or '').replace('/', '_')}/" * ("/" in path))
            if keys["names"] == "row":
                assert int(path.split("/")[-1].split(".")[0]) == row
            if path.endswith(".jpg"):
                assert read(tree, inode) == JPEGS[row]
            else:
                assert read(tree, inode).decode() == TEXTS[row]
    assert tree.known_bytes() == sum(len(read(tree, inode)) for inode in found.values())
    with pytest.raises(MissingError):
        tree.size_bytes(Inode(first_free_inode(tree.positions) + 1 + tree.folders))


def test_rows_keep_their_names_when_the_filter_changes(open_tree: OpenTree, source: Path) -> None:
    whole = walk(open_tree(source, names="row"))
    assert list(whole) == [f"{row}.{kind}" for row in (0, 2, 3, 4, 5) for kind in ("jpg", "txt")]
    some = open_tree(source, names="row", filter_func__where="kind = 'dog'")
    assert paths(some) == ["0.jpg", "0.txt", "5.jpg", "5.txt"]
    assert some.lookup(ROOT, b"1.jpg") is None
    assert some.lookup(ROOT, b"3.jpg") is None


def test_images_of_one_row_have_numbers_of_their_own(open_tree: OpenTree, tmp_path: Path) -> None:
    images = [{"bytes": image, "path": None} for image in JPEGS]
    cells = [images[:1], images[1:4], [], images[4:]]
    source = write_set(tmp_path / "lists.parquet", cells, caption=list("abcd"), n=[1, 3, 0, 2])
    assert paths(open_tree(source, names="row", images_only=True)) == [
        f"{number}.jpg" for number in (0, 3, 4, 5, 9, 10)
    ]
    some = open_tree(source, names="row", images_only=True, filter_func__where="n = 2")
    assert paths(some) == ["9.jpg", "10.jpg"]


def test_padded_names_are_exact(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source, name_width=4)
    assert paths(tree)[:3] == ["0000.jpg", "0000.txt", "0001.jpg"]
    for name in (b"0.jpg", b"000.jpg", b"00000.jpg", b"0009.jpg"):
        assert tree.lookup(ROOT, name) is None


def test_images_alone_need_no_captions(open_tree: OpenTree, source: Path, watcher: Quiet) -> None:
    assert paths(open_tree(source, images_only=True)) == [f"{row}.jpg" for row in range(6)]
    assert watcher.notices == []


def test_metadata_tells_names_captions_and_sizes(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source, metadata_jsonl=True, images_only=True, group_by="kind", names="row")
    found = walk(tree)
    assert list(found)[-1] == "metadata.jsonl"
    lines = [json.loads(line) for line in read(tree, found["metadata.jsonl"]).splitlines()]
    # In the order of the source, row 3 has no folder and row 1 no caption.
    assert [line["file_name"] for line in lines] == [
        "dog/0.jpg", "cat/2.jpg", "a_b/4.jpg", "dog/5.jpg",
    ]  # fmt: skip
    for line in lines:
        row = int(line["file_name"].split("/")[1].split(".")[0])
        assert line["image_path"] == line["file_name"]
        assert line["text"] == line["caption"] == TEXTS[row]
        assert line["image_size"] == [line["width"], line["height"]] == [20 + row, 30]
        assert found[line["file_name"]]


def test_metadata_takes_sizes_from_columns_and_says_null_for_none(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    images = [JPEGS[0], JPEGS[1], b"no image"]
    source = write_set(tmp_path / "b.parquet", images, caption=list("abc"))
    tree = open_tree(source, metadata_jsonl=True)
    lines = read(tree, walk(tree)["metadata.jsonl"]).splitlines()
    assert [json.loads(line)["image_size"] for line in lines] == [[20, 30], [21, 30], None]
    write_set(source, images, caption=list("abc"), width=[7, 8, 9], height=[1, 2, 3])
    tree = open_tree(source, metadata_jsonl=True)
    lines = read(tree, walk(tree)["metadata.jsonl"]).splitlines()
    assert [json.loads(line)["image_size"] for line in lines] == [[7, 1], [8, 2], [9, 3]]


def test_class_labels_name_folders(open_tree: OpenTree, tmp_path: Path, watcher: Quiet) -> None:
    features = Features(
        image=Image(), label=ClassLabel(names=["zebra", "ant"]), text=Value("string")
    )
    cells = [{"bytes": image, "path": None} for image in JPEGS[:4]]
    rows = {"image": cells, "label": [0, 1, 0, None], "text": list("abcd")}
    path = tmp_path / "c.parquet"
    Dataset.from_dict(rows, features=features).to_parquet(path)
    tree = open_tree(path, group_by="label", images_only=True)
    assert paths(tree) == ["ant/1.jpg", "zebra/0.jpg", "zebra/2.jpg"]
    assert tree.manifest.info.dropped == (("no value to group by", 1),)
    assert watcher.notices == [f"left out of {path}: no value to group by: 1"]
    assert tree.lookup(ROOT, b"0.jpg") is None
    ant = tree.lookup(ROOT, b"ant")
    assert ant is not None
    assert tree.xattrs(ant) == {}
    assert tree.lookup(ant, b"0.jpg") is None
    with pytest.raises(MissingError):
        list(tree.entries(Inode(2), 0))


def test_a_folder_may_not_hide_the_metadata(open_tree: OpenTree, tmp_path: Path) -> None:
    source = write_set(tmp_path / "d.parquet", JPEGS[:1], caption=["a"], kind=["metadata.jsonl"])
    tree = open_tree(source, group_by="kind", metadata_jsonl=True, images_only=True)
    assert paths(tree) == ["metadata.jsonl (2)/0.jpg", "metadata.jsonl"]


def test_what_names_change_changes_the_fingerprint(open_tree: OpenTree, source: Path) -> None:
    keys: list[dict[str, object]] = [
        {},
        {"names": "row"},
        {"name_width": 3},
        {"caption_extension": "caption"},
        {"images_only": True},
        {"metadata_jsonl": True},
        {"group_by": "kind"},
    ]
    prints = {open_tree(source, **each).manifest.info.fingerprint for each in keys}
    assert len(prints) == len(keys)


def test_a_column_that_cannot_group_is_refused(open_tree: OpenTree, source: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean kind"):
        open_tree(source, group_by="kin")
