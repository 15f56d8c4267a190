"""Getting a source that `datasets` has to look at: what is made, made again, and left behind."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from hffs.config import build_config
from hffs.data.locating.acquiring import acquire
from hffs.data.locating.record import Wanted, find_source, find_store, name_source
from hffs.data.metadata import read_columns
from hffs.data.shards import Located, identify
from hffs.data.source import open_source
from hffs.errors import ConfigError, HffsError, SourceError
from tests import formats

# The builders of datasets leave files of metadata open.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def _collect() -> Iterator[None]:
    """Have them closed here, not in the middle of another test."""
    yield
    gc.collect()


class Told:
    """A watcher that says nothing, and remembers what it was told of."""

    def __init__(self) -> None:
        self.work: list[str] = []

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        self.work.append(what)

    def notice(self, text: str) -> None:
        pytest.fail(text)


def _get(source: Path, folder: Path, **keys: object) -> tuple[Located, list[str]]:
    """The source, and what was worked on to get it."""
    (wanted, store), told = _want(source, folder, **keys), Told()
    located = find_source(wanted, store) or acquire(wanted, store, told)
    return located, told.work


def _want(source: Path, folder: Path, **keys: object) -> tuple[Wanted, Path]:
    environ = os.environ | {"XDG_CACHE_HOME": str(folder)}
    config = build_config(str(source), keys, None, environ)
    return name_source(config), find_store(config)


def _captions(located: Located) -> list[str]:
    return list(read_columns(open_source(located), ["caption"])["caption"].to_pylist())


def test_a_table_is_made_once(tmp_path: Path) -> None:
    source = formats.write_files(formats.imagefolder_csv().files, tmp_path / "set")
    first, work = _get(source, tmp_path)
    assert work
    assert _captions(first) == list(formats.CAPTIONS)
    again, work = _get(source, tmp_path)
    assert (again, work) == (first, [])
    wanted, store = _want(source, tmp_path)
    assert find_source(wanted, store) == first, "without datasets, too"


def test_another_way_to_read_the_same_files_is_another_source(tmp_path: Path) -> None:
    """What README.md says of them is in no pin of theirs."""
    source = formats.write_files({"train.csv": b"image;caption\n0.jpg;a\n"}, tmp_path / "set")
    card = "---\nconfigs:\n- config_name: default\n  data_files: train.csv\n  sep: '{}'\n---\n"
    found = []
    for separator in ",;":
        (source / "README.md").write_text(card.format(separator))
        located, _ = _get(source, tmp_path)
        found.append((open_source(located).schema.names, identify(located)))
    assert [names for names, _ in found] == [["image;caption"], ["image", "caption"]]
    assert found[0][1] != found[1][1]


def test_parquet_is_not_taken_as_it_is_where_files_or_a_configuration_are_named(
    tmp_path: Path,
) -> None:
    shards = dict(zip("ab", formats.parquet_shards().files.values(), strict=False))
    source = formats.write_files({f"{n}.parquet": shards[n] for n in "ab"}, tmp_path / "set")
    located, _ = _get(source, tmp_path, data_files=["b.parquet"])
    assert [shard.name for shard in located.shards] == ["b.parquet"]
    with pytest.raises(SourceError, match="cannot find config nix"):
        _get(source, tmp_path, config_name="nix")


def test_a_changed_folder_is_another_source_and_its_old_table_goes(tmp_path: Path) -> None:
    source = formats.write_files(formats.imagefolder_csv().files, tmp_path / "set")
    first, _ = _get(source, tmp_path)
    os.utime(source / "train/metadata.csv", ns=(1, 1))
    second, work = _get(source, tmp_path)
    assert work
    assert identify(second) != identify(first)
    tables = [shard.path.parent.exists() for each in (first, second) for shard in each.shards]
    assert tables == [False, True]


def test_the_same_files_elsewhere_are_the_same_source(tmp_path: Path) -> None:
    files = formats.imagefolder_csv().files
    places = [formats.write_files(files, tmp_path / name) for name in ("one", "two")]
    for place in places:
        for path in place.rglob("*"):
            os.utime(path, ns=(5, 5))
    one, two = (_get(place, tmp_path)[0] for place in places)
    assert identify(one) == identify(two)
    assert one.root != two.root


def test_splits_of_other_formats_are_cut_and_joined(tmp_path: Path) -> None:
    source = formats.write_files(formats.imagefolder_splits().files, tmp_path / "set")
    located, _ = _get(source, tmp_path, split="test+train[1:3]")
    assert _captions(located) == ["of the test", *formats.CAPTIONS[1:3]]


@pytest.mark.parametrize(
    ("files", "keys", "kind", "words"),
    [
        ({"a.md": b"x"}, {}, SourceError, r"no file here is of a format .*\(found 1 .md file\)"),
        ({"0.jpg": b"x"}, {"split": "tset"}, SourceError, "there are: train"),
        ({"train.csv": b"image,caption\n"}, {"split": "train[a:]"}, ConfigError, "train"),
    ],
)
def test_what_cannot_be_got_is_one_line(
    files: dict[str, bytes],
    keys: dict[str, object],
    kind: type[HffsError],
    words: str,
    tmp_path: Path,
) -> None:
    source = formats.write_files(files, tmp_path / "set")
    with pytest.raises(kind, match=words) as caught:
        open_source(_get(source, tmp_path, **keys)[0])
    assert "\n" not in str(caught.value)
