"""What names an image whatever view shows it: equal where bytes are the same, and only there."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.config import build_config
from hffs.core.inodes import Kind, make_inode
from hffs.core.types import Position
from hffs.data.cells.index import (
    CellIndex,
    ChunkTable,
    FarFileTable,
    FarRangeTable,
    FileTable,
    PageTable,
    SegmentKind,
    Segments,
    TextTable,
)
from hffs.data.shards import Located, Pin, Shard
from hffs.data.source import MediaColumn
from hffs.view import codecs
from hffs.view.codecs import Reshape
from hffs.view.identities import Identities
from hffs.view.opening import open_view
from hffs.view.places import Places
from hffs.view.rendering import Rendering
from hffs.view.tree import Tree
from tests.data.urls.server import serving
from tests.view.conftest import OpenTree, Quiet, encode, write_set
from tests.view.portable import opened, record
from tests.view.test_composites import composite
from tests.view.test_urls import ALLOWED, gives

JPEGS = [encode("JPEG", seed) for seed in range(6)]
PNGS = [encode("PNG", seed) for seed in range(6, 10)]
TEXTS = [f"caption {number}" for number in range(10)]
IMAGE = "user.hffs.image"


def identify(tree: Tree, position: int) -> str:
    return tree.xattrs(make_inode(Position(position), Kind.IMAGE))[IMAGE].decode()


def read(tree: Tree, position: int) -> bytes:
    inode = make_inode(Position(position), Kind.IMAGE)
    ready = tree.ready(inode)
    return bytes(tree.request(inode).result(20) if ready is None else ready)


def identities(tree: Tree) -> dict[bytes, str]:
    """Of each image its identity, by what it is."""
    found = {read(tree, position): identify(tree, position) for position in range(tree.positions)}
    assert len(set(found.values())) == len(found) == tree.positions
    assert all(len(bytes.fromhex(each)) == 32 for each in found.values())
    return found


def write_shards(folder: Path, parts: list[list[object]]) -> Path:
    folder.mkdir(exist_ok=True)
    at = 0
    for number, images in enumerate(parts):
        path = folder / f"train-{number}.parquet"
        if not path.exists():
            texts = TEXTS[at : at + len(images)]
            write_set(path, images, caption=texts, n=[*range(at, at + len(images))])
        at += len(images)
    return folder


VIEWS: list[dict[str, object]] = [
    {},
    {"filter_func__where": "n >= 3"},
    {"filter_func__where": "n % 2 = 0", "names": "row", "images_only": True},
    {"max_num_samples": 4, "seed": 1},
    {"image_format": "png"},
    {"image_format": "source"},
    composite(image_count=2, select_index="all"),
    composite(image_count=2, select_index=[1]) | {"filter_func__where": "n < 4"},
    composite(image_count=4, select_index="all"),
]


@pytest.fixture(scope="module")
def views(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Tree]]:
    folder = tmp_path_factory.mktemp("identities")
    source = write_shards(folder / "set", [list(JPEGS), list(PNGS)])
    environ = os.environ | {"XDG_CACHE_HOME": str(folder / "cache")}
    with ExitStack() as stack:
        trees = []
        for keys in VIEWS:
            flags = {name.replace("__", "."): value for name, value in keys.items()}
            config = build_config(str(source), flags, None, environ)
            trees.append(stack.enter_context(open_view(config, Quiet(), 2)))
        yield trees


@given(st.data())
def test_images_of_any_views_are_the_same_where_their_bytes_are(
    views: list[Tree], data: st.DataObject
) -> None:
    first, second = (data.draw(st.sampled_from(views)) for _ in range(2))
    one = data.draw(st.integers(0, first.positions - 1))
    other = data.draw(st.integers(0, second.positions - 1))
    is_same = read(first, one) == read(second, other)
    assert (identify(first, one) == identify(second, other)) == is_same


def test_an_identity_outlives_the_growth_of_its_source_but_not_a_change(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    folder = write_shards(tmp_path / "set", [list(JPEGS[:3])])
    before = identities(open_tree(folder))
    write_shards(folder, [list(JPEGS[:3]), list(JPEGS[3:])])
    grown = identities(open_tree(folder))
    assert grown.items() > before.items()
    (folder / "train-0.parquet").touch()
    touched = identities(open_tree(folder))
    assert {image for image in grown if touched[image] == grown[image]} == set(JPEGS[3:])


def test_a_copy_elsewhere_is_another_source(open_tree: OpenTree, tmp_path: Path) -> None:
    folder = write_shards(tmp_path / "set", [list(JPEGS)])
    shutil.copytree(folder, tmp_path / "copy")
    first, copy = identities(open_tree(folder)), identities(open_tree(tmp_path / "copy"))
    assert not set(first.values()) & set(copy.values())


def test_rows_that_are_decoded_and_items_of_lists(open_tree: OpenTree, tmp_path: Path) -> None:
    cells = [[{"bytes": JPEGS[2 * n + k], "path": None} for k in range(2)] for n in range(3)]
    table = pa.table({"image": cells, "n": [0, 1, 2]})
    path = tmp_path / "lists.parquet"
    pq.write_table(table, path, compression="snappy", row_group_size=2)
    whole = identities(open_tree(path, images_only=True))
    assert set(whole) == set(JPEGS)
    part = identities(open_tree(path, images_only=True, filter_func__where="n > 0"))
    assert part.items() < whole.items()


def test_texts_that_images_are_decoded_from(open_tree: OpenTree, tmp_path: Path) -> None:
    texts = [base64.b64encode(image).decode() for image in JPEGS]
    path = tmp_path / "texts.parquet"
    table = pa.table({"image": texts, "caption": TEXTS[:6], "n": [*range(6)]})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    whole = identities(open_tree(path))
    assert set(whole) == set(JPEGS)
    assert identities(open_tree(path, filter_func__where="n > 2")).items() < whole.items()


def test_files_that_cells_name(open_tree: OpenTree, tmp_path: Path) -> None:
    for number, image in enumerate(JPEGS):
        (tmp_path / f"{number}.jpg").write_bytes(image)
    path = tmp_path / "files.parquet"
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    named = [{"bytes": None, "path": f"{number}.jpg"} for number in range(6)]
    table = pa.table({"image": pa.array(named, kind), "caption": TEXTS[:6], "n": [*range(6)]})
    pq.write_table(table, path)
    whole = identities(open_tree(path))
    assert set(whole) == set(JPEGS)
    assert identities(open_tree(path, filter_func__where="n > 2")).items() < whole.items()
    os.utime(tmp_path / "0.jpg", ns=(0, 0))
    changed = identities(open_tree(path))
    assert {image for image in whole if whole[image] != changed[image]} == {JPEGS[0]}


def test_urls_by_where_their_bytes_were_first_seen(open_tree: OpenTree, tmp_path: Path) -> None:
    with serving({f"/{n}": gives(image) for n, image in enumerate(JPEGS[:3])}) as server:
        table = pa.table(
            {
                "url": [server.url(f"/{number}", "127.0.0.1") for number in range(3)],
                "caption": TEXTS[:3],
                "n": [0, 1, 2],
            }
        )
        path = tmp_path / "urls.parquet"
        pq.write_table(table, path)
        keys = {**ALLOWED, "image_column": "url"}
        whole = identities(open_tree(path, **keys))
        assert set(whole) == set(JPEGS[:3])
        part = identities(open_tree(path, filter_func__where="n > 0", **keys))
        assert part.items() < whole.items()
        elsewhere = identities(open_tree(path, cache_dir=str(tmp_path / "other"), **keys))
        assert not set(elsewhere.values()) & set(whole.values())


def test_a_view_that_was_recorded_names_images_as_one_that_was_decided(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    folder = write_shards(tmp_path / "set", [list(JPEGS), list(PNGS)])
    whole = identities(open_tree(folder))
    view = tmp_path / "set.hffs.parquet"
    record(folder, view, tmp_path / "recording", {"filter_func.where": "n > 4"})
    with opened(view, tmp_path / "other") as tree:
        assert identities(tree).items() < whole.items()


def test_another_encoder_renames_what_it_makes_and_nothing_else(
    open_tree: OpenTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_set(tmp_path / "a.parquet", [JPEGS[0], PNGS[0]], caption=TEXTS[:2])
    before = [identify(open_tree(source), position) for position in range(2)]
    monkeypatch.setattr(codecs, "_RULES", 999)
    after = [identify(open_tree(source), position) for position in range(2)]
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_captions_have_none(open_tree: OpenTree, tmp_path: Path) -> None:
    tree = open_tree(write_set(tmp_path / "a.parquet", JPEGS[:1], caption=TEXTS[:1]))
    assert IMAGE not in tree.xattrs(make_inode(Position(0), Kind.CAPTION))
    assert np.frombuffer(bytes.fromhex(identify(tree, 0)), np.uint8).shape == (32,)


NOTHING: NDArray[Any] = np.zeros(0, np.int64)


def far_index(identity: str = "whole", etag: bytes = b"abc") -> CellIndex:
    """One cell of each kind that lies elsewhere, or is a file: two pages, two ranges, two files."""
    kinds = [SegmentKind.PAGES, SegmentKind.FAR_FILES, SegmentKind.FILES, SegmentKind.CONTAINER]
    count, none = len(kinds), np.full(len(kinds), -1)
    shard = np.array([-1, -1, -1, 0], np.int32)
    segments = Segments(
        np.array(kinds, np.uint8), shard, none, none, none, np.zeros(count, np.uint8)
    )
    names, ends = np.frombuffer(b"blobs/ab.jpg", np.uint8), np.array([8, 12])
    files = FileTable(names, ends, np.array([7, 8]), np.array([1, 2]))
    one: NDArray[Any] = np.array([1])
    etags = TextTable(np.frombuffer(etag, np.uint8), np.array([len(etag)]))
    far = FarFileTable(np.frombuffer(b"x.jpg", np.uint8), np.array([5]), np.array([99]), etags)
    zero: NDArray[Any] = np.zeros(1, np.int64)
    return CellIndex(
        MediaColumn("image", "struct"), identity, {},
        row=np.arange(2 * count), item=np.zeros(2 * count, np.int32),
        segment=np.repeat(np.arange(count, dtype=np.uint32), 2),
        offset=np.array([0, 1, 0, 1, 0, 1, 0, 5]), length=np.full(2 * count, 5),
        format=np.zeros(2 * count, np.uint8), stored=NOTHING, crc=NOTHING.astype(np.uint32),
        segments=segments, files=files, containers=files, urls=TextTable(NOTHING, NOTHING),
        chunks=ChunkTable(zero, zero, zero, one, one, zero, zero, zero.astype(np.bool_)),
        pages=PageTable(zero, one, one), far_files=far,
        far_ranges=FarRangeTable(np.zeros(2, np.int32), np.array([0, 5]), np.array([5, 5])),
    )  # fmt: skip


def name_far(index: CellIndex, located: Located) -> list[str]:
    count = len(index)
    manifest = SimpleNamespace(cells=np.arange(count), forms=np.zeros(count, np.uint8), tiles=None)
    places = Places(Path("/store"), located, Path("/store/views/1"))
    named = Identities(manifest, index, places, Rendering("source", Reshape()))  # type: ignore[arg-type] # what it reads of one
    return [named.find(Position(position)) for position in range(count)]


def locate(commit: str = "", name: str = "a.parquet", etag: str = "tag") -> Located:
    url = f"https://hub/{commit}/{name}"
    shard = Shard(Path(name), name, 100, 0, "parquet", url, etag)
    return Located(
        "o/set", Path("/root"), (shard,), commit=commit, address=f"https://hub/{commit}/"
    )


def test_files_of_a_commit_are_pinned_by_their_etags_else_by_more() -> None:
    index = far_index()
    first = name_far(index, locate("c1"))
    assert len(set(first)) == len(index) == 8
    # Another commit, where the shard has another name: only what has no ETag is pinned by it.
    later = name_far(index, locate("c2", "b.parquet"))
    same = [one == other for one, other in zip(first, later, strict=True)]
    assert same == [True, True, True, True, True, False, True, True]
    other = name_far(index, locate("c1", etag="other"))
    assert [one == two for one, two in zip(first, other, strict=True)][:3] == [False, False, True]
    # Elsewhere than at the Hub an ETag says nothing of another address.
    store = name_far(index, locate())
    assert not set(store) & set(first)
    moved = name_far(index, replace(locate(name="b.parquet"), address="https://other/"))
    same = [one == two for one, two in zip(store, moved, strict=True)]
    assert same == [False] * 4 + [True] * 4
    # What nothing pins, the source as a whole does.
    loose = [name_far(far_index(whole, b""), locate())[2] for whole in ("1", "1", "2")]
    assert loose[0] == loose[1] != loose[2]


def test_a_table_that_was_made_is_no_file_of_the_repository() -> None:
    maps = np.full(4, SegmentKind.MAP, np.uint8), np.zeros(4, np.int32)
    segments = replace(far_index().segments, kind=maps[0], shard=maps[1])
    index = replace(far_index(), segments=segments)

    def name_in(folder: str, mtime_ns: int) -> str:
        shard = Shard(Path(folder, "a.parquet"), "a.parquet", 100, mtime_ns, "parquet")
        pins = (Pin("a.parquet", 100, "tag"),)
        return name_far(index, Located("o/set", Path("/root"), (shard,), commit="c", pins=pins))[0]

    assert name_in("/hub/one", 1) == name_in("/hub/two", 2)
    assert name_in("/store/prepared/1", 1) != name_in("/store/prepared/1", 2)
