"""The main job, through real mounts: the same bytes, names and sizes as the source says."""

import contextlib
import errno
import hashlib
import io
import json
import mmap
import os
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hffs.mount.registry import read_start_time
from tests.command import Hffs, Mount
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse


def _encode(size: tuple[int, int], kind: str, seed: int = 0, mode: str = "RGB") -> bytes:
    """A noisy image of a size, in a format."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], len(mode)), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(), mode).save(file, kind)
    return file.getvalue()


def _write(path: Path, images: list[bytes | None], captions: list[str | None]) -> Path:
    cells = [None if image is None else {"bytes": image, "path": None} for image in images]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    sizes = [(64 + i, 48) for i in range(len(images))]
    table = pa.table(
        {
            "image": pa.array(cells, kind),
            "caption": pa.array(captions, pa.string()),
            "width": [width for width, _ in sizes],
            "height": [height for _, height in sizes],
        }
    )
    pq.write_table(table, path, compression="none", use_dictionary=False, row_group_size=4)
    return path


JPEGS = [_encode((64 + i, 48), "JPEG", i) for i in range(8)]
CAPTIONS: list[str | None] = [f"image number {i}" for i in range(8)]


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return _write(tmp_path / "photos.parquet", list(JPEGS), CAPTIONS)


def test_files_are_the_rows(mount: Mount, photos: Path) -> None:
    folder = mount(photos)
    names = [f"{i}.{extension}" for i in range(8) for extension in ("jpg", "txt")]
    assert os.listdir(folder) == names
    for i, image in enumerate(JPEGS):
        assert (folder / f"{i}.jpg").read_bytes() == image
        assert (folder / f"{i}.txt").read_text() == CAPTIONS[i]


def test_a_filter_renumbers_what_it_keeps(mount: Mount, photos: Path) -> None:
    folder = mount(photos, "--where", "width >= 66 AND width < 69")
    assert [(folder / f"{i}.jpg").read_bytes() for i in range(3)] == JPEGS[2:5]
    assert len(os.listdir(folder)) == 6
    assert os.getxattr(folder / "0.jpg", "user.hffs.row") == b"2"


def test_sizes_are_exact_before_any_read_also_of_rendered_images(
    mount: Mount, tmp_path: Path
) -> None:
    images = [_encode((40, 30), kind) for kind in ("PNG", "WEBP", "GIF", "TIFF", "BMP")]
    folder = mount(_write(tmp_path / "a.parquet", list(images), ["x"] * 5))
    listed = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    for name, size in listed.items():
        assert size == len((folder / name).read_bytes())
    for i, image in enumerate(images):
        with Image.open(folder / f"{i}.jpg") as shown, Image.open(io.BytesIO(image)) as source:
            assert (shown.format, shown.size) == ("JPEG", source.size)


def test_every_attribute_is_the_same_after_a_remount(
    mount: Mount, hffs: Hffs, photos: Path
) -> None:
    def look(folder: Path) -> dict[str, tuple[int, int, int, bytes]]:
        return {
            entry.name: (
                entry.inode(),
                entry.stat().st_size,
                entry.stat().st_mtime_ns,
                Path(entry).read_bytes(),
            )
            for entry in os.scandir(folder)
        }

    first = mount(photos)
    seen = look(first)
    hffs("umount", first)
    assert look(mount(photos)) == seen


def test_a_corrupt_image_costs_one_file(mount: Mount, hffs: Hffs, tmp_path: Path) -> None:
    broken = _encode((40, 30), "PNG")[:200]
    folder = mount(_write(tmp_path / "a.parquet", [JPEGS[0], broken, JPEGS[1]], ["a", "b", "c"]))
    for attempt in (Path.read_bytes, Path.stat, Path.read_bytes):
        with pytest.raises(OSError, match="Input/output") as caught:
            attempt(folder / "1.jpg")
        assert caught.value.errno == errno.EIO
    assert (folder / "0.jpg").read_bytes() == JPEGS[0]
    assert (folder / "2.jpg").read_bytes() == JPEGS[1]
    assert (folder / "1.txt").read_text() == "b"
    assert hffs.log().count("cannot render 1.jpg (row 1 of ") == 1


def test_a_bomb_is_refused_and_the_daemon_lives(mount: Mount, hffs: Hffs, tmp_path: Path) -> None:
    bomb = bytearray(_encode((40, 30), "PNG"))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
    folder = mount(_write(tmp_path / "a.parquet", [bytes(bomb), JPEGS[1]], ["a", "b"]))
    with pytest.raises(OSError, match="Input/output"):
        (folder / "0.jpg").read_bytes()
    assert (folder / "1.jpg").read_bytes() == JPEGS[1]
    assert "pixels" in hffs.log()


def test_captions_of_every_kind(mount: Mount, tmp_path: Path) -> None:
    texts = ["two\nlines", "nul\0inside", "emoji 🦊 ünïcödé", "x" * 2**20]
    folder = mount(_write(tmp_path / "a.parquet", list(JPEGS[:4]), list(texts)))
    shown = [(folder / f"{i}.txt").read_bytes().decode() for i in range(4)]
    assert shown == ["two lines", "nulinside", texts[2], texts[3]]


def test_rows_without_image_or_caption_are_left_out_and_counted(
    mount: Mount, tmp_path: Path
) -> None:
    source = _write(tmp_path / "a.parquet", [JPEGS[0], None, b"", JPEGS[3], JPEGS[4]],
                    ["a", "b", "c", None, "e"])  # fmt: skip
    folder = mount(source)
    assert [os.getxattr(folder / f"{i}.jpg", "user.hffs.row") for i in range(2)] == [b"0", b"4"]
    assert len(os.listdir(folder)) == 4
    view = json.loads(os.getxattr(folder, "user.hffs.view"))
    assert view["positions"] == 2
    assert view["source_rows"] == 5
    assert dict(view["dropped"]) == {"null image": 1, "image of no bytes": 1, "no caption": 1}


CHANGES: list[Callable[[Path], object]] = [
    lambda f: (f / "0.jpg").write_bytes(b""),
    lambda f: (f / "0.jpg").unlink(),
    lambda f: (f / "0.jpg").rename(f / "9.jpg"),
    lambda f: (f / "0.jpg").chmod(0o777),
    lambda f: os.utime(f / "0.jpg"),
    lambda f: os.truncate(f / "0.jpg", 0),
    lambda f: (f / "new").mkdir(),
    lambda f: (f / "new").touch(),
    lambda f: (f / "new").symlink_to("0.jpg"),
    lambda f: os.link(f / "0.jpg", f / "new"),
    lambda f: os.mkfifo(f / "new"),
    lambda f: os.setxattr(f / "0.jpg", "user.x", b"y"),
    lambda f: os.removexattr(f / "0.jpg", "user.hffs.row"),
    lambda f: f.chmod(0o777),
]


def test_every_change_is_refused(mount: Mount, photos: Path) -> None:
    folder = mount(photos)
    for change in CHANGES:
        with pytest.raises(OSError, match="Read-only") as caught:
            change(folder)
        assert caught.value.errno == errno.EROFS


def test_other_names_do_not_exist(mount: Mount, photos: Path) -> None:
    folder = mount(photos)
    for name in ("-1.jpg", "01.jpg", "1_0.jpg", "8.jpg", "0.png", "0.JPG", "x", "0") * 2:
        assert not (folder / name).exists()


def test_usual_tools_copy_the_same_bytes(mount: Mount, photos: Path, tmp_path: Path) -> None:
    folder = mount(photos)
    for i, command in enumerate(
        (
            ["cp", "-r", f"{folder}/."],
            ["rsync", "-a", f"{folder}/"],
            ["cp", "-r", "--reflink=never", f"{folder}/."],
        )
    ):
        copy = tmp_path / f"copy{i}"
        copy.mkdir()
        subprocess.run([*command, copy], check=True)
        for j, image in enumerate(JPEGS):
            assert (copy / f"{j}.jpg").read_bytes() == image
    packed = subprocess.run(["tar", "-C", folder, "-cf", "-", "."], check=True, capture_output=True)
    (tmp_path / "unpacked").mkdir()
    subprocess.run(
        ["tar", "-C", tmp_path / "unpacked", "-xf", "-"], check=True, input=packed.stdout
    )
    assert (tmp_path / "unpacked/7.jpg").read_bytes() == JPEGS[7]
    sums = [subprocess.check_output(f"md5sum {folder}/*.jpg", shell=True) for _ in range(2)]  # noqa: S602
    expected = [hashlib.md5(image, usedforsecurity=False).hexdigest() for image in JPEGS]
    assert [line.split()[0].decode() for line in sums[0].splitlines()] == expected
    assert sums[0] == sums[1]
    found = subprocess.check_output(
        ["find", folder, "-size", "+1000c", "-name", "*.jpg"], text=True
    )
    assert len(found.split()) == sum(len(image) > 1000 for image in JPEGS)


def test_mmap_and_pread_see_the_file(mount: Mount, photos: Path) -> None:
    folder = mount(photos)
    with (folder / "3.jpg").open("rb") as file:
        with mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
            assert mapped[:] == JPEGS[3]
        for offset, size in (
            (0, 10),
            (100, 1),
            (len(JPEGS[3]) - 5, 100),
            (len(JPEGS[3]), 1),
            (9**9, 9),
        ):
            assert os.pread(file.fileno(), size, offset) == JPEGS[3][offset : offset + size]


def test_mount_options_and_attributes(mount: Mount, photos: Path) -> None:
    folder = mount(photos, "--uid", "1234", "--gid", "2345", "--umask", "027")
    found = (folder / "0.jpg").stat()
    assert (found.st_uid, found.st_gid, found.st_mode & 0o777) == (1234, 2345, 0o440)
    assert folder.stat().st_mode & 0o777 == 0o550
    (line,) = [x for x in Path("/proc/self/mountinfo").read_text().splitlines() if str(folder) in x]
    assert " - fuse.hffs " in line
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))
    assert "default_permissions" in line
    room = os.statvfs(folder)
    assert room.f_files == 17
    assert room.f_bavail == 0
    assert room.f_blocks * room.f_frsize >= sum(map(len, JPEGS))
    assert set(os.listxattr(folder / "0.txt")) == {
        "user.hffs.row", "user.hffs.source", "user.hffs.caption_column",
    }  # fmt: skip
    with pytest.raises(OSError, match="No data"):
        os.getxattr(folder / "0.jpg", "user.other")


def test_ls_tells_and_umount_ends_the_daemon(mount: Mount, hffs: Hffs, photos: Path) -> None:
    folder = mount(photos)
    line = hffs.describe(folder)
    assert line is not None
    assert line["rows"] == 8
    assert line["health"] == "ok"
    assert str(photos) in line["source"]
    assert str(folder) in hffs("ls")
    assert str(folder) not in hffs("ls", folder.parent)
    hffs("umount", folder)
    assert read_start_time(line["pid"]) is None
    assert hffs.describe(folder) is None
    assert os.listdir(folder) == []


def _health(hffs: Hffs, folder: Path) -> tuple[int, str]:
    """Pid and health of a mount, as `hffs ls` tells them."""
    line = hffs.describe(folder)
    assert line is not None
    return line["pid"], line["health"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_unmounts_with_readers_active(
    mount: Mount, hffs: Hffs, photos: Path, number: signal.Signals
) -> None:
    folder = mount(photos)
    pid = _health(hffs, folder)[0]
    reader = os.open(folder / "0.jpg", os.O_RDONLY)
    assert os.read(reader, 3) == JPEGS[0][:3]
    os.kill(pid, number)
    wait_until(lambda: read_start_time(pid) is None)
    assert os.listdir(folder) == []
    with contextlib.suppress(OSError):  # the daemon that close would tell is gone
        os.close(reader)


def test_a_dead_mount_is_seen_and_mounted_over(mount: Mount, hffs: Hffs, photos: Path) -> None:
    folder = mount(photos)
    pid = _health(hffs, folder)[0]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: _health(hffs, folder)[1] == "dead")
    hffs("mount", photos, folder)
    assert (folder / "0.jpg").read_bytes() == JPEGS[0]
    assert _health(hffs, folder)[1] == "ok"


def test_umount_refuses_while_in_use_and_force_does_not(
    mount: Mount, hffs: Hffs, photos: Path, hold_open: Callable[[Path], None]
) -> None:
    folder = mount(photos)
    hold_open(folder / "0.jpg")
    refused = hffs.run("umount", folder)
    assert refused.returncode == 4
    assert "it is in use" in refused.stderr
    assert refused.stderr.count("\n") == 1
    hffs("umount", "--force", folder)
    assert os.listdir(folder) == []


def test_regression_who_only_looks_at_a_mount_does_not_keep_it(
    mount: Mount, hffs: Hffs, photos: Path
) -> None:
    folder = mount(photos)
    with ThreadPoolExecutor(1) as pool:
        with open(folder / "0.jpg", "rb"):
            ending = pool.submit(hffs, "umount", folder)
            time.sleep(0.4)  # as long as `hffs ls` may be in it, not as long as it is tried
        ending.result()
    assert os.listdir(folder) == []


def test_a_source_changed_in_place_is_stale_not_garbage(mount: Mount, photos: Path) -> None:
    folder = mount(photos)
    assert (folder / "0.jpg").read_bytes() == JPEGS[0]
    with photos.open("r+b") as file:
        file.seek(2000)
        file.write(b"changed")
    with pytest.raises(OSError, match="Stale") as caught:
        (folder / "1.jpg").read_bytes()
    assert caught.value.errno == errno.ESTALE


def test_a_deleted_source_is_served_from_the_open_file(mount: Mount, photos: Path) -> None:
    folder = mount(photos)
    photos.unlink()
    assert [(folder / f"{i}.jpg").read_bytes() for i in range(8)] == JPEGS


def test_foreground_stays_until_it_is_told(hffs: Hffs, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    command = [sys.executable, "-m", "hffs", "mount", "--foreground", str(photos), str(folder)]
    process = subprocess.Popen(command, env=hffs.environ, stderr=subprocess.PIPE, text=True)
    try:
        wait_until(lambda: hffs.describe(folder) is not None)
        assert (folder / "0.jpg").read_bytes() == JPEGS[0]
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0, said
        assert os.listdir(folder) == []
    finally:
        process.kill()
        process.communicate()
        hffs.run("umount", "--force", folder)
