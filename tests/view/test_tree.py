import json
import os
import shutil
from pathlib import Path

import pytest

from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.errors import DataError, MissingError
from hffs.view import codecs, deciding
from hffs.view.tree import Entry, Tree
from tests.data.resident import count_resident
from tests.view.conftest import OpenTree, Quiet, encode, write_set

JPEGS = [encode("JPEG", seed) for seed in range(5)]
TEXTS = [f"caption {index}" for index in range(5)]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_set(tmp_path / "a.parquet", JPEGS, caption=TEXTS, width=[10, 20, 30, 40, 50])


def read(tree: Tree, name: str) -> bytes:
    inode = tree.lookup(ROOT, name.encode())
    assert inode is not None
    ready = tree.ready(inode)
    return bytes(tree.request(inode).result(20) if ready is None else ready)


def names(tree: Tree) -> list[str]:
    return [entry.name.decode() for entry in tree.entries(ROOT, 0)]


def test_every_listed_name_is_found_and_has_its_size(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source)
    for entry in tree.entries(ROOT, 0):
        assert tree.lookup(ROOT, entry.name) == entry.inode
        assert tree.name(entry.inode) == entry.name.decode()
        assert tree.size_bytes(entry.inode) == entry.size_bytes
        assert len(read(tree, entry.name.decode())) == entry.size_bytes
    assert [read(tree, f"{i}.jpg") for i in range(5)] == JPEGS
    assert [read(tree, f"{i}.txt").decode() for i in range(5)] == TEXTS
    assert tree.files == 10


def test_what_is_gone_through_to_count_bytes_is_let_go(
    open_tree: OpenTree, source: Path, tmp_path: Path
) -> None:
    open_tree(source)  # which decides the view, and may have looked at all of it
    tree = open_tree(source)
    assert tree.known_bytes() == sum(map(len, JPEGS)) + sum(map(len, TEXTS))
    kept = [*tmp_path.glob("cache/**/length.npy"), *tmp_path.glob("cache/**/cells.npy")]
    assert len(kept) == 2
    assert [count_resident(path) for path in kept] == [0, 0]


def test_captions_that_somebody_has_touched_are_what_they_were(
    open_tree: OpenTree, source: Path, tmp_path: Path
) -> None:
    tree = open_tree(source)
    inode, buffer = tree.lookup(ROOT, b"2.txt"), memoryview(bytearray(100))
    assert inode is not None
    assert tree.read_into(buffer, inode, 0) == len(TEXTS[2].encode())
    (kept,) = tmp_path.glob("cache/**/captions.npy")
    os.utime(kept, ns=(1, 1))
    assert tree.read_into(buffer, inode, 0) is None
    assert read(tree, "2.txt").decode() == TEXTS[2]


def test_a_listing_goes_on_from_any_entry(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source)
    whole: list[Entry] = list(tree.entries(ROOT, 0))
    for index, entry in enumerate(whole):
        assert list(tree.entries(ROOT, entry.next_id)) == whole[index + 1 :]
    assert list(tree.entries(ROOT, 10**9)) == []


@pytest.mark.parametrize("name", [b"5.jpg", b"0.png", b"0.caption", b"00.jpg", b"x", b"0.jpg.txt"])
def test_other_names_are_not_found(open_tree: OpenTree, source: Path, name: bytes) -> None:
    assert open_tree(source).lookup(ROOT, name) is None


def test_inodes_that_no_file_has(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source)
    for inode in (Inode(0), Inode(17), Inode(10**12), ROOT):
        with pytest.raises(MissingError):
            tree.ready(inode)


def test_attributes_tell_where_a_file_comes_from(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source, filter_func__where="width >= 30")
    inode = tree.lookup(ROOT, b"1.jpg")
    assert inode is not None
    assert tree.xattrs(inode)["user.hffs.row"] == b"3"
    assert tree.xattrs(inode)["user.hffs.caption_column"] == b"caption"
    view = json.loads(tree.xattrs(ROOT)["user.hffs.view"])
    assert (view["positions"], view["source_rows"], view["rendered"]) == (3, 5, 0)
    assert ["where", 2] in view["removed"]


def test_known_bytes_grow_with_what_is_rendered(open_tree: OpenTree, tmp_path: Path) -> None:
    source = write_set(tmp_path / "b.parquet", [JPEGS[0], encode("PNG")], caption=["a", "b"])
    tree = open_tree(source)
    before = tree.known_bytes()
    assert before == len(JPEGS[0]) + 2
    assert tree.known_bytes() == before
    assert len(read(tree, "1.jpg")) == tree.known_bytes() - before


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("jpg", ["0.jpg", "1.jpg", "2.jpg"]),
        ("png", ["0.png", "1.png", "2.png"]),
        ("source", ["0.jpg", "1.png", "2.bin"]),
    ],
)
def test_names_follow_the_image_format(
    open_tree: OpenTree, tmp_path: Path, target: str, expected: list[str]
) -> None:
    images = [JPEGS[0], encode("PNG"), b"no image"]
    source = write_set(tmp_path / "b.parquet", images, caption=["a", "b", "c"])
    tree = open_tree(source, image_format=target)
    assert [name for name in names(tree) if not name.endswith("txt")] == expected
    if target == "source":
        assert [read(tree, name) for name in expected] == images


def test_lists_give_a_position_for_each_image(open_tree: OpenTree, tmp_path: Path) -> None:
    images = [{"bytes": image, "path": None} for image in JPEGS]
    cells = [images[:2], [], images[2:3], None]
    source = write_set(tmp_path / "b.parquet", cells, caption=["two", "none", "one", "null"])
    tree = open_tree(source)
    assert [read(tree, f"{i}.jpg") for i in range(3)] == JPEGS[:3]
    assert [read(tree, f"{i}.txt") for i in range(3)] == [b"two", b"two", b"one"]


def test_cells_may_name_files_of_the_data_set(open_tree: OpenTree, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/a.jpg").write_bytes(JPEGS[0])
    (tmp_path.parent / "outside.jpg").write_bytes(JPEGS[1])
    paths = ["images/a.jpg", "../outside.jpg", "gone"]
    cells = [JPEGS[2], *({"bytes": None, "path": path} for path in paths)]
    tree = open_tree(write_set(tmp_path / "b.parquet", cells, caption=list("abcd")))
    assert names(tree) == ["0.jpg", "0.txt", "1.jpg", "1.txt"]
    assert [read(tree, "0.jpg"), read(tree, "1.jpg")] == [JPEGS[2], JPEGS[0]]


def test_a_file_that_a_cell_names_may_change_between_mounts(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    named = tmp_path / "a.jpg"
    named.write_bytes(JPEGS[0])
    cells = [JPEGS[2], {"bytes": None, "path": "a.jpg"}]
    source = write_set(tmp_path / "b.parquet", cells, caption=["a", "b"])
    before = open_tree(source).manifest.info.fingerprint
    named.write_bytes(JPEGS[1])
    # Another view makes the index anew: what was decided over the old one holds no more.
    assert read(open_tree(source, filter_func__where="caption = 'b'"), "0.jpg") == JPEGS[1]
    again = open_tree(source)
    assert again.manifest.info.fingerprint != before
    assert read(again, "1.jpg") == JPEGS[1]


def test_no_caption_column_means_images_alone_and_a_notice(
    open_tree: OpenTree, tmp_path: Path, watcher: Quiet
) -> None:
    tree = open_tree(write_set(tmp_path / "b.parquet", JPEGS[:2], label=[1, 2]))
    assert names(tree) == ["0.jpg", "1.jpg"]
    assert [entry.next_id for entry in tree.entries(ROOT, 0)] == [1, 4]
    assert list(tree.entries(ROOT, 2)) == list(tree.entries(ROOT, 0))[1:]
    (notice,) = watcher.notices
    assert "label" in notice
    with pytest.raises(MissingError):
        tree.size_bytes(Inode(3))


def test_a_filler_makes_captions_of_nothing(open_tree: OpenTree, tmp_path: Path) -> None:
    source = write_set(tmp_path / "b.parquet", JPEGS[:2], label=[1, 2])
    tree = open_tree(source, missing_caption="text:a photo")
    assert [read(tree, f"{i}.txt") for i in range(2)] == [b"a photo", b"a photo"]


def test_a_view_is_decided_once(
    open_tree: OpenTree, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_tree(source, filter_func__where="width > 10")

    def refuse(*arguments: object) -> None:
        raise AssertionError("decided again")

    monkeypatch.setattr(deciding, "decide", refuse)
    again = open_tree(source, filter_func__where="width > 10")
    assert again.manifest.summary() == first.manifest.summary()
    assert list(again.entries(ROOT, 0)) == list(first.entries(ROOT, 0))
    assert again.mtime_ns == first.mtime_ns


def test_the_same_view_said_otherwise_has_the_same_fingerprint(
    open_tree: OpenTree, source: Path
) -> None:
    def fingerprint(**keys: object) -> str:
        return open_tree(source, **keys).manifest.info.fingerprint

    said = fingerprint(filter_func__where="width > 10")
    assert fingerprint(filter_func__min_width=11) == said
    others = [
        fingerprint(),
        fingerprint(filter_func__where="width > 20"),
        fingerprint(filter_func__where="width > 10", image_format="png"),
        fingerprint(filter_func__where="width > 10", caption_column=("width",)),
    ]
    assert len({said, *others}) == 5


def test_rows_without_a_caption_take_theirs_with_them(
    open_tree: OpenTree, source: Path, watcher: Quiet
) -> None:
    texts = ["a", None, " ", "d", "e"]
    write_set(source, JPEGS, caption=texts)
    tree = open_tree(source)
    assert [read(tree, f"{i}.txt") for i in range(3)] == [b"a", b"d", b"e"]
    assert [read(tree, f"{i}.jpg") for i in range(3)] == [JPEGS[0], JPEGS[3], JPEGS[4]]
    assert tree.manifest.info.dropped == (("no caption", 2),)
    assert watcher.notices == [f"left out of {source}: no caption: 2"]
    filled = open_tree(source, missing_caption="text:a photo")
    assert [read(filled, f"{i}.txt") for i in range(3)] == [b"a", b"a photo", b"a photo"]


def test_the_encoder_counts_only_where_something_is_encoded(
    open_tree: OpenTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = write_set(tmp_path / "plain.parquet", JPEGS, caption=TEXTS)
    mixed = write_set(tmp_path / "mixed.parquet", [*JPEGS[:4], encode("PNG")], caption=TEXTS)

    def look() -> list[str]:
        return [open_tree(source).manifest.info.fingerprint for source in (plain, mixed)]

    before = look()
    assert look() == before
    monkeypatch.setattr(codecs, "encoder_identity", lambda target, reshape: "another release")
    after = look()
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)


def test_a_moved_source_keeps_its_fingerprint_and_a_changed_one_does_not(
    open_tree: OpenTree, source: Path, tmp_path: Path
) -> None:
    first = open_tree(source).manifest.info.fingerprint
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copy2(source, tmp_path / "elsewhere" / source.name))
    assert open_tree(moved).manifest.info.fingerprint == first
    os.utime(moved, ns=(1, 1))
    assert open_tree(moved).manifest.info.fingerprint != first


@pytest.mark.parametrize("kept", ["views", "index"])
def test_what_is_kept_may_be_damaged_or_deleted(
    open_tree: OpenTree, source: Path, tmp_path: Path, kept: str
) -> None:
    listing = list(open_tree(source).entries(ROOT, 0))
    for damage in (lambda path: path.write_bytes(b"x"), Path.unlink):
        for path in (tmp_path / "cache/hffs/store" / kept).glob("*/*"):
            damage(path)
        assert list(open_tree(source).entries(ROOT, 0)) == listing
    shutil.rmtree(tmp_path / "cache")
    assert list(open_tree(source).entries(ROOT, 0)) == listing


def test_a_manifest_of_another_release_is_decided_again(
    open_tree: OpenTree, source: Path, tmp_path: Path
) -> None:
    listing = list(open_tree(source).entries(ROOT, 0))
    (path,) = (tmp_path / "cache/hffs/store/views").glob("*/meta.json")
    kept = json.loads(path.read_text())
    del kept["meta"]["info"]["columns"]
    path.write_text(json.dumps(kept))
    assert list(open_tree(source).entries(ROOT, 0)) == listing


def test_the_store_is_private(open_tree: OpenTree, tmp_path: Path) -> None:
    open_tree(write_set(tmp_path / "b.parquet", [encode("PNG")], caption=["a"]))
    store = tmp_path / "cache/hffs/store"
    folders = [store, *(path for path in store.rglob("*") if path.is_dir())]
    assert len(folders) > 5
    assert {oct(folder.stat().st_mode & 0o777) for folder in folders} == {"0o700"}


def test_sizes_are_measured_once_where_no_column_tells_them(
    open_tree: OpenTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [encode("PNG", size=(10 * i, 20)) for i in range(1, 5)]
    source = write_set(tmp_path / "b.parquet", [*images, b"bad"], caption=list("abcde"))
    tree = open_tree(source, filter_func__min_width=20)
    assert tree.positions == 3
    assert ("size could not be measured", 1) in tree.manifest.info.dropped
    monkeypatch.setattr(codecs, "measure", None)
    assert open_tree(source, filter_func__max_width=20).positions == 2


def test_a_filter_that_keeps_nothing_says_what_each_step_removed(
    open_tree: OpenTree, source: Path
) -> None:
    with pytest.raises(DataError) as caught:
        open_tree(source, filter_func__where="width > 20", filter_func__max_width=25)
    assert "left out were where: 2, max_width: 3" in str(caught.value)
