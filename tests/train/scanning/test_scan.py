"""Scanning a folder: what is found, what is remembered and believed, what a killed scan leaves."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from PIL import Image

from hffs.data import programs
from hffs.errors import AccessError, SourceError, UsageError
from hffs.train.scanning import batches_of_headers, file_systems, remembering, scan
from hffs.train.scanning.header_readers import make_reader
from hffs.train.scanning.scan import scan_folder
from hffs.train.scanning.scanned import Scan
from tests.engines import FarEngine

COUNT = 40


@dataclass
class Seen:
    """A watcher that notes what it is told."""

    notices: list[str] = field(default_factory=list)
    steps: list[tuple[int, int]] = field(default_factory=list)

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        self.steps.append((done, total))

    def notice(self, text: str) -> None:
        self.notices.append(text)


@dataclass
class Place:
    """A folder of images, a cache, and which files are opened."""

    folder: Path
    cache: Path
    opened: list[bytes]
    seen: Seen = field(default_factory=Seen)

    def scan(self, workers: int = 1) -> Scan:
        self.opened.clear()
        return scan_folder(self.folder, self.cache, workers, self.seen)


def put(folder: Path, number: int, turn: int = 1) -> None:
    block = Image.Exif()
    block[0x0112] = turn
    Image.new("L", (number + 1, 2)).save(folder / f"{number}.jpg", exif=block)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        put(folder, number, number % 8 + 1)
        (folder / f"{number}.txt").write_text("a caption")
    return folder


@pytest.fixture
def place(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A copy of the images, small batches, and a count of what is opened in this process."""
    folder = tmp_path / "images"
    folder.mkdir()
    for path in images.iterdir():
        os.link(path, folder / path.name)
    monkeypatch.setattr(scan, "_BATCH_FILES", 4)
    monkeypatch.setattr(scan, "_FAR_BATCH_FILES", 4)
    monkeypatch.setattr(scan, "_FILES_FOR_ANOTHER", 5)
    opened, real = list[bytes](), batches_of_headers._read_file

    def read(descriptor: int, name: bytes, known: tuple[int, int]) -> bytes:
        record = real(descriptor, name, known)
        if record[-1] != batches_of_headers.Outcome.SAME:
            opened.append(name)
        return record

    monkeypatch.setattr(batches_of_headers, "_read_file", read)
    return Place(folder, tmp_path / "cache", opened)


def check(found: Scan, count: int = COUNT) -> None:
    assert found.names.to_pylist() == [f"{number}.jpg" for number in range(count)]
    assert found.stored.tolist() == [[number + 1, 2] for number in range(count)]
    assert found.orientation.tolist() == [number % 8 + 1 for number in range(count)]
    assert (found.problems, found.others) == ({}, COUNT)


def replace(place: Place, number: int, data: bytes) -> None:
    path = place.folder / f"{number}.jpg"
    path.unlink()
    path.write_bytes(data)


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_every_image_is_found_whoever_reads(place: Place, workers: int) -> None:
    check(place.scan(workers))
    assert place.seen.steps[-1] == (COUNT, COUNT)
    assert not place.seen.notices
    check(place.scan(workers))
    assert place.opened == []


def test_threads_read_what_is_far(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "find_type", lambda _: "fuse.sshfs")
    check(place.scan(3))
    assert len(place.opened) == COUNT
    check(place.scan(3))
    assert place.opened == []


def test_sizes_may_be_upright(place: Place) -> None:
    found = place.scan()
    assert found.sizes(upright=True).tolist()[4:8] == [[2, 5], [2, 6], [2, 7], [2, 8]]
    assert found.sizes(upright=False) is found.stored
    assert not found.stored.flags.writeable


def test_only_what_changed_is_read_again(place: Place) -> None:
    before = place.scan()
    replace(place, 7, (place.folder / "3.jpg").read_bytes())
    (place.folder / "9.jpg").unlink()
    Image.new("L", (100, 2)).save(place.folder / "100.jpg")
    after = place.scan()
    assert sorted(place.opened) == [b"100.jpg", b"7.jpg"]
    assert after.stored[7].tolist() == [4, 2]
    assert after.names.to_pylist()[8:10] == ["8.jpg", "10.jpg"]
    assert after.names.to_pylist()[-1] == "100.jpg"
    assert after.fingerprint != before.fingerprint
    assert place.scan().fingerprint == after.fingerprint
    assert place.opened == []


def test_the_fingerprint_is_that_of_the_files_wherever_they_lie(
    place: Place, tmp_path: Path
) -> None:
    before = place.scan().fingerprint
    place.folder.rename(tmp_path / "moved")
    moved = Place(tmp_path / "moved", tmp_path / "other-cache", place.opened)
    assert moved.scan().fingerprint == before
    (tmp_path / "moved/5.jpg").rename(tmp_path / "moved/five.jpg")
    assert moved.scan().fingerprint != before


def test_problems_are_told_and_tried_again(place: Place) -> None:
    sound = (place.folder / "5.jpg").read_bytes()
    replace(place, 5, b"")
    replace(place, 6, sound[:90])
    (place.folder / "7.jpg").unlink()
    (place.folder / "7.jpg").symlink_to("nowhere")
    found = place.scan()
    assert found.problems == {
        "5.jpg": "empty file",
        "6.jpg": "truncated JPEG",
        "7.jpg": "No such file or directory",
    }
    assert len(found.names) == COUNT - 3
    again = place.scan(2)
    assert again.problems == found.problems
    assert again.fingerprint == found.fingerprint
    replace(place, 5, sound)
    assert set(place.scan().problems) == {"6.jpg", "7.jpg"}
    assert place.opened == [b"5.jpg"]


def test_folders_that_cannot_be_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SourceError, match=r"cannot scan .*gone: No such file"):
        scan_folder(tmp_path / "gone", None, 1, Seen())
    with pytest.raises(UsageError, match=r"cannot scan .*file: not a folder"):
        scan_folder(tmp_path / "file", None, 1, Seen())

    def refuse(folder: Path) -> None:
        raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(scan, "list_images", refuse)
    with pytest.raises(AccessError, match="Permission denied"):
        scan_folder(tmp_path, None, 1, Seen())


def test_an_empty_folder_has_no_images(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for _ in range(2):
        found = scan_folder(tmp_path / "empty", tmp_path / "cache", 2, Seen())
        assert (len(found.names), found.stored.shape, found.problems) == (0, (0, 2), {})


def test_a_socket_is_no_image(place: Place) -> None:
    with socket.socket(socket.AF_UNIX) as served:
        served.bind(str(place.folder / "100.jpg"))
        assert place.scan().problems == {"100.jpg": "not a regular file"}


# What is remembered


def cached(place: Place) -> list[Path]:
    return sorted(place.cache.iterdir())


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: b"something else",
        lambda data: data[:-9] + bytes([data[-9] ^ 1]) + data[-8:],
        lambda data: data + b"\0",
    ],
)
def test_a_damaged_cache_is_made_again(place: Place, damage: Any) -> None:
    first = place.scan()
    (path,) = cached(place)
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert place.scan().fingerprint == first.fingerprint
    assert len(place.opened) == COUNT
    assert not place.seen.notices
    place.scan()
    assert place.opened == []


def test_a_file_of_another_folder_is_foreign(place: Place) -> None:
    place.scan()
    (path,) = cached(place)
    cache = remembering.ScanCache(place.cache, "folder /another", place.seen)
    path.rename(cache._path())
    assert cache.load() is None


@pytest.mark.parametrize(
    "told",
    [{}, {"told": "no JSON"}, {"told": "{}"}, {"told": "KEY"}],
)
def test_a_file_of_another_form_is_foreign(place: Place, told: dict[str, str]) -> None:
    place.scan()
    (path,) = cached(place)
    key = json.dumps({"key": f"folder {place.folder}"})
    body = pa.BufferOutputStream()
    table = pa.table({"name": ["a"]})
    table = table.replace_schema_metadata({k: v.replace("KEY", key) for k, v in told.items()})
    with pa.ipc.new_stream(body, table.schema) as writer:
        writer.write_table(table)
    data = body.getvalue().to_pybytes()
    path.write_bytes(remembering._MAGIC + hashlib.blake2b(data, digest_size=32).digest() + data)
    check(place.scan())
    assert len(place.opened) == COUNT


def test_a_cache_that_cannot_be_written_is_told_of_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "PART_FILES", 8)

    def full(path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(remembering, "replace_file", full)
    check(place.scan())
    (line,) = place.seen.notices
    assert "No space left on device: what is found out of images is not remembered" in line


def test_a_cache_folder_that_cannot_be_made_is_told_of_once(place: Place, tmp_path: Path) -> None:
    place.cache.symlink_to(tmp_path)
    check(place.scan())
    (line,) = place.seen.notices
    assert "symbolic link" in line


def test_nothing_is_kept_without_a_cache(place: Place) -> None:
    check(scan_folder(place.folder, None, 1, place.seen))
    assert not place.cache.exists()


# A scan that ends early


KILLED = """
import sys
from pathlib import Path
from hffs.train.scanning import scan
scan._BATCH_FILES, scan._FILES_FOR_ANOTHER, scan.PART_FILES = 4, 5, 8
class Watcher:
    def progress(self, what, done, total, unit=""):
        print(done, flush=True)
        if done >= 24:
            sys.stdin.read()
    def notice(self, text):
        print(text, flush=True)
scan.scan_folder(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), Watcher())
"""


def start(place: Place, workers: int) -> subprocess.Popen[str]:
    """A scan that waits when it has read 24 files."""
    command = [sys.executable, "-c", KILLED, str(place.folder), str(place.cache), str(workers)]
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ
    )
    assert process.stdout is not None
    assert next(int(line) for line in process.stdout if int(line) >= 24) == 24
    return process


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize(("number", "least"), [(signal.SIGKILL, 24), (signal.SIGINT, 24)])
def test_what_a_killed_scan_has_read_is_not_read_again(
    place: Place, workers: int, number: signal.Signals, least: int
) -> None:
    with start(place, workers) as process:
        process.send_signal(number)
        process.communicate()
    assert process.returncode != 0
    parts = cached(place)
    assert parts
    assert all(path.suffix == ".part" for path in parts)
    check(place.scan())
    assert len(place.opened) == COUNT - least
    assert [path.suffix for path in cached(place)] == [".scan"]


def test_an_error_in_the_middle_keeps_what_was_read(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(what: str, done: int, total: int, unit: str = "") -> None:
        if done == 12:
            raise KeyboardInterrupt

    monkeypatch.setattr(place.seen, "progress", interrupt)
    with pytest.raises(KeyboardInterrupt):
        place.scan()
    monkeypatch.undo()
    assert len(cached(place)) == 1
    check(place.scan())


def test_files_of_a_process_that_died_are_read_here(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_START", "raise SystemExit(3)")
    check(place.scan(3))
    assert len(place.opened) == COUNT


# A mount of ours


@pytest.fixture
def view(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A folder that says that it is a view, on a file system that is believed."""
    monkeypatch.setattr(scan, "find_type", lambda _: "fuse.hffs")
    os.setxattr(place.folder, "user.hffs.view", json.dumps({"fingerprint": "f1"}).encode())
    return place


def test_a_view_is_known_by_its_fingerprint_alone(
    view: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = view.scan(2)
    check(first)
    for path in view.folder.iterdir():
        path.unlink()
    assert view.scan().fingerprint == first.fingerprint
    assert view.opened == []
    os.setxattr(view.folder, "user.hffs.view", json.dumps({"fingerprint": "f2"}).encode())
    assert len(view.scan().names) == 0


def test_of_a_view_only_what_may_pass_is_tried_again(view: Place) -> None:
    sound = (view.folder / "5.jpg").read_bytes()
    replace(view, 4, b"")
    replace(view, 5, b"")
    (view.folder / "5.jpg").unlink()
    (view.folder / "5.jpg").symlink_to("nowhere")
    assert set(view.scan().problems) == {"4.jpg", "5.jpg"}
    replace(view, 4, sound)
    replace(view, 5, sound)
    found = view.scan()
    assert found.problems == {"4.jpg": "empty file"}
    assert view.opened == [b"5.jpg"]
    assert view.scan().fingerprint == found.fingerprint
    assert view.opened == []


def test_a_layer_that_tells_of_the_same_view_is_not_believed(
    view: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "find_type", lambda _: "overlay")
    view.scan()
    Image.new("L", (100, 2)).save(view.folder / "100.jpg")
    assert view.scan().names.to_pylist()[-1] == "100.jpg"


def test_what_a_view_refused_is_remembered_though_another_scan_was_killed(view: Place) -> None:
    replace(view, 4, b"")
    (view.folder / "z.jpg").write_bytes(b"")
    view.scan()
    (path,) = cached(view)
    key = "view f1"
    part = remembering.ScanCache(view.cache, key, view.seen)
    whole = part.load()
    assert whole is not None
    places = pa.array([40, 4])
    rows = whole.rows[[40, 4]]
    reasons = {0: whole.reasons[40], 1: whole.reasons[4]}
    path.unlink()
    part.save_part(remembering.Remembered(whole.names.take(places), rows, reasons))
    assert view.scan().problems == {"4.jpg": "empty file", "z.jpg": "empty file"}
    assert len(view.opened) == COUNT - 1


@pytest.mark.parametrize("told", [b"no JSON", b"[]", b"{}", b'{"fingerprint": 1}', b""])
def test_an_attribute_that_says_nothing_is_no_view(tmp_path: Path, told: bytes) -> None:
    os.setxattr(tmp_path, "user.hffs.view", told)
    opened = os.open(tmp_path, os.O_RDONLY)
    assert file_systems.find_view(opened, "fuse.hffs") is None
    os.removexattr(tmp_path, "user.hffs.view")
    assert file_systems.find_view(opened, "fuse.hffs") is None
    os.close(opened)


def test_the_kernel_tells_what_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open("/proc", os.O_RDONLY)
    assert file_systems.find_type(opened) == "proc"
    monkeypatch.setattr(file_systems, "_TABLE", tmp_path / "table")
    (tmp_path / "table").write_text("a line of another form\n")
    assert file_systems.find_type(opened) == ""
    os.close(opened)
    assert [file_systems.is_far(kind) for kind in ("ext4", "overlay", "nfs4", "fuse.hffs")] == [
        False, False, True, True,
    ]  # fmt: skip


def test_workers_of_an_engine_find_the_same(place: Place) -> None:
    """Whoever reads them; what was remembered is trusted alike."""
    engine = FarEngine()
    scanned = scan_folder(place.folder, place.cache, 1, place.seen, engine)
    alone = scan_folder(place.folder, None, 1, place.seen)
    assert scanned.fingerprint == alone.fingerprint
    assert scanned.problems == alone.problems
    assert engine.done == COUNT / 4
    again = scan_folder(place.folder, place.cache, 1, place.seen, engine)
    assert again.fingerprint == alone.fingerprint


def test_a_worker_that_does_not_have_the_folder_says_so(tmp_path: Path) -> None:
    read = make_reader(str(tmp_path / "gone"), "cpu")
    with pytest.raises(SourceError, match=r"gone: a worker on .* says: No such file or directory"):
        list(read([(0, b"")]))


def test_a_view_is_measured_by_the_host_that_mounts_it(view: Place) -> None:
    engine = FarEngine()
    scanned = scan_folder(view.folder, view.cache, 1, view.seen, engine)
    assert (len(scanned.names), engine.done) == (COUNT, 0)
    assert view.seen.notices[-1].endswith(
        "is a mount, whose images are measured by this host alone"
    )
