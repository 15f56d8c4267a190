"""Every format, from a folder and from the Hub, through the real command: the same files come."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Hffs, Mount
from tests.formats import CAPTIONS, FORMATS, LABELS, PHOTOS, Case, write_files
from tests.hub import HubServer

pytestmark = pytest.mark.fuse

FLAVOURS = pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)

REFUSED = {
    "arrow_shards": "owner/photos: its files are arrow",
    "webdataset_compressed": "train-0000.tar.gz of owner/photos: it is compressed",
    "zip_deflated": "owner/photos: its files are in zip archives",
    "zip_stored": "owner/photos: its files are in zip archives",
}
"""What is not read where it lies, and how that is said."""


def _expected(case: Case) -> dict[str, bytes]:
    if not case.has_captions:
        return {f"{label}/{n}.jpg": PHOTOS[n] for n, label in enumerate(LABELS)}
    texts = {f"{n}.txt": caption.encode() for n, caption in enumerate(CAPTIONS)}
    return texts | {f"{n}.jpg": photo for n, photo in enumerate(PHOTOS)}


def _read(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert all(path.stat().st_size == len(path.read_bytes()) for path in files)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@FLAVOURS
def test_a_folder_of_files(make: Callable[[], Case], tmp_path: Path, mount: Mount) -> None:
    case = make()
    source = write_files(case.files, tmp_path / "set")
    assert _read(mount(source, *case.flags)) == _expected(case)


@FLAVOURS
def test_a_repository(
    make: Callable[[], Case], tmp_path: Path, mount: Mount, hffs: Hffs, hub: HubServer
) -> None:
    case = make()
    repo = hub.add("owner/photos")
    commit = repo.write_all(case.files)
    hffs.environ.update(hub.env(tmp_path / "home"))
    first = mount("owner/photos", *case.flags)
    assert _read(first) == _expected(case)
    described = hffs.describe(first)
    assert described is not None
    assert described["commit"] == commit
    hffs("umount", first)
    hub.clear()
    second = mount("owner/photos", *case.flags)
    assert _read(second) == _expected(case)
    assert len(hub.requests) == 1, hub.requests
    again = hffs.describe(second)
    assert again is not None
    assert again["fingerprint"] == described["fingerprint"]


@FLAVOURS
def test_a_repository_that_is_not_downloaded(
    make: Callable[[], Case], tmp_path: Path, mount: Mount, hffs: Hffs, hub: HubServer
) -> None:
    case = make()
    hub.add("owner/photos").write_all(case.files)
    hffs.environ.update(hub.env(tmp_path / "home"))
    if make.__name__ in REFUSED:
        (tmp_path / "mnt").mkdir()
        done = hffs.run("mount", "owner/photos", tmp_path / "mnt", "--streaming", *case.flags)
        assert done.returncode == 5
        assert done.stderr.startswith(f"hffs: cannot stream {REFUSED[make.__name__]}")
        assert done.stderr.endswith("leave --streaming out\n")
        assert done.stderr.count("\n") == 1
        return
    folder = mount("owner/photos", "--streaming", *case.flags)
    suffixes = (".jpg", ".parquet", ".tar")
    kept = [path for path in (tmp_path / "home").rglob("*") if path.suffix in suffixes]
    assert [path for path in kept if path.name != "metadata.parquet"] == []
    assert _read(folder) == _expected(case)
    hub.clear()
    assert _read(folder) == _expected(case)
    assert hub.requests == []
    hffs("umount", folder)
    again = mount("owner/photos", "--streaming", *case.flags)
    assert _read(again) == _expected(case)
    assert len(hub.requests) == 1, hub.requests


@pytest.fixture(params=["here", "on the Hub"])
def place(
    request: pytest.FixtureRequest, tmp_path: Path, hffs: Hffs, hub: HubServer
) -> Callable[[dict[str, bytes]], str]:
    """Puts files where the parameter says; what it returns is the name of the data set."""

    def put(files: dict[str, bytes]) -> str:
        if request.param == "here":
            return str(write_files(files, tmp_path / "set"))
        hub.add("owner/photos").write_all(files)
        hffs.environ.update(hub.env(tmp_path / "home"))
        return "owner/photos"

    return put


def test_regression_a_split_of_one_class_is_grouped(
    place: Callable[[dict[str, bytes]], str], mount: Mount
) -> None:
    files = {f"train/{LABELS[n]}/{n}.jpg": PHOTOS[n] for n in range(4)}
    files |= {"test/dog/0.jpg": PHOTOS[0]}
    folder = mount(place(files), "--split", "test", "--group-by", "label")
    assert _read(folder) == {"dog/0.jpg": PHOTOS[0]}


def test_regression_classes_are_named_by_the_card(
    place: Callable[[dict[str, bytes]], str], mount: Mount
) -> None:
    sink = io.BytesIO()
    images = [{"bytes": photo, "path": None} for photo in PHOTOS]
    pq.write_table(pa.table({"image": images, "label": [0, 0, 1, 1]}), sink)
    features = [
        {"name": "image", "dtype": "image"},
        {"name": "label", "dtype": {"class_label": {"names": {"0": "cat", "1": "dog"}}}},
    ]
    card = f"---\n{json.dumps({'dataset_info': {'features': features}})}\n---\n"
    files = {"README.md": card.encode(), "photos.parquet": sink.getvalue()}
    folder = mount(place(files), "--group-by", "label")
    assert _read(folder) == {f"{label}/{n}.jpg": PHOTOS[n] for n, label in enumerate(LABELS)}


def test_regression_what_is_left_out_is_told_once(tmp_path: Path, hffs: Hffs) -> None:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as tar:
        for name, data in {
            "0.jpg": PHOTOS[0],
            "0.txt": b"a",
            "0.npy": b"",
            "1.txt": b"\xff",
        }.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    source = write_files({"photos.tar": sink.getvalue()}, tmp_path / "set")
    (tmp_path / "mnt").mkdir()
    told = []
    for _ in range(2):
        told.append(hffs.run("mount", source, tmp_path / "mnt").stderr)
        hffs("umount", tmp_path / "mnt")
    assert f"files left out of {source}, by extension: npy (1)" in told[0]
    assert f"values left out of {source}: 1 of txt (not UTF-8; the first is 1.txt in" in told[0]
    assert "npy" not in told[1]
    assert "UTF-8" not in told[1]
