"""Data sets of a Hub that are read where they lie, through the real command."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Hffs, Mount
from tests.far_photos import IMAGES, ROWS, photo_of, shard_of
from tests.hub import Fail, Flip, HubServer
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


def test_filters_read_their_columns_alone(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/photos", "--streaming", "--where", "score >= 0.5", "--images-only")
    assert len(os.listdir(folder)) == ROWS // 2
    images = sum(len(photo_of(number)) for number in range(ROWS))
    assert hub.sent_bytes(IMAGES) < images / 2
    assert (folder / "0.jpg").read_bytes() == photo_of(ROWS // 2)


def test_the_same_names_and_bytes_as_of_a_download(far_photos: Repo, mount: Mount) -> None:
    flags = ["--split", "train[10:50]", "--max-num-samples", "20", "--seed", "3"]
    far, here = mount("owner/photos", "--streaming", *flags), mount("owner/photos", *flags)
    assert sorted(os.listdir(far)) == sorted(os.listdir(here))
    for path in here.iterdir():
        assert (far / path.name).read_bytes() == path.read_bytes()


def test_what_is_cached_is_served_without_the_hub(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/photos", "--streaming")
    photo = (folder / "3.jpg").read_bytes()
    hub.go_down()
    assert (folder / "3.jpg").read_bytes() == photo
    reading = subprocess.Popen(["cat", str(folder / "55.jpg")], stdout=subprocess.PIPE)
    assert (folder / "55.txt").read_text() == "photo 55"
    assert reading.poll() is None
    hub.come_back()
    assert reading.communicate(timeout=30)[0] == photo_of(55)
    hffs("umount", folder)
    hub.go_down()
    refused = hffs.run("mount", "owner/photos", folder, "--streaming")
    assert re.search(
        r"or mount what is cached, commit [0-9a-f]{12}, with --offline", refused.stderr
    )
    offline = mount("owner/photos", "--streaming", "--offline")
    assert (offline / "3.jpg").read_bytes() == photo
    with pytest.raises(OSError, match="Input/output error") as caught:
        (offline / "30.jpg").read_bytes()
    assert caught.value.errno == errno.EIO
    assert "offline, and it is not in the cache" in hffs.log()


def test_a_mount_ends_while_it_waits_for_the_hub(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/photos", "--streaming")
    hub.go_down()
    with subprocess.Popen(["cat", str(folder / "55.jpg")], stderr=subprocess.DEVNULL) as reading:
        begun = time.monotonic()
        hffs("umount", "--force", folder)
        assert time.monotonic() - begun < 20
        reading.wait(10)
    assert reading.returncode != 0


def test_an_image_that_is_broken_harms_no_other(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    images = [photo_of(0), b"", b"no image", photo_of(3)]
    sink = io.BytesIO()
    table = pa.table({"image": images, "caption": list("abcd")})
    pq.write_table(table, sink, write_page_index=True)
    hub.add("owner/broken").write_all({"data/train-00000-of-00001.parquet": sink.getvalue()})
    folder = mount("owner/broken", "--streaming")
    assert len(os.listdir(folder)) == 8
    for number in (1, 2):
        with pytest.raises(OSError, match="Input/output error"):
            (folder / f"{number}.jpg").read_bytes()
    assert (folder / "0.jpg").read_bytes() == photo_of(0)
    assert (folder / "3.jpg").read_bytes() == photo_of(3)


def test_regression_pages_are_checked_for_flipped_bits(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    sink = io.BytesIO()
    table = pa.table({"image": [photo_of(n) for n in range(9)], "caption": ["x"] * 9})
    pq.write_table(table, sink, write_page_index=True, write_page_checksum=True)
    hub.add("owner/checked").write_all({"data/train-00000-of-00001.parquet": sink.getvalue()})
    folder = mount("owner/checked", "--streaming")
    hub.faults.append(Flip(IMAGES, 3000))
    assert (folder / "5.jpg").read_bytes() == photo_of(5)
    assert hub.faults == []


def test_a_hub_that_refuses_is_eacces(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/photos", "--streaming")
    hub.faults.append(Fail(IMAGES, 403, times=None))
    with pytest.raises(PermissionError):
        (folder / "5.jpg").read_bytes()
    assert hffs.log().count("it may not be read (answer 403)") == 1
    hub.faults.clear()
    assert (folder / "5.jpg").read_bytes() == photo_of(5)


def _wait_until_quiet(hub: HubServer) -> None:
    """Until a Hub was sent no request for a second."""
    seen, deadline = -1, time.monotonic() + 100
    while seen != (seen := len(hub.requests)):
        assert time.monotonic() < deadline
        time.sleep(1)


def test_the_order_of_reading_is_fetched_ahead(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    order = np.random.default_rng(1).permutation(ROWS)
    told = tmp_path / "order.txt"
    told.write_text("\n".join(f"{number}.jpg" for number in order))
    folder = mount("owner/photos", "--streaming", "--order", told)
    assert (folder / f"{order[0]}.jpg").read_bytes() == photo_of(int(order[0]))
    images = sum(len(photo_of(number)) for number in range(ROWS))
    hub.wait_until_sent(images, IMAGES)
    _wait_until_quiet(hub)  # what was read meanwhile may have been sent twice
    hub.clear()
    for number in order:
        assert (folder / f"{number}.jpg").read_bytes() == photo_of(int(number))
    assert hub.requests == []
    told.write_text("0\nnine\n")
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", "owner/photos", tmp_path / "mnt", "--streaming", "--order", told)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'nine'" in done.stderr


def test_no_address_that_is_signed_is_logged(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    hub.redirect = True
    folder = mount("owner/photos", "--streaming")
    assert (folder / "5.jpg").read_bytes() == photo_of(5)
    assert any(each.path.startswith("/cdn/") and each.query for each in hub.requests)
    assert "http" not in hffs.log()


def test_a_view_can_be_inspected(
    far_photos: Repo, hub: HubServer, hffs: Hffs, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    shown = json.loads(hffs("inspect", "owner/photos", "--streaming", "--json", "--html", page))
    assert (shown["images"], shown["image_files"], shown["fails"]) == (ROWS, ROWS, 0)
    assert page.read_text().count("data:image/jpeg") > 10


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--offline"], "cannot read owner/photos: offline, and it was not mounted so on this "),
        (
            ["--image-format", "source"],
            "cannot use image_format source: images of image are not on",
        ),
        (["--split", "other"], "cannot find split other of owner/photos"),
    ],
)
def test_what_cannot_be_is_one_line(
    flags: list[str], line: str, far_photos: Repo, hffs: Hffs, tmp_path: Path
) -> None:
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", "owner/photos", tmp_path / "mnt", "--streaming", *flags)
    assert done.returncode in (2, 3)
    assert done.stderr.startswith(f"hffs: {line}")
    assert done.stderr.count("\n") == 1


def test_a_data_set_of_this_host_is_read_from_it(tmp_path: Path, hffs: Hffs, mount: Mount) -> None:
    (tmp_path / "a.parquet").write_bytes(shard_of(range(3)))
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", tmp_path / "a.parquet", tmp_path / "mnt", "--streaming")
    assert done.returncode == 0
    assert f"streaming has no effect: {tmp_path}/a.parquet is on this host" in done.stderr
    assert (tmp_path / "mnt" / "2.jpg").read_bytes() == photo_of(2)
    hffs("umount", tmp_path / "mnt")
