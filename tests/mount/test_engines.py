"""`--engine ray` through the real command: the same results, by workers of a Ray of its own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Hffs
from tests.far_photos import ROWS
from tests.hub_store import Repo
from tests.mount.test_bucket import FLAGS, write_folder

pytestmark = pytest.mark.timeout(300)  # Ray takes long to start on cores that are busy

RAY = ("--engine", "ray", "--ray-workers", "2")


def test_a_view_is_the_same_by_whomever_it_is_decided(
    far_photos: Repo, hffs: Hffs, tmp_path: Path
) -> None:
    view = ("view", "owner/photos", "--streaming", "--min-width", "90", "--json", "-o")
    alone = hffs(*view, tmp_path / "alone.parquet")
    shared = hffs(
        *view, tmp_path / "ray.parquet", "--cache-dir", tmp_path / "other", *RAY, timeout_s=200
    )
    assert json.loads(shared)["positions"] == json.loads(alone)["positions"] == ROWS - 30
    assert (tmp_path / "ray.parquet").read_bytes() == (tmp_path / "alone.parquet").read_bytes()


def test_buckets_are_the_same_by_whomever_images_are_measured(hffs: Hffs, tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "photos")
    plan = ("bucket", folder, *FLAGS, "--json", "--cache-dir")
    shared = hffs.run(*plan, tmp_path / "other", *RAY, timeout_s=200)
    assert shared.stderr == ""
    alone = json.loads(hffs(*plan, tmp_path / "cache"))
    found = json.loads(shared.stdout)
    assert found["scan"]["fingerprint"] == alone["scan"]["fingerprint"]
    assert found["buckets"] == alone["buckets"]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (("--ray-workers", "2"), "cannot use --ray-workers: the engine is local"),
        (("--ray-address", "a:1"), "cannot use --ray-address: the engine is local"),
        (
            ("--engine", "ray", "--ray-address", "127.0.0.1:9"),
            "cannot reach the Ray cluster at 127.0.0.1:9: Connection refused",
        ),
    ],
)
def test_what_cannot_be_is_told_in_a_line(
    hffs: Hffs, tmp_path: Path, flags: tuple[str, ...], line: str
) -> None:
    done = hffs.run("bucket", write_folder(tmp_path / "photos"), *flags)
    assert done.returncode in (2, 3)
    assert done.stderr.startswith(f"hffs: {line}")
    assert done.stderr.count("\n") == 1
