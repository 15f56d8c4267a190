"""Parquet in object stores and at web addresses, mounted through the real command."""

from __future__ import annotations

import io
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Hffs, Mount
from tests.data.buckets import NONE, Buckets, serving_buckets, use_endpoint, write_keys
from tests.data.urls.server import serving_signed
from tests.far_photos import ROWS, photo_of, shard_of

pytestmark = pytest.mark.fuse

KEYS = {
    "photos/data/train-00000-of-00002.parquet": shard_of(range(ROWS // 2)),
    "photos/data/train-00001-of-00002.parquet": shard_of(range(ROWS // 2, ROWS)),
}


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, hffs: Hffs) -> Iterator[Buckets]:
    with serving_buckets() as buckets:
        use_endpoint(monkeypatch, buckets.endpoint)
        hffs.environ.update({name: os.environ[name] for name in os.environ if "AWS_" in name})
        for name in NONE:
            hffs.environ.pop(name, None)
        write_keys("art", KEYS)
        buckets.requests.clear()
        yield buckets


def test_a_bucket_is_mounted_and_its_pages_are_read_once(
    s3: Buckets, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("s3://art/photos")
    assert len(os.listdir(folder)) == 2 * ROWS
    assert (folder / "7.txt").read_text() == "photo 7"
    for number in range(ROWS):
        assert (folder / f"{number}.jpg").read_bytes() == photo_of(number)
    s3.requests.clear()
    for number in range(ROWS):
        assert (folder / f"{number}.jpg").read_bytes() == photo_of(number)
    assert not s3.requests
    hffs("umount", folder)
    hffs("umount", mount("s3://art/photos/"))
    assert not [line for line in s3.requests if ".parquet" in line]
    filtered = mount("s3://art/photos/", "--where", "score >= 0.5", "--split", "train[10:]")
    assert len(os.listdir(filtered)) == ROWS
    assert (filtered / "0.jpg").read_bytes() == photo_of(ROWS // 2)


def test_a_bucket_is_warmed_and_nothing_is_said_that_nobody_asked(s3: Buckets, hffs: Hffs) -> None:
    done = hffs.run("warm", "s3://art/photos", "--first", "10")
    assert (done.returncode, done.stdout, done.stderr) == (0, "photos: 10 images, 0.0 MB\n", "")
    s3.requests.clear()
    assert json.loads(hffs("warm", "s3://art/photos", "--first", "10", "--json"))["images"] == 10
    assert not [line for line in s3.requests if ".parquet" in line]


def test_an_object_that_is_replaced_is_stale_and_never_mixed(
    s3: Buckets, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("s3://art/photos")
    key = next(iter(KEYS))
    assert (folder / "0.jpg").read_bytes() == photo_of(0)
    write_keys("art", {key: shard_of(range(100, 130))})
    assert (folder / "0.jpg").read_bytes() == photo_of(0)
    with pytest.raises(OSError, match="Stale file handle"):
        (folder / "20.jpg").read_bytes()
    assert (folder / f"{ROWS - 1}.jpg").read_bytes() == photo_of(ROWS - 1)
    hffs("umount", folder)
    assert (mount("s3://art/photos") / "20.jpg").read_bytes() == photo_of(120)


def test_offline_serves_what_was_read(s3: Buckets, hffs: Hffs, mount: Mount) -> None:
    folder = mount("s3://art/photos")
    assert (folder / "3.jpg").read_bytes() == photo_of(3)
    hffs("umount", folder)
    s3.requests.clear()
    folder = mount("s3://art/photos", "--offline")
    assert (folder / "3.jpg").read_bytes() == photo_of(3)
    with pytest.raises(OSError, match="Input/output error"):
        (folder / "55.jpg").read_bytes()
    assert not s3.requests


def test_files_that_cells_name_are_read_beside_the_table(
    s3: Buckets, hffs: Hffs, mount: Mount
) -> None:
    names = ["a/0.jpg", "a/1.jpg", "b/c/2.jpg", "gone.jpg", "../photos/0.jpg"]
    table = pa.table({"image": names, "caption": names})
    features = {"image": {"_type": "Image"}, "caption": {"dtype": "string", "_type": "Value"}}
    sink = io.BytesIO()
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(told), sink)
    photos = {f"named/{name}": photo_of(n) for n, name in enumerate(names[:3])}
    write_keys("art", {"named/table.parquet": sink.getvalue()} | photos)
    folder = mount("s3://art/named", "--image-column", "image")
    assert sorted(os.listdir(folder)) == [f"{n}.{end}" for n in range(3) for end in ("jpg", "txt")]
    for number in range(3):
        assert (folder / f"{number}.jpg").read_bytes() == photo_of(number)


def test_a_signed_address_is_mounted_and_its_signature_kept_nowhere(
    hffs: Hffs, mount: Mount, tmp_path: Path
) -> None:
    with serving_signed("/art/photos.parquet", shard_of(range(9))) as server:
        url = server.url("/art/photos.parquet", "127.0.0.1")
        folder = mount(f"{url}?X-Amz-Signature=secret")
        assert (folder / "7.jpg").read_bytes() == photo_of(7)
        hffs("umount", folder)
        asked = len(server.asked)
        folder = mount(f"{url}?X-Amz-Signature=secret-of-tomorrow")
        assert (folder / "7.jpg").read_bytes() == photo_of(7)
        assert len(server.asked) == asked + 1
        offline = mount(f"{url}?X-Amz-Signature=none", "--offline")
        assert (offline / "7.jpg").read_bytes() == photo_of(7)
        assert len(server.asked) == asked + 1
        hffs("umount", offline)
        (tmp_path / "other").mkdir()
        refused = hffs.run("mount", f"{url}?X-Amz-Signature=old", tmp_path / "other")
        assert "the server refuses to give it (403)" in refused.stderr
        assert "secret" not in hffs("ls", "--json") + hffs.log()
        hffs("umount", folder)
    kept = [path for path in tmp_path.rglob("*") if path.is_file() and "mnt" not in str(path)]
    assert kept
    assert not [path for path in kept if b"secret" in path.read_bytes()]


@pytest.mark.parametrize(
    ("source", "flags", "line"),
    [
        (
            "s3://art/photos",
            ["--revision", "v1"],
            "cannot use revision v1: s3://art/photos is not o",
        ),
        (
            "s3://art/photos",
            ["--config-name", "x"],
            "cannot use config_name x: s3://art/photos is no",
        ),
        ("s3://art/photos", ["--offline"], "offline, and it was not mounted so on this host"),
        ("s3://art/none", [], "cannot open s3://art/none: no such"),
        ("ftp://art/none", [], "nothing here reads such an address; give a p"),
    ],
)
def test_what_cannot_be_mounted_is_one_line(
    source: str, flags: list[str], line: str, s3: Buckets, hffs: Hffs
) -> None:
    done = hffs.run("mount", source, Path(hffs.environ["HF_HOME"]).parent, *flags)
    assert done.returncode in (1, 2, 3, 4, 5)
    assert line in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_daemon_outlives_its_store(s3: Buckets, hffs: Hffs, mount: Mount) -> None:
    folder = mount("s3://art/photos")
    with pytest.MonkeyPatch.context() as away:
        away.setattr(s3, "is_down", True)
        with subprocess.Popen(["cat", folder / "55.jpg"], stdout=subprocess.PIPE) as reading:
            time.sleep(1.5)
            assert reading.poll() is None
            assert (folder / "55.txt").read_text() == "photo 55"
            away.undo()
            assert reading.communicate(timeout=40)[0] == photo_of(55)
