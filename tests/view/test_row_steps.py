"""The Python filter and the sample, as steps of deciding a view."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest

from hffs.core.inodes import ROOT
from hffs.errors import ConfigError, DataError
from hffs.view.tree import Tree
from tests.view.conftest import OpenTree, encode, write_set

IMAGES = [encode("JPEG", seed) for seed in range(4)]


def texts(tree: Tree) -> list[str]:
    """Every caption file, checked against its image's row."""
    captions = tree.manifest.captions
    assert captions is not None
    data, ends = captions.blob.tobytes(), captions.offsets.tolist()
    found = [data[a:b].decode() for a, b in pairwise(ends)]
    for position, text in enumerate(found):
        inode = tree.lookup(ROOT, f"{position}.jpg".encode())
        assert inode is not None
        assert text.split()[0] == tree.xattrs(inode)["user.hffs.row"].decode()
    return found


def counts(tree: Tree) -> dict[str, int]:
    """What each step removed or dropped."""
    view = json.loads(tree.xattrs(ROOT)["user.hffs.view"])
    return dict(view["removed"]) | dict(view["dropped"])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """30 rows: every fifth has no caption; row k has the images k % 3."""
    cell = [{"bytes": image, "path": None} for image in IMAGES]
    cells = [cell[: row % 3] for row in range(30)]
    captions = [f"{row} is it" if row % 5 else None for row in range(30)]
    return write_set(tmp_path / "a.parquet", cells, caption=captions, n=range(30))


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the module `mine` is written to: the folder that this test runs in."""
    folder = tmp_path / "started"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder / "mine.py"


def test_a_sample_is_of_rows_with_all_their_images(open_tree: OpenTree, source: Path) -> None:
    whole, sample = open_tree(source), open_tree(source, max_num_samples=5)
    rows = [text.split()[0] for text in texts(sample)]
    assert len(set(rows)) == 5
    assert texts(sample) == [text for text in texts(whole) if text.split()[0] in rows]
    assert counts(sample)["max_num_samples"] == whole.manifest.positions - len(rows)
    assert all(int(row) % 5 for row in rows)  # rows without a caption take no place in it


def test_samples_are_nested_and_each_seed_has_its_own(open_tree: OpenTree, source: Path) -> None:
    small, large = (texts(open_tree(source, max_num_samples=n)) for n in (4, 9))
    assert set(small) < set(large)
    others = [texts(open_tree(source, max_num_samples=4, seed=seed)) for seed in (0, 1, -1)]
    assert others[0] == small
    assert small != others[1] != others[2]


def test_a_sample_that_is_large_enough_is_the_whole(open_tree: OpenTree, source: Path) -> None:
    whole, sample = open_tree(source, seed=3), open_tree(source, max_num_samples=100)
    assert texts(sample) == texts(whole)
    assert sample.manifest.info.fingerprint == whole.manifest.info.fingerprint
    assert counts(sample)["max_num_samples"] == 0
    assert "max_num_samples" not in counts(whole)


def test_a_function_sees_what_other_filters_kept(
    open_tree: OpenTree, source: Path, started: Path
) -> None:
    started.write_text(
        "def keep(row):\n    if row['n'] >= 20: raise ValueError\n    return row['n'] % 2 == 0\n"
    )
    tree = open_tree(source, filter_func__where="n < 20", filter_func__python="mine:keep")
    kept = [row for row in range(20) if row % 2 == 0 and row % 5]
    assert texts(tree) == [f"{row} is it" for row in kept for _ in range(row % 3)]
    odd = sum(row % 3 for row in range(1, 20, 2))
    assert counts(tree)["python"] == odd
    with pytest.raises(ConfigError, match=r"on row 20 of .* it raised ValueError"):
        open_tree(source, filter_func__python="mine:keep")


def test_a_function_and_a_sample(open_tree: OpenTree, source: Path, started: Path) -> None:
    started.write_text("def keep(row): return row['n'] > 12\n")
    tree = open_tree(source, filter_func__python="mine:keep", max_num_samples=3, seed=7)
    rows = {int(text.split()[0]) for text in texts(tree)}
    assert len(rows) == 3
    assert min(rows) > 12


def test_a_function_that_keeps_nothing_is_told(
    open_tree: OpenTree, source: Path, started: Path
) -> None:
    started.write_text("def keep(row): return False\n")
    with pytest.raises(DataError, match=r"nothing is left of .*: left out were .*python: 30"):
        open_tree(source, filter_func__python="mine:keep")


def test_a_function_that_changed_changes_the_view(
    open_tree: OpenTree, source: Path, started: Path
) -> None:
    def open_with(code: str) -> Tree:
        started.write_text(f"def keep(row): return {code}\n")
        return open_tree(source, filter_func__python="mine:keep")

    first = open_with("row['n'] < 10")
    second = open_with("row['n'] >= 10")
    again = open_with("row['n'] <= 9")
    assert not set(texts(first)) & set(texts(second))
    assert texts(again) == texts(first)
    assert again.manifest.info.fingerprint == first.manifest.info.fingerprint
    with pytest.raises(ConfigError, match="division"):
        open_with("1 / 0")


DOCS = Path(__file__).parents[2] / "docs" / "configuration.md"
_PART = DOCS.read_text(encoding="utf-8").partition("#### A filter in Python\n")[2]
SECTION = _PART.partition("\n#### ")[0]
_REFUSAL = re.compile(r"^\| ([a-z ]+) \| (?:`(.*?)`)? ?\| `(.*)` \|$", re.MULTILINE)
REFUSALS = _REFUSAL.findall(SECTION)


@pytest.fixture
def tagged(tmp_path: Path) -> Path:
    sizes = {"width": [2000, 2000, 20], "height": [1000] * 3}
    tags = [["cat"], ["watermark"], None]
    captions = ["0 a", "1 b", "2 c"]
    return write_set(tmp_path / "a.parquet", IMAGES[:3], caption=captions, tags=tags, **sizes)


def test_the_documented_function_works(open_tree: OpenTree, tagged: Path, started: Path) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
    started.with_name("filters.py").write_text(code)
    assert texts(open_tree(tagged, filter_func__python="filters:keep")) == ["0 a"]


@pytest.mark.parametrize(("code", "message"), [row[1:] for row in REFUSALS])
def test_documented_refusals(
    open_tree: OpenTree, tagged: Path, started: Path, code: str, message: str
) -> None:
    if code:
        started.with_name("filters.py").write_text(code.replace("\\n", "\n"))
    with pytest.raises(ConfigError) as caught:
        open_tree(tagged, filter_func__python="filters:keep")
    line = str(caught.value).replace(str(tagged), "SET").replace(str(started.parent), "FOLDER")
    assert line == f"cannot use filter_func.python filters:keep: {message}"


def test_every_documented_refusal_is_tried() -> None:
    assert len(REFUSALS) == 6
