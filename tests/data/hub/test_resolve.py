"""What a request means: splits, configs, revisions and files, and how much asking it takes."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hffs.data.hub.resolution import Request
from hffs.data.hub.resolve import _names_at
from hffs.errors import SourceError
from tests.data.hub.conftest import Asker, file_of, parquet
from tests.hub import HubServer


def _names(found: dict[str, Any], split: str = "train") -> list[str]:
    return [file["name"] for file in file_of(found, split)]


def _png() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (2, 2)).save(out, "PNG")
    return out.getvalue()


def _card(*configs: dict[str, Any], **more: Any) -> bytes:
    return f"---\n{json.dumps({'configs': list(configs)} | more)}\n---\n# A set\n".encode()


def test_only_the_files_of_the_split_come_with_sizes_and_etags(
    site: HubServer, asker: Asker
) -> None:
    repo = site.add("me/splits")
    shards = {f"data/train-0000{n}-of-00002.parquet": parquet(start=n) for n in range(2)}
    large = bytes(site.lfs_threshold + 1)
    repo.write_all(shards | {"data/test-00000-of-00001.parquet": large})
    found = asker("resolve", "me/splits")
    assert (found["name"], found["commit"]) == ("me/splits", repo.commit)
    assert (found["format"], found["options"], found["features"]) == ("parquet", {}, None)
    assert list(found["files"]) == ["train"]
    assert _names(found) == sorted(shards)
    kept = repo.files(repo.commit)
    for file in file_of(found):
        blob = kept[file["name"]]
        assert (file["size_bytes"], file["etag"]) == (blob.size, blob.oid)
    assert not [each for each in site.requests if each.path.endswith(".parquet")]
    [tested] = file_of(asker("resolve", "me/splits", splits=["test"]), "test")
    assert tested["etag"] == kept[tested["name"]].sha256
    both = asker("resolve", "me/splits", splits=["test", "train"])
    assert list(both["files"]) == ["test", "train"]


def test_branch_tag_and_commit_are_pinned(site: HubServer, asker: Asker) -> None:
    repo = site.add("me/revisions")
    first = repo.write("train.parquet", parquet(1))
    repo.tag("v1")
    repo.branch("refs/convert/parquet")
    second = repo.write("train.parquet", parquet(2))
    repo.branch("dev")
    third = repo.write("train.parquet", parquet(3))
    expected = {"main": third, "v1": first, "dev": second, "refs/convert/parquet": first}
    for revision, commit in (expected | {second: second}).items():
        assert asker("read_commit", "me/revisions", revision=revision) == commit
        found = asker("resolve", "me/revisions", revision=revision)
        assert found["commit"] == commit
        assert file_of(found)[0]["etag"] == repo.files(commit)["train.parquet"].oid


def test_configs_of_a_card_choose_files_and_declare_features(site: HubServer, asker: Asker) -> None:
    features = [{"name": "caption", "dtype": "string"}]
    cats = {"config_name": "cats", "data_files": "cats/*"}
    dogs = {"config_name": "dogs", "data_files": [{"split": "test", "path": "dogs/*"}]}
    infos = [{"config_name": "cats", "features": features}]
    files = {"cats/a.parquet": parquet(), "dogs/b.parquet": parquet()}
    site.add("me/configs").write_all({"README.md": _card(cats, dogs, dataset_info=infos)} | files)
    found = asker("resolve", "me/configs", config="cats")
    assert (found["config"], _names(found)) == ("cats", ["cats/a.parquet"])
    assert found["features"] == {"caption": {"dtype": "string", "_type": "Value"}}
    found = asker("resolve", "me/configs", config="dogs", splits=["test"])
    assert (found["features"], _names(found, "test")) == (None, ["dogs/b.parquet"])


def test_data_files_choose_files(site: HubServer, asker: Asker) -> None:
    files = {"a/one.csv": b"x\n1\n", "a/two.csv": b"x\n2\n", "b/three.tsv": b"x\ty\n"}
    site.add("me/files").write_all(files)
    assert _names(asker("resolve", "me/files", data_files=["a/two.csv"])) == ["a/two.csv"]
    found = asker("resolve", "me/files", data_files=["a/*.csv"])
    assert (found["format"], _names(found)) == ("csv", ["a/one.csv", "a/two.csv"])
    found = asker("resolve", "me/files", data_files={"mine": ["b/*"]}, splits=["mine"])
    assert (found["options"], _names(found, "mine")) == ({"sep": "\t"}, ["b/three.tsv"])


def test_formats_are_told_apart(site: HubServer, asker: Asker) -> None:
    metadata = b"file_name,text\n0.png,red\n"
    folder = {"train/0.png": _png(), "train/metadata.csv": metadata, "test/1.png": _png()}
    expected = {
        "imagefolder": (folder, ["train/0.png", "train/metadata.csv"]),
        "webdataset": ({"0.tar": b"", "1.tar": b""}, ["0.tar", "1.tar"]),
        "json": ({"train.jsonl": b'{"a": 1}\n'}, ["train.jsonl"]),
        "text": ({"train.txt": b"words\n"}, ["train.txt"]),
    }
    for kind, (files, names) in expected.items():
        site.add(f"formats/{kind}").write_all(files)
        found = asker("resolve", f"formats/{kind}")
        assert (found["format"], sorted(_names(found))) == (kind, names)


def test_a_folder_of_that_name_here_is_not_taken_for_it(site: HubServer, tmp_path: Path) -> None:
    site.add("me/here").write("train.parquet", parquet())
    (tmp_path / "me/here").mkdir(parents=True)
    (tmp_path / "me/here/train.csv").write_text("a\n1\n")
    (tmp_path / "me/here/here.py").write_text("raise SystemExit")
    with Asker.start(tmp_path, site.env(tmp_path / "hf"), at=tmp_path) as own:
        assert own("resolve", "me/here")["format"] == "parquet"


def test_find_files_names_what_is_there_in_the_order_asked(site: HubServer, asker: Asker) -> None:
    repo = site.add("me/many")
    names = [f"{n}.png" for n in range(1200)]
    repo.write_all({name: b"x" * index for index, name in enumerate(names)} | {"d/x": b""})
    asked = [*reversed(names), "none.png", "d"]
    found = asker("find_files", "me/many", commit=repo.commit, names=asked)
    assert [file["name"] for file in found] == asked[:-2]
    assert [file["size_bytes"] for file in found] == list(reversed(range(1200)))
    assert len(site.requests) == 3


def test_an_older_copy_in_the_cache_is_never_substituted(site: HubServer, tmp_path: Path) -> None:
    """`datasets` answers from what it prepared before when a repository cannot be read any more."""
    home = tmp_path / "hf"
    old = home / "datasets/me___older/default/0.0.0/0123456789abcdef"
    old.mkdir(parents=True)
    (old / "dataset_info.json").write_text('{"splits": {"train": {"name": "train"}}}')
    (old / "older-train.arrow").write_bytes(b"x")
    repo = site.add("me/older")
    repo.write("train.parquet", parquet())
    repo.gated = "manual"
    with Asker.start(tmp_path, site.env(home)) as own:
        kind, line = own.refusal("resolve", "me/older")
    assert (kind, "it is gated" in line) == ("AccessError", True)


COMMIT = "0123456789" * 4


@pytest.mark.parametrize(
    "path",
    [
        f"hf://datasets/me/set@{'f' * 40}/x.csv",
        f"hf://datasets/me/other@{COMMIT}/x.csv",
        "hf://datasets/me/set/x.csv",
        f"hf://datasets/me/set@{COMMIT}/../../x.csv",
        f"zip://x.csv::hf://datasets/me/set@{COMMIT}/x.zip",
        "https://example.org/x.csv",
        "/etc/passwd",
    ],
)
def test_files_of_another_commit_or_place_are_not_believed(path: str) -> None:
    """What `datasets` has kept of before is one of these."""
    asked = Request("me/set")
    own = f"hf://datasets/me/set@{COMMIT}/data/x.csv"
    assert _names_at(asked, COMMIT, {"train": [own]}) == {"train": ["data/x.csv"]}
    with pytest.raises(SourceError, match="which is not at commit 012345678901") as caught:
        _names_at(asked, COMMIT, {"train": [own], "test": [own, path]})
    assert path in str(caught.value)
