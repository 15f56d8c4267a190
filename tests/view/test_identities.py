"""What names an image whatever view shows it: equal where bytes are the same, and only there."""

from __future__ import annotations

import base64
import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.config import build_config
from hffs.core.inodes import Kind, make_inode
from hffs.core.types import Position
from hffs.view import codecs
from hffs.view.opening import open_view
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
