"""What is resolved without `datasets`: the same as with it, in the same order, or nothing."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Mapping
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.data.hub.conftest import Asker, Refused
from tests.hub import HubServer
from tests.shard_names import shard_names

SHARDS = ("data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet")
TESTED = "data/test-00000-of-00001.parquet"
FEATURES = {"features": [{"name": "caption", "dtype": "string"}], "config_name": "default"}
SPLITS = ("train", "validation", "test", "it")

_NUMBERS = itertools.count()


def _card(**keys: Any) -> bytes:
    return f"---\n{json.dumps(keys)}\n---\n# A set\n".encode()


def _lines(*lines: tuple[str, str], **more: Any) -> bytes:
    files = [{"split": split, "path": path} for split, path in lines]
    return _card(configs=[{"config_name": "default", "data_files": files} | more])


def _resolve(
    site: HubServer, asker: Asker, files: Mapping[str, bytes], **asked: Any
) -> dict[str, Any] | None:
    """What is plain, after comparing it with what `datasets` finds."""
    repo = site.add(f"me/plain-{next(_NUMBERS)}")
    repo.write_all(files)
    plain: dict[str, Any] | None = asker("resolve_plain", repo.id, commit=repo.commit, **asked)
    if plain is not None:
        try:
            found = asker("resolve", repo.id, **asked)
        except Refused as refused:
            pytest.fail(f"{sorted(files)} {asked}: plain, but {refused.line}")
        for key in ("commit", "format", "options", "files"):
            assert plain[key] == found[key], (sorted(files), asked)
    return plain


def _empty(names: Iterable[str]) -> dict[str, bytes]:
    return {name: name.encode() for name in names}


PLAIN: Mapping[str, tuple[Mapping[str, bytes], str]] = {
    "pushed": (_empty(SHARDS), "train"),
    "pushed, another split": (_empty([*SHARDS, TESTED]), "test"),
    "a split of any name": (_empty(["data/it_2-00000-of-00001.parquet"]), "it_2"),
    "numbers of shards and a hash": (_empty(["data/it-00000-of-00001-0abc.parquet"]), "it"),
    "a card that says nothing of files": (
        _empty(SHARDS) | {"README.md": _card(license="mit", tags=["a"], dataset_info=FEATURES)},
        "train",
    ),
    "a card without YAML": (_empty(SHARDS) | {"README.md": b"# A set\n"}, "train"),
    "a card with a line for each split": (
        _empty([*SHARDS, TESTED])
        | {"README.md": _lines(("train", "data/train-*"), ("test", "data/test-*"))},
        "train",
    ),
    "a card that says which is the default": (
        _empty([*SHARDS, TESTED]) | {"README.md": _lines(("train", "data/train-*"), default=True)},
        "train",
    ),
    "a star in the middle": (
        _empty(SHARDS) | {"README.md": _lines(("train", "data/tr*-of-00002.parquet"))},
        "train",
    ),
    "a file by its name": (
        _empty(SHARDS) | {"README.md": _lines(("it", SHARDS[1]))},
        "it",
    ),
    "words of no split": (_empty(["a.parquet", "more/testimony.parquet"]), "train"),
    "at top level": (_empty(["train.parquet", "test.parquet"]), "test"),
    "folders": (_empty(["train/0.parquet", "train/1.parquet", "val/0.parquet"]), "validation"),
    "other files that are no data": (
        _empty([*SHARDS, "LICENSE", ".gitattributes", ".gitignore"]),
        "train",
    ),
    "empty files": (dict.fromkeys(SHARDS, b""), "train"),
    "the same content twice": (dict.fromkeys(SHARDS, b"x"), "train"),
    "a dotted folder": (_empty(["v1.0/train/0.parquet"]), "train"),
    "a word in the middle, and at the start": (
        _empty(["a-train-0.parquet", "train-1.parquet"]),
        "train",
    ),
    "not in the order of numbers": (_empty(["part-2.parquet", "part-10.parquet"]), "train"),
    "words of a split, one after the other": (
        _empty(["dev-0.parquet", "val-1.parquet"]),
        "validation",
    ),
}


@pytest.mark.parametrize(("files", "split"), PLAIN.values(), ids=PLAIN.keys())
def test_what_is_plain_is_what_datasets_finds(
    files: Mapping[str, bytes], split: str, site: HubServer, asker: Asker
) -> None:
    assert _resolve(site, asker, files, splits=[split]) is not None


# What plain patterns would get wrong: None, or as `datasets` says; both are right.
UNSURE: Mapping[str, Mapping[str, bytes]] = {
    "shards of push_to_hub hide others": _empty([*SHARDS, "test.parquet", "data/it.parquet"]),
    "a folder hides the names of files": _empty(["val/0.parquet", "test.parquet", "1.parquet"]),
    "a folder hides names that have words": _empty(["train/0.parquet", "test.parquet"]),
    "words are of one case": _empty(["TEST.parquet", "Val/0.parquet"]),
    "a word twice": _empty(["test-test.parquet", "test_0_testing.parquet"]),
    "a word in the folder and in the name": _empty(["test/test.parquet", "test/0.parquet"]),
    "two splits": _empty(["train-test.parquet", "train/test/0.parquet"]),
    "a split with a dash": _empty(["data/part-2-00000-of-00001.parquet"]),
    "a split with a dot": _empty(["data/it.2-00000-of-00001.parquet"]),
    "shards twice": _empty(["data/it-00000-of-00001-00000-of-00001.parquet"]),
    "some have a word": _empty(["train.parquet", "0.parquet"]),
    "a folder that looks like a shard": _empty(["data/it-00000-of-00001/0.parquet"]),
    "digits of other scripts": _empty(["data/it-0000٣-of-00001.parquet"]),
    "letters of other scripts": _empty(["data/día-00000-of-00001.parquet", "data/été.parquet"]),
    "upper case": _empty(["train.PARQUET", "test.parquet"]),
    "hidden": _empty([".0.parquet", ".a/1.parquet", "__b/2.parquet", "__3.parquet", "4.parquet"]),
    "metadata": _empty(["metadata.parquet", "a/metadata.parquet", "0.parquet"]),
    "several suffixes": _empty(["0.json.json.parquet", "train.csv.parquet", "1.parquet.zip"]),
    "a license that is text": _empty(["0.parquet", "LICENSE.md", "LICENSE.txt"]),
    "a license among patterns": _empty(["0.parquet", "LICENSE.md"])
    | {"README.md": _lines(("train", "*"))},
    "a shard that is a config.json": _empty(["config.json", "0.parquet"]),
    "brackets": _empty(["[0].parquet", "a*.parquet", "b?.parquet"]),
    "spaces": _empty(["a b.parquet", "train 1.parquet"]),
    "line ends": _empty(["a\nb.parquet", "data/it-00000-of-00001.parquet"]),
}


@pytest.mark.parametrize("files", UNSURE.values(), ids=UNSURE.keys())
@pytest.mark.parametrize("split", SPLITS)
def test_what_is_not_plain_is_left_to_datasets(
    files: Mapping[str, bytes], split: str, site: HubServer, asker: Asker
) -> None:
    _resolve(site, asker, files, splits=[split])


CARDS: Mapping[str, bytes] = {
    "no configs": _card(configs=[]),
    "null": _card(configs=None),
    "no name": _card(configs=[{"data_files": "data/*"}]),
    "two configs": _card(
        configs=[
            {"config_name": "default", "data_files": "data/train*"},
            {"config_name": "other", "data_files": "data/test*"},
        ]
    ),
    "another name": _card(configs=[{"config_name": "other", "data_files": "data/*"}]),
    "another name, the default": _card(
        configs=[{"config_name": "other", "data_files": "data/*", "default": True}]
    ),
    "a folder": _card(configs=[{"config_name": "default", "data_dir": "data"}]),
    "one pattern": _card(configs=[{"config_name": "default", "data_files": "data/test*"}]),
    "a list": _card(configs=[{"config_name": "default", "data_files": ["data/test*"]}]),
    "no lines": _lines(),
    "a split twice": _lines(("train", "data/train*"), ("train", "data/test*")),
    "a split that matches nothing": _lines(("train", "data/train*"), ("test", "none/*")),
    "a file that is not there": _lines(("train", "data/train*"), ("test", "none.parquet")),
    "a split with a dash": _lines(("train", "data/train*"), ("a-b", "data/test*")),
    "a split without a name": _lines(("train", "data/train*"), ("", "data/test*")),
    "two stars": _lines(("train", "data/**")),
    "stars": _lines(("train", "*/train*")),
    "a star for nothing": _lines(("train", "data/train-00000-of-00002.parquet*")),
    "below here": _lines(("train", "./data/train*")),
    "the folder itself": _lines(("train", "data")),
    "the folder, with a slash": _lines(("train", "data/")),
    "slashes": _lines(("train", "data//train*")),
    "not across folders": _lines(("train", "*.parquet")),
    "everything": _lines(("train", "*")),
    "a dot": _lines(
        ("train", "data/train-0000..of*"), ("test", "data/test-00000-of-00001.parquet")
    ),
    "overlapping": _lines(("train", "data/*"), ("test", "data/test*")),
    "other keys": _lines(("train", "data/train*"), columns=["caption"]),
    "a version": _lines(("train", "data/train*"), version="1.0.0"),
    "not a default": _lines(("train", "data/train*"), default=False),
    "a default that is no truth": _lines(("train", "data/train*"), default="x"),
    "features that are none": _card(dataset_info={"features": "x"}),
    "features of another config": _card(dataset_info=FEATURES | {"config_name": "cats"}),
    "features of two": _card(dataset_info=[FEATURES, FEATURES | {"config_name": "cats"}]),
    "a text of YAML": b"---\nx\n---\n",
    "keys that are numbers": b"---\n1: x\n---\n",
    "no YAML": b"---\na: [\n---\n",
    "a list of YAML": b"---\n- a\n---\n",
    "not UTF-8": b"---\nlicense: \xff\n---\n",
    "a mark of the order of bytes": "\ufeff---\nconfigs: []\n---\n".encode(),
    "ends of lines of DOS": _lines(("test", "data/train*")).replace(b"\n", b"\r\n"),
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())
@pytest.mark.parametrize("asked", [{}, {"splits": ["test"]}, {"config": "default"}])
def test_cards(card: bytes, asked: Mapping[str, Any], site: HubServer, asker: Asker) -> None:
    files = _empty([*SHARDS, TESTED]) | {"README.md": card}
    with contextlib.suppress(Refused):  # both of them read the card
        _resolve(site, asker, files, **asked)


def test_all_of_several_splits_have_to_be_there(site: HubServer, asker: Asker) -> None:
    files = _empty([*SHARDS, TESTED])
    assert _resolve(site, asker, files, splits=["train", "test"]) is not None
    assert _resolve(site, asker, files, splits=["train", "nix"]) is None


def test_no_more_is_listed_once_a_file_is_not_plain(site: HubServer, asker: Asker) -> None:
    repo = site.add("me/images")
    repo.write_all(dict.fromkeys([f"{n:04d}.png" for n in range(2500)], b"x"))
    site.clear()
    assert asker("resolve_plain", repo.id, commit=repo.commit) is None
    assert len(site.requests) == 1


def test_any_names(site: HubServer, asker: Asker) -> None:
    @settings(max_examples=60)
    @given(names=shard_names(4), split=st.sampled_from(SPLITS))
    def compare(names: list[str], split: str) -> None:
        folders = {name.rpartition("/")[0] for name in names}
        assume(not any(name in folders for name in names))
        _resolve(site, asker, _empty(names), splits=[split])

    compare()
