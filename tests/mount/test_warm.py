"""`hffs warm` through the real command: views and mounts, here and elsewhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.command import Hffs, Mount
from tests.far_photos import IMAGES, ROWS, photo_of
from tests.hub import HubServer
from tests.hub_store import Repo

pytestmark = pytest.mark.fuse


def test_a_view_is_warmed_then_read_without_the_hub(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    first = json.loads(hffs("warm", "owner/photos", "--streaming", "--first", "10", "--json"))
    assert (first["images"], first["broken"], first["missed"]) == (10, 0, 0)
    done = hub.sent_bytes(IMAGES)
    assert hffs("warm", "owner/photos", "--streaming").startswith(f"owner-photos: {ROWS} images, ")
    assert hub.sent_bytes(IMAGES) > done
    hub.clear()
    folder = mount("owner/photos", "--streaming", "--offline")
    for number in range(ROWS):
        path = folder / f"{number}.jpg"
        assert path.stat().st_size == len(photo_of(number))
        assert path.read_bytes() == photo_of(number)
    assert hub.requests == []


def test_a_mount_is_warmed_through_itself(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/photos", "--streaming")
    shown = hffs("warm", folder)
    assert shown.startswith(f"{folder}: {ROWS} images, ")
    hub.clear()
    assert (folder / "59.jpg").read_bytes() == photo_of(59)
    assert hub.requests == []
    refused = hffs.run("warm", folder, "--split", "test")
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "it is a mount; leave the flags out" in refused.stderr


def test_what_cannot_be_read_is_told(hffs: Hffs, tmp_path: Path, far_photos: Repo) -> None:
    far_photos.write_all({"data/train-00000-of-00002.parquet": b"PAR1 no shard PAR1"})
    done = hffs.run("warm", "owner/photos", "--streaming")
    assert done.returncode == 5
    assert done.stderr.startswith("hffs: cannot read owner/photos@")
