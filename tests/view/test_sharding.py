"""Parts of a view: disjoint, complete, as large as each other, and in all else as the whole."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.config import build_config
from hffs.core.inodes import ROOT
from hffs.errors import ConfigError, DataError
from hffs.view import deciding
from hffs.view.opening import open_view
from hffs.view.sharding import Part
from hffs.view.tree import Tree
from tests.view.conftest import OpenTree, Quiet, encode, write_set
from tests.view.test_model import (
    configurations,
    data_sets,
    forms,
    listing,
    many,
    read,
    write,
)


@given(st.integers(0, 10**12), st.integers(1, 10**6), st.data())
def test_parts_are_contiguous_complete_and_balanced(
    count: int, world: int, data: st.DataObject
) -> None:
    rank = data.draw(st.integers(0, world - 1))
    cut = Part(rank, world).cut(count)
    assert count // world <= cut.stop - cut.start <= -(-count // world)
    assert cut.start == (Part(rank - 1, world).cut(count).stop if rank else 0)
    if rank == world - 1:
        assert cut.stop == count


def build(source: Path, folder: Path, keys: dict[str, Any]) -> Any:
    entry: dict[str, Any] = {"dataset_name": str(source)}
    for name, value in keys.items():
        block, _, leaf = name.rpartition(".")
        (entry.setdefault(block, {}) if block else entry)[leaf] = value
    path = folder / "entry.json"
    path.write_text(json.dumps(entry))
    return build_config(str(path), {}, None, os.environ | {"XDG_CACHE_HOME": str(folder)})


def facts_of(tree: Tree) -> dict[str, tuple[Any, ...]]:
    """Of every file its bytes (None where they cannot be had), attributes and time."""
    files = {name: inode for name, inode in listing(tree).items() if name != "metadata.jsonl"}
    return {
        name: (read(tree, inode), tree.xattrs(inode), tree.mtime_ns)
        for name, inode in files.items()
    }


def lines_of(tree: Tree) -> list[bytes]:
    inode = listing(tree).get("metadata.jsonl")
    data = b"" if inode is None else read(tree, inode)
    assert data is not None
    return data.splitlines(keepends=True)


@settings(many, max_examples=80)
@given(data_sets(), configurations(), forms, st.integers(2, 4))
def test_all_parts_together_are_the_whole(
    tmp_path_factory: pytest.TempPathFactory, data: Any, keys: dict[str, Any], form: str, world: int
) -> None:
    folder = tmp_path_factory.mktemp("parts")
    source = write(data, form, 3, folder)
    try:
        with open_view(build(source, folder, keys), Quiet(), 1) as tree:
            whole, lines = facts_of(tree), lines_of(tree)
            fingerprints = {tree.manifest.info.fingerprint}
            images = len(np.unique(np.asarray(tree.manifest.cells)))
    except (DataError, ConfigError):
        return
    found: dict[str, tuple[Any, ...]] = {}
    counts, found_lines = [], list[bytes]()
    for rank in range(world):
        config = build(source, folder, keys | {"shard": f"{rank}/{world}"})
        if world > images:
            with (
                pytest.raises(DataError, match="which is less than"),
                open_view(config, Quiet(), 1),
            ):
                pass
            continue
        with open_view(config, Quiet(), 1) as tree:
            part = facts_of(tree)
            assert not part.keys() & found.keys()
            assert tree.files == len(part) + bool(keys.get("metadata_jsonl"))
            assert tree.known_bytes() == sum(
                tree.size_bytes(inode) or 0 for inode in listing(tree).values()
            )
            found |= part
            found_lines += lines_of(tree)
            fingerprints.add(tree.manifest.info.fingerprint)
            counts.append(len(np.unique(np.asarray(tree.manifest.cells))))
    if world <= images:
        assert found == whole
        assert found_lines == lines
        assert sum(counts) == images
        assert max(counts) - min(counts) <= 1
        assert len(fingerprints) == world + 1


def test_a_part_has_the_names_of_the_whole(tmp_path: Path, open_tree: OpenTree) -> None:
    images = [encode("JPEG", seed) for seed in range(7)]
    source = write_set(tmp_path / "a.parquet", images, caption=list("abcdefg"))
    second = open_tree(source, shard="1/2")
    assert list(listing(second)) == [f"{n}.{e}" for n in range(3, 7) for e in ("jpg", "txt")]
    assert read(second, listing(second)["5.txt"]) == b"f"
    assert listing(open_tree(source, shard="0/1")) == listing(open_tree(source))
    for name in (b"0.jpg", b"2.jpg", b"7.jpg", b"2.txt"):
        assert second.lookup(ROOT, name) is None


def test_all_parts_of_a_view_are_decided_once(
    tmp_path: Path, open_tree: OpenTree, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("JPEG", seed) for seed in range(4)])
    assert open_tree(source, shard="0/4").positions == 1
    monkeypatch.delattr(deciding, "decide")
    for rank in range(1, 4):
        assert open_tree(source, shard=f"{rank}/4").positions == 1


def test_more_parts_than_images_are_refused(tmp_path: Path, open_tree: OpenTree) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("JPEG"), encode("JPEG", 1)])
    with pytest.raises(DataError) as caught:
        open_tree(source, shard="0/3")
    assert str(caught.value) == (
        f"cannot take shard 0/3 of {source}: the view has 2 images, which is less than 3 parts; "
        "use at most 2 parts"
    )
