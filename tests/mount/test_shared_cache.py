"""Several daemons over one cache: what one fetched the others serve, and the cap is that of all."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from tests.command import Hffs, Mount
from tests.far_photos import IMAGES, ROWS, photo_of
from tests.hub import HubServer
from tests.hub_store import Repo

pytestmark = pytest.mark.fuse

READER = """
import hashlib, random, sys
folder, rows, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
order = [number for number in range(rows) for _ in range(3)]
random.Random(seed).shuffle(order)
for number in order:
    with open(f"{folder}/{number}.jpg", "rb") as file:
        print(number, hashlib.sha256(file.read()).hexdigest())
"""


def read_at_once(folders: list[Path]) -> list[list[str]]:
    """Every image of each folder three times, by a process a folder; numbers and digests."""
    readers = [
        subprocess.Popen(
            [sys.executable, "-c", READER, str(folder), str(ROWS), str(seed)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed, folder in enumerate(folders)
    ]
    return [reader.communicate(timeout=100)[0].splitlines() for reader in readers]


def used_bytes(hffs: Hffs) -> int:
    blobs = Path(hffs.environ["XDG_CACHE_HOME"], "hffs/store/blobs")
    return sum(-(-path.stat().st_size // 4096) * 4096 for path in blobs.glob("??/[!.]*"))


def expected(number: int) -> str:
    return f"{number} {hashlib.sha256(photo_of(number)).hexdigest()}"


def test_what_one_mount_fetched_another_serves(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    flags = ["--streaming", "--image-column", "image"]
    one = mount("owner/photos", *flags)
    same, other = mount("owner/photos", *flags), mount("owner/photos", *flags, "--where", "score>0")
    for number in range(ROWS):
        assert (one / f"{number}.jpg").read_bytes() == photo_of(number)
    fetched = hub.sent_bytes(IMAGES)
    for number in range(ROWS):
        assert (same / f"{number}.jpg").read_bytes() == photo_of(number)
    for number in range(1, ROWS):
        assert (other / f"{number - 1}.jpg").read_bytes() == photo_of(number)
    assert hub.sent_bytes(IMAGES) == fetched


def test_many_daemons_fill_and_evict_one_cache(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    images = sum(len(photo_of(number)) for number in range(ROWS))
    cap = images // 2
    folders = [
        mount("owner/photos", "--streaming", "--cache-size", str(cap), "--where", f"score>=-{rank}")
        for rank in range(3)
    ]
    told = read_at_once(folders)
    for lines in told:
        assert len(lines) == 3 * ROWS
        assert set(lines) == {expected(number) for number in range(ROWS)}
    assert images // 8 < used_bytes(hffs) <= cap
    assert "disk cache" not in hffs.log()
