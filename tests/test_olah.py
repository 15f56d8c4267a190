"""Real clients through olah to the Hub for tests: two servers that agree are worth more than one.

What olah does otherwise than the Hub is written down here, for whatever reads through a mirror.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.hub import HubServer, fetch
from tests.olah import open_olah

pytestmark = pytest.mark.olah

DATA = bytes(range(256)) * 4096
FILE = "/datasets/ann/set/resolve/main/x.bin"
COMMITTED = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]


def _run(code: str, env: dict[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | env,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_parquet_comes_through_with_equal_bytes(
    hub: HubServer, olah: str, tmp_path: Path, photo_parquet: Path
) -> None:
    name, data = "data/train-00000-of-00001.parquet", photo_parquet.read_bytes()
    commit = hub.add("ann/set").write(name, data)
    hub.redirect = True
    code = f"""
from huggingface_hub import HfApi, hf_hub_download
print(HfApi().dataset_info("ann/set").sha)
print(hf_hub_download("ann/set", "{name}", repo_type="dataset", token="hf_secret"))
"""
    env = hub.env(tmp_path / "hf-home") | {"HF_ENDPOINT": olah}
    sha, path = _run(code, env).splitlines()
    assert sha == commit
    assert Path(path).read_bytes() == data
    assert Path(path).parts[-3] == commit
    # It asks us itself, and hands on who asks; our CDN gets no token from it either.
    resolved = [
        each for each in hub.requests if each.path.endswith(name) and "cdn" not in each.path
    ]
    assert {each.token for each in resolved} == {"hf_secret"}
    sent = hub.sent_bytes(f"GET .*{name}")
    assert sent == len(data)

    again = env | {"HF_HOME": str(tmp_path / "another-home")}
    assert Path(_run(code, again).splitlines()[1]).read_bytes() == data
    assert hub.sent_bytes(f"GET .*{name}") == sent


def test_datasets_loads_through_it(
    hub: HubServer, olah: str, tmp_path: Path, photo_parquet: Path, photos: list[tuple[str, bytes]]
) -> None:
    hub.add("ann/set").write("data/train-00000-of-00001.parquet", photo_parquet)
    code = "import datasets; print(datasets.load_dataset('ann/set', split='train').num_rows)"
    env = hub.env(tmp_path / "hf-home") | {"HF_ENDPOINT": olah}
    assert int(_run(code, env)) == len(photos)


def test_it_says_who_is_refused(hub: HubServer, olah: str) -> None:
    hub.add("ann/set").write("x.bin", DATA)
    hub.repos["ann/set"].gated = "auto"
    gated, _ = fetch(olah, FILE, {})
    missing, _ = fetch(olah, "/api/datasets/ann/none", {})
    assert gated.status == missing.status == 401
    assert missing.headers["X-Error-Code"] == "RepoNotFound"


def test_a_range_is_answered_but_costs_the_block_that_it_lies_in(hub: HubServer, olah: str) -> None:
    hub.add("ann/set").write("x.bin", DATA)
    got, body = fetch(olah, FILE, {"Range": "bytes=100-199"})
    assert (got.status, body) == (206, DATA[100:200])
    assert got.headers["Content-Range"] == f"bytes 100-199/{len(DATA)}"
    assert hub.sent_bytes("GET .*x.bin") == len(DATA)
    beyond, _ = fetch(olah, FILE, {"Range": f"bytes={len(DATA)}-"})
    assert beyond.status == 416


def test_a_local_mirror_ignores_ranges(hub: HubServer, tmp_path: Path) -> None:
    hub.add("ann/set")
    folder, mirror = tmp_path / "olah", tmp_path / "mirrors/datasets/ann/set"
    folder.mkdir()
    mirror.mkdir(parents=True)
    (mirror / "x.bin").write_bytes(DATA)
    for verb in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Add"]):
        subprocess.run(["git", *COMMITTED, *verb], cwd=mirror, check=True)
    with open_olah(hub, folder, mirrors=tmp_path / "mirrors") as endpoint:
        head, _ = fetch(endpoint, FILE, {}, "HEAD")
        got, body = fetch(endpoint, FILE, {"Range": "bytes=100-199"})
    assert head.headers["Content-Length"] == str(len(DATA))
    # The whole file, with nothing that says so but the status: no length, no commit, no tag.
    assert (got.status, body) == (200, DATA)
    told = {name.lower() for name in got.headers}
    assert told.isdisjoint({"content-range", "content-length", "x-repo-commit", "etag"})
    assert hub.sent_bytes("x.bin") == 0
