"""Getting a data set of the Hub: what is asked, downloaded, pinned, and found again offline."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.data.hub.conftest import Asker
from tests.formats import CAPTIONS, PHOTOS, imagefolder_csv, parquet_shards
from tests.hub import HubServer

SHARDS = parquet_shards().files
NAMED = {f"{name}.parquet": f"data/train-0000{n}-of-00002.parquet" for n, name in enumerate("ab")}
"""Shards by names that do not tell how many there are."""


def _get(asker: Asker, name: str, **keys: object) -> dict[str, Any]:
    found: dict[str, Any] = asker("acquire", name, keys=keys)
    return found


def _snapshots(asker: Asker, name: str) -> Path:
    return asker.home / f"hub/datasets--{name.replace('/', '--')}/snapshots"


def _rows(images: list[str]) -> bytes:
    rows = ({"image": image, "caption": "x"} for image in images)
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def test_a_newer_commit_is_taken_and_the_files_of_the_older_are_left(
    site: HubServer, asker: Asker
) -> None:
    repo = site.add("at/moves")
    repo.write_all(SHARDS)
    first = _get(asker, "at/moves")
    repo.write("data/train-00001-of-00002.parquet", SHARDS["data/train-00000-of-00002.parquet"])
    second = _get(asker, "at/moves")
    assert (first["commit"], second["commit"]) != (second["commit"], first["commit"])
    assert second["commit"] == repo.commit
    for commit in (first["commit"], second["commit"]):
        assert len(list((_snapshots(asker, "at/moves") / commit / "data").iterdir())) == 2


def test_features_of_the_card_count_where_shards_have_none(site: HubServer, asker: Asker) -> None:
    rows = pa.table({"label": [0], "image": [{"bytes": PHOTOS[0], "path": None}]})
    out = io.BytesIO()
    pq.write_table(rows, out)
    card = b"""---
dataset_info:
  features:
  - name: label
    dtype: {class_label: {names: {"0": cat, "1": dog}}}
  - {name: image, dtype: image}
---
"""
    files = {"data/train-00000-of-00001.parquet": out.getvalue(), "README.md": card}
    site.add("at/told").write_all(files)
    found = _get(asker, "at/told")
    assert json.loads(found["features"])["info"]["features"]["label"]["names"] == ["cat", "dog"]


def test_only_images_that_cells_of_the_slice_name_are_downloaded(
    site: HubServer, asker: Asker
) -> None:
    names = [f"{number}.jpg" for number in range(4)]
    table = io.BytesIO()
    pq.write_table(pa.table({"image": names}), table, row_group_size=1)
    files = dict(zip(names, PHOTOS, strict=True)) | {"train.parquet": table.getvalue()}
    repo = site.add("at/named")
    repo.write_all(files)
    keys = {"data_files": ["train.parquet"]}
    folder = _snapshots(asker, "at/named") / repo.commit
    _get(asker, "at/named", split="train[1:3]", **keys)
    assert {path.name for path in folder.glob("*.jpg")} == {"1.jpg", "2.jpg"}
    found = _get(asker, "at/named", **keys)
    assert {path.name for path in folder.glob("*.jpg")} == set(names)
    assert "downloading images of at/named" in found["work"]


def test_the_hub_is_not_asked_for_what_is_elsewhere(site: HubServer, asker: Asker) -> None:
    """A million URLs would be two thousand questions."""
    urls = ["https://example.org/0.jpg", "https://example.org/1.jpg"]
    away = ["../0.jpg", "/etc/passwd", "a/../../0.jpg", "0\0.jpg"]
    for name, images in (("urls", urls), ("away", away)):
        site.add(f"at/{name}").write("train.jsonl", _rows(images))
        site.clear()
        _get(asker, f"at/{name}")
        told = [each for each in site.requests if "/paths-info/" in each.path]
        before = 2  # of README.md and its like, and of train.jsonl
        assert len(told) == before, name


def test_offline_it_is_the_same_however_it_came(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    for name, files in (("shards", SHARDS), ("folder", imagefolder_csv().files)):
        site.add(f"at/{name}").write_all(files)
        online = _get(asker, f"at/{name}")
        site.clear()
        again = _get(asker, f"at/{name}", offline=True, cache_dir=str(tmp_path))
        assert site.requests == []
        assert (again["pins"], again["commit"]) == (online["pins"], online["commit"])
        assert all(len(pin["tag"]) in (32, 40, 64) for pin in online["pins"])


def test_offline_a_shard_of_several_is_missed(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    repo = site.add("at/gap")
    repo.write_all(SHARDS)
    _get(asker, "at/gap")
    missing = "data/train-00001-of-00002.parquet"
    (_snapshots(asker, "at/gap") / repo.commit / missing).unlink()
    for keys in ({}, {"cache_dir": str(tmp_path)}):
        kind, line = asker.refusal("acquire", "at/gap", keys=keys | {"offline": True})
        assert (kind, f"not on this host: {missing}" in line) == ("SourceError", True), line


def test_offline_it_is_what_is_there_and_says_that_it_may_be_a_part(
    site: HubServer, asker: Asker
) -> None:
    site.add("at/part").write_all({name: SHARDS[shard] for name, shard in NAMED.items()})
    for name in NAMED:
        _get(asker, "at/part", data_files=[name])  # brings this file only
        part = _get(asker, "at/part", offline=True)
        names = [shard["name"] for shard in part["shards"]]
        assert names == list(NAMED)[: len(names)]
        assert f"whether the {len(names)} files of at/part@" in "".join(part["work"])
    assert names == list(NAMED)


def test_offline_it_is_all_where_the_cache_has_a_listing_that_says_so(
    site: HubServer, asker: Asker
) -> None:
    site.add("at/listed").write_all({name: SHARDS[shard] for name, shard in NAMED.items()})
    for name, is_all in (("a.parquet", False), ("*", True)):
        tool = [str(Path(sys.executable).with_name("hf")), "download", "--repo-type", "dataset"]
        environ = os.environ | site.env(asker.home)
        subprocess.run([*tool, "at/listed", "--include", name], env=environ, check=True)
        work = _get(asker, "at/listed", offline=True)["work"]
        assert ("whether" in "".join(work)) != is_all


def test_offline_a_table_that_is_gone_is_made_again(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    site.add("at/made").write_all(imagefolder_csv().files)
    keys = {"cache_dir": str(tmp_path)}
    first = _get(asker, "at/made", **keys)
    shutil.rmtree(tmp_path / "store/prepared")
    again = _get(asker, "at/made", offline=True, **keys)
    assert again["pins"] == first["pins"]
    assert len(CAPTIONS) == pq.read_metadata(again["shards"][0]["path"]).num_rows
