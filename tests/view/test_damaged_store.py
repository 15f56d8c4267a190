"""Whatever a disk does to a file that hffs keeps: the view is what it was, size by size."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.view.opening import open_view
from hffs.view.tree import Tree
from tests.view.conftest import Quiet, encode
from tests.view.portable import Files, build, facts_of
from tests.view.test_model import listing, many

KEYS = {"group_by": "kind", "metadata_jsonl": True}


@dataclass(frozen=True)
class Kept:
    """A data set, what its view shows, and a cache in which all of that is kept."""

    source: Path
    cache: Path
    expected: Files


@contextmanager
def opened(source: Path, cache: Path) -> Iterator[Tree]:
    with open_view(build(source, cache, KEYS), Quiet(), 1) as tree:
        yield tree


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Kept:
    folder = tmp_path_factory.mktemp("kept")
    images = [{"bytes": encode("JPEG" if n % 2 else "PNG", n), "path": None} for n in range(6)]
    columns = {"caption": [f"photo {n}" for n in range(6)], "kind": ["cat", "dog", "cat"] * 2}
    source = folder / "a.parquet"
    # Compressed: its row groups are kept too, decoded.
    pq.write_table(pa.table({"image": images, **columns}), source, row_group_size=3)
    with opened(source, folder / "cache") as tree:
        expected = facts_of(tree)
    with opened(source, folder / "cache") as tree:
        assert facts_of(tree) == expected
    return Kept(source, folder / "cache", expected)


@settings(many, max_examples=25)
@given(st.data())
def test_what_is_kept_and_damaged_is_never_served(kept: Kept, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        cache = Path(place, "cache")
        shutil.copytree(kept.cache, cache)
        files = sorted(path for path in cache.rglob("store/*/**/*") if path.stat().st_size)
        files = [path for path in files if path.is_file()]
        assert {path.relative_to(cache).parts[2] for path in files} >= {"blobs", "index", "views"}
        for _ in range(data.draw(st.integers(1, 2))):
            path = data.draw(st.sampled_from(files))
            content = bytearray(path.read_bytes())
            at = data.draw(st.integers(0, max(len(content) - 1, 0)))
            if data.draw(st.booleans()) and content:
                content[at] ^= data.draw(st.integers(1, 255))
            else:
                del content[at:]
            path.write_bytes(content)
        with opened(kept.source, cache) as tree:
            sizes = {name: tree.size_bytes(inode) for name, inode in listing(tree).items()}
            found = facts_of(tree)
        assert found == kept.expected
        assert all(size in (None, found[name][2]) for name, size in sizes.items())
