"""Tars of samples that are read where they lie, through the real command."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.command import Hffs, Mount
from tests.hub import Fail, HubServer
from tests.hub_store import Repo

pytestmark = pytest.mark.fuse

TARS, COUNT = 3, 12
IMAGES = TARS * COUNT
FILES = r"GET .*/resolve/.*\.tar"


def photo_of(number: int) -> bytes:
    """A JPEG of some 120 KB, or now and then a PNG under that name, or what is no image."""
    if number % 12 == 7:
        return b"no image" * 100
    pixels = np.random.default_rng(number).integers(0, 256, (240, 300 + number, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG" if number % 12 == 5 else "JPEG", quality=90)
    return file.getvalue()


def tar_of(numbers: range) -> bytes:
    """A tar as webdataset's writer packs it: with times that are no whole seconds."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for number in numbers:
            about = json.dumps({"width": 300 + number, "score": number / IMAGES}).encode()
            for name, data in {
                "jpg": photo_of(number),
                "json": about,
                "txt": f"photo {number}".encode(),
            }.items():
                member = tarfile.TarInfo(f"{number:06d}.{name}")
                member.size, member.mtime = len(data), 0.5
                tar.addfile(member, io.BytesIO(data))
    return sink.getvalue()


@pytest.fixture
def far_tars(hub: HubServer, hffs: Hffs, tmp_path: Path) -> Repo:
    """A repository of tars, and a command that knows its Hub."""
    repo = hub.add("owner/tars")
    numbers = [range(at * COUNT, (at + 1) * COUNT) for at in range(TARS)]
    repo.write_all({f"train-{at:06d}.tar": tar_of(part) for at, part in enumerate(numbers)})
    hffs.environ.update(hub.env(tmp_path / "home"))
    return repo


def images_bytes() -> int:
    return sum(len(photo_of(number)) for number in range(IMAGES))


def read_all(folder: Path) -> dict[str, bytes | int | None]:
    """Every file, or the errno of who reads it."""
    found: dict[str, bytes | int | None] = {}
    for name in os.listdir(folder):
        try:
            found[name] = (folder / name).read_bytes()
        except OSError as error:
            found[name] = error.errno
    return found


def test_only_what_is_read_is_fetched_and_only_once(
    far_tars: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    folder = mount("owner/tars", "--streaming")
    assert len(os.listdir(folder)) == 2 * IMAGES
    indexed = hub.sent_bytes(FILES)
    assert 0 < indexed < images_bytes() / 5
    asked = len(hub.requests)
    subprocess.run(["ls", "-l", str(folder)], check=False, capture_output=True)
    assert (folder / "20.txt").read_text() == "photo 20"
    assert (folder / "20.jpg").stat().st_size == len(photo_of(20))
    rendered = {number for number in range(IMAGES) if number % 12 in (5, 7)}
    others = [each for each in hub.requests[asked:] if each.range is not None]
    assert len(others) <= len(rendered)
    assert hub.sent_bytes(FILES) - indexed <= sum(len(photo_of(number)) for number in rendered)
    before = hub.sent_bytes(FILES)
    assert (folder / "20.jpg").read_bytes() == photo_of(20)
    assert hub.sent_bytes(FILES) - before == len(photo_of(20))
    everything = read_all(folder)
    hub.clear()
    assert read_all(folder) == everything
    assert hub.requests == []
    assert not list((tmp_path / "home").rglob("*.tar"))


@pytest.mark.parametrize(
    "flags",
    [
        [],
        ["--where", "json.score >= 0.3", "--min-width", "310", "--names", "row"],
        ["--split", "train[5:30]", "--max-num-samples", "9", "--seed", "3", "--images-only"],
        ["--image-format", "source", "--width-column", "json.width"],
        ["--orientation", "upright", "--caption-column", "json.score"],
    ],
)
def test_the_same_names_and_bytes_as_of_a_download(
    flags: list[str], far_tars: Repo, mount: Mount
) -> None:
    far, here = mount("owner/tars", "--streaming", *flags), mount("owner/tars", *flags)
    sizes = [(path.name, path.stat().st_size) for path in sorted(here.glob("*.txt"))]
    assert sizes == [(path.name, path.stat().st_size) for path in sorted(far.glob("*.txt"))]
    found = read_all(here)
    assert read_all(far) == found
    assert any(isinstance(data, bytes) for data in found.values())


def test_a_mount_anew_asks_once_and_offline_serves_what_was_read(
    far_tars: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/tars", "--streaming")
    photo = (folder / "3.jpg").read_bytes()
    hffs("umount", folder)
    hub.clear()
    again = mount("owner/tars", "--streaming")
    assert [each.line for each in hub.requests] == ["GET /api/datasets/owner/tars/revision/main"]
    hffs("umount", again)
    hub.go_down()
    offline = mount("owner/tars", "--streaming", "--offline")
    assert (offline / "3.jpg").read_bytes() == photo
    assert (offline / "30.jpg").stat().st_size == len(photo_of(30))
    assert (offline / "30.txt").read_text() == "photo 30"
    with pytest.raises(OSError, match="Input/output error") as caught:
        (offline / "30.jpg").read_bytes()
    assert caught.value.errno == errno.EIO


def test_a_table_is_made_once_for_a_download_too(
    far_tars: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    mount("owner/tars", "--streaming")
    mount("owner/tars")
    (prepared,) = Path(hffs.environ["XDG_CACHE_HOME"]).glob("hffs/store/prepared/*")
    assert (prepared / "rows.parquet").stat().st_size < 50_000


def test_a_view_is_warmed_then_read_without_the_hub(
    far_tars: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    shown = json.loads(hffs("warm", "owner/tars", "--streaming", "--json"))
    broken = sum(number % 12 == 7 for number in range(IMAGES))
    assert (shown["images"], shown["broken"]) == (IMAGES - broken, broken)
    folder = mount("owner/tars", "--streaming", "--offline")
    hub.clear()
    for number in range(0, IMAGES, 6):
        assert (folder / f"{number}.jpg").read_bytes() == photo_of(number)
    assert hub.requests == []


def test_the_order_of_reading_is_fetched_ahead(
    far_tars: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    order = [number for number in np.random.default_rng(1).permutation(IMAGES) if number % 12 != 7]
    (tmp_path / "order.txt").write_text("\n".join(map(str, order)))
    hffs("umount", mount("owner/tars", "--streaming"))
    hub.clear()
    folder = mount("owner/tars", "--streaming", "--order", tmp_path / "order.txt")
    hub.wait_until_sent(sum(len(photo_of(int(number))) for number in order), FILES)
    hub.faults.append(
        Fail(r"GET .*\.tar", 404, times=None)
    )  # the last ones may be on their way yet
    for number in order[:5]:
        if number % 12 != 5:
            assert (folder / f"{number}.jpg").read_bytes() == photo_of(int(number))


def test_who_is_interrupted_while_indexing_goes_on(
    far_tars: Repo, hub: HubServer, hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    (tmp_path / "mnt").mkdir()
    hub.faults.append(Fail(r"GET .*/resolve/.*-000001\.tar", 404))
    done = hffs.run("mount", "owner/tars", tmp_path / "mnt", "--streaming")
    assert done.returncode == 3
    assert done.stderr.startswith("hffs: cannot fetch train-000001.tar of owner/tars")
    hub.clear()
    folder = mount("owner/tars", "--streaming")
    again = {each.path.rpartition("/")[2] for each in hub.requests if each.range is not None}
    assert "train-000001.tar" in again
    assert "train-000000.tar" not in again
    assert (folder / "20.jpg").read_bytes() == photo_of(20)


def test_a_view_can_be_inspected(far_tars: Repo, hffs: Hffs) -> None:
    shown = json.loads(hffs("inspect", "owner/tars", "--streaming", "--json"))
    assert (shown["images"], shown["source_bytes"]) == (IMAGES, images_bytes())
    assert (shown["passes"], shown["rendered"], shown["fails"]) == (30, 3, 3)


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda data: data[:200_000], "ends behind the end of the file"),
        (lambda data: data.replace(b".json", b".jsom"), "there is no header at byte"),
        (lambda data: b"", "it is empty"),
    ],
)
def test_a_broken_tar_is_one_line(
    damage: object, told: str, far_tars: Repo, hffs: Hffs, tmp_path: Path
) -> None:
    assert callable(damage)
    far_tars.write_all({"train-000001.tar": damage(tar_of(range(COUNT, 2 * COUNT)))})
    (tmp_path / "mnt").mkdir()
    for flags in (["--streaming"], []):
        done = hffs.run("mount", "owner/tars", tmp_path / "mnt", *flags)
        assert done.returncode == 5
        assert done.stderr.count("\n") == 1
        assert told in done.stderr
        assert "train-000001.tar" in done.stderr
