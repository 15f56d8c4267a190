"""The real command through olah, a mirror that others wrote, in front of the Hub for tests."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.command import Hffs, Mount
from tests.hub import HubServer
from tests.mount.test_hub import shard
from tests.olah import open_olah

pytestmark = [pytest.mark.fuse, pytest.mark.olah]

COMMITTED = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]


def _read(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_data_set_comes_through_it_with_equal_bytes(
    hub: HubServer, olah: str, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    repo = hub.add("owner/photos")
    names = [f"data/train-0000{n}-of-00002.parquet" for n in range(2)]
    repo.write_all({names[0]: shard(0, 1), names[1]: shard(2)})
    hub.redirect = True
    hffs.environ.update(hub.env(tmp_path / "home") | {"HF_ENDPOINT": olah})
    first = mount("owner/photos")
    told = hffs.describe(first) or {}
    assert told["commit"] == repo.commit
    sent = hub.sent_bytes("GET .*parquet")
    second = mount("owner/photos")
    assert hub.sent_bytes("GET .*parquet") == sent
    direct = Hffs.below(tmp_path / "direct")
    direct.environ.update(hub.env(tmp_path / "another-home"))
    folder = tmp_path / "mnt-direct"
    folder.mkdir()
    direct("mount", "owner/photos", folder)
    try:
        assert _read(first) == _read(second) == _read(folder)
        assert (direct.describe(folder) or {})["fingerprint"] == told["fingerprint"]
    finally:
        direct("umount", folder)


def test_its_local_mirror_is_enough(
    hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    hub.add("owner/photos")
    folder, mirror = tmp_path / "olah", tmp_path / "mirrors/datasets/owner/photos"
    folder.mkdir()
    mirror.mkdir(parents=True)
    (mirror / "train.parquet").write_bytes(shard(0, 1))
    for verb in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Add"]):
        subprocess.run(["git", *COMMITTED, *verb], cwd=mirror, check=True)
    with open_olah(hub, folder, mirrors=tmp_path / "mirrors") as endpoint:
        hffs.environ.update(hub.env(tmp_path / "home") | {"HF_ENDPOINT": endpoint})
        assert sorted(_read(mount("owner/photos"))) == ["0.jpg", "0.txt", "1.jpg", "1.txt"]
    assert hub.sent_bytes("owner/photos") == 0  # it asks whether that is there, no more
