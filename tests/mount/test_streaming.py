"""Data sets of a Hub that are read where they lie, through the real command."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.command import Hffs, Mount
from tests.far_photos import IMAGES, ROWS, photo_of
from tests.hub import HubServer
from tests.hub_store import Repo

pytestmark = pytest.mark.fuse


def test_only_what_is_read_is_fetched_and_only_once(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    folder = mount("owner/photos", "--streaming")
    assert len(os.listdir(folder)) == 2 * ROWS
    before = hub.sent_bytes(IMAGES)
    assert (folder / "7.txt").read_text() == "photo 7"
    assert hub.sent_bytes(IMAGES) == before
    assert (folder / "7.jpg").read_bytes() == photo_of(7)
    assert 0 < hub.sent_bytes(IMAGES) - before < 8 * len(photo_of(7))
    for number in range(ROWS):
        assert (folder / f"{number}.jpg").read_bytes() == photo_of(number)
    everything = hub.sent_bytes(IMAGES)
    for number in reversed(range(ROWS)):
        path = folder / f"{number}.jpg"
        assert path.stat().st_size == len(photo_of(number)) == len(path.read_bytes())
    assert hub.sent_bytes(IMAGES) == everything
    downloaded = [path for path in (tmp_path / "home").rglob("*.parquet")]
    assert not downloaded


def test_a_listing_fetches_no_image_and_a_mount_anew_asks_once(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/photos", "--streaming")
    images = sum(len(photo_of(number)) for number in range(ROWS))
    assert hub.sent_bytes(IMAGES) < images / 2
    subprocess.run(["ls", str(folder)], check=True, stdout=subprocess.DEVNULL)
    before = hub.sent_bytes(IMAGES)
    hffs("umount", str(folder))
    hub.clear()
    again = mount("owner/photos", "--streaming")
    assert [each.line for each in hub.requests] == ["GET /api/datasets/owner/photos/revision/main"]
    assert len(os.listdir(again)) == 2 * ROWS
    assert before
