"""A local source that is cut short, written over, replaced or deleted under a live mount.

Whatever happens to it, each file gives the bytes that it had or ESTALE, and the daemon lives: a map
that was cut short must never be touched by it, as that would end it with SIGBUS.
"""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import faults
from tests.command import Hffs, Mount
from tests.mixed_photos import draw_png, hollow_jpeg, render_jpeg

pytestmark = pytest.mark.fuse

JPEGS, PNGS = 6, 6
IMAGES = [hollow_jpeg(150_000 + number, number) for number in range(JPEGS)]
IMAGES += [draw_png(seed, 96, 96) for seed in range(PNGS)]
SHOWN = [*IMAGES[:JPEGS], *map(render_jpeg, IMAGES[JPEGS:])]
CAPTIONS = [f"caption {number}" for number in range(len(IMAGES))]
TABLE = pa.table(
    {"image": [{"bytes": image, "path": None} for image in IMAGES], "caption": CAPTIONS}
)


def _parquet(folder: Path) -> Path:
    pq.write_table(TABLE, folder / "a.parquet", compression="none", use_dictionary=False)
    return folder / "a.parquet"


def _compressed(folder: Path) -> Path:
    pq.write_table(TABLE, folder / "a.parquet", compression="zstd", row_group_size=2)
    return folder / "a.parquet"


def _arrow(folder: Path) -> Path:
    with pa.ipc.new_stream(folder / "a.arrow", TABLE.schema) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    return folder / "a.arrow"


def _compressed_arrow(folder: Path) -> Path:
    options = pa.ipc.IpcWriteOptions(compression="lz4")
    with pa.ipc.new_file(folder / "a.arrow", TABLE.schema, options=options) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    return folder / "a.arrow"


def _name(number: int) -> str:
    return f"{number:02}.{'jpg' if number < JPEGS else 'png'}"


def _tar(folder: Path) -> Path:
    with tarfile.open(folder / "a.tar", "w") as archive:
        for number, (image, caption) in enumerate(zip(IMAGES, CAPTIONS, strict=True)):
            texts = {_name(number): image, f"{number:02}.txt": caption.encode()}
            for name, data in texts.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return folder


def _folder(folder: Path) -> Path:
    lines = []
    for number, (image, caption) in enumerate(zip(IMAGES, CAPTIONS, strict=True)):
        (folder / _name(number)).write_bytes(image)
        lines.append(json.dumps({"file_name": _name(number), "text": caption}) + "\n")
    (folder / "metadata.jsonl").write_text("".join(lines))
    return folder


STORES = {
    "parquet": _parquet, "compressed-parquet": _compressed, "arrow-stream": _arrow,
    "compressed-arrow-file": _compressed_arrow, "tar": _tar, "folder": _folder,
}  # fmt: skip


def _read(call: Callable[[], bytes]) -> bytes | str:
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno or 0]


def _read_names(folder: Path) -> list[bytes | str]:
    return [_read((folder / f"{number}.jpg").read_bytes) for number in range(len(IMAGES))]


def _files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _cut(path: Path) -> None:
    os.truncate(path, 700)


def _write_over(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"X" * path.stat().st_size)


@pytest.mark.parametrize("store", STORES)
def test_a_source_that_is_cut_short_is_stale_and_the_daemon_lives(
    store: str, mount: Mount, hffs: Hffs, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    source = STORES[store](tmp_path / "set")
    folder = mount(source)
    pid = _pid(hffs, folder)
    opened = [os.open(folder / f"{number}.jpg", os.O_RDONLY) for number in (0, 1, JPEGS)]
    for path in _files_below(tmp_path / "set"):
        _cut(path)
    expected = [SHOWN[number] for number in (0, 1, JPEGS)]
    for file, image in zip(opened, expected, strict=True):
        assert _read(lambda file=file: os.pread(file, 1 << 20, 0)) in (image, "ESTALE")  # type: ignore[misc]
        os.close(file)
    for found, image in zip(_read_names(folder), SHOWN, strict=True):
        assert found in (image, "ESTALE")
    assert "ESTALE" in _read_names(folder)
    assert _pid(hffs, folder) == pid
    assert [_read((folder / f"{n}.txt").read_bytes) for n in range(3)] == [
        caption.encode() for caption in CAPTIONS[:3]
    ]
    faults.record(
        "a local source is cut short or written over in place, whatever its format",
        "ESTALE, from files that were open too; never other bytes, but where the change leaves "
        "size and mtime (`touch -r`, `rsync --inplace -t`, a writer's shared map). Captions go on",
    )


def _pid(hffs: Hffs, folder: Path) -> int:
    described = hffs.describe(folder)
    assert described is not None
    assert described["health"] == "ok"
    pid: int = described["pid"]
    return pid


def test_regression_an_open_file_of_a_source_that_is_written_over_is_stale_not_garbage(
    mount: Mount, hffs: Hffs, tmp_path: Path
) -> None:
    source = _parquet(tmp_path)
    folder = mount(source)
    with (folder / "0.jpg").open("rb", buffering=0) as file:
        assert file.read(1) == IMAGES[0][:1]
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        _write_over(source)
        assert _read(lambda: os.pread(file.fileno(), 1 << 20, 0)) == "ESTALE"
    begun = time.monotonic()
    hffs("umount", folder)
    _parquet(tmp_path)
    hffs("mount", source, folder)
    assert _read_names(folder) == SHOWN
    faults.record(
        "the same, and then the source is restored and mounted again",
        "the right bytes",
        time.monotonic() - begun,
    )


def test_a_source_that_is_deleted_or_replaced_goes_on(mount: Mount, tmp_path: Path) -> None:
    source = _parquet(tmp_path)
    folder = mount(source)
    shutil.copy(source, tmp_path / "other")
    _write_over(tmp_path / "other")
    (tmp_path / "other").rename(source)
    assert _read_names(folder) == SHOWN
    source.unlink()
    assert _read_names(folder) == SHOWN
    faults.record(
        "a local Parquet, Arrow or tar file is deleted, or replaced by another",
        "the bytes it had, as before",
    )


def test_an_image_file_that_is_removed_is_stale_and_the_others_are_not(
    mount: Mount, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    folder = mount(_folder(tmp_path / "set"))
    kept = (tmp_path / "set" / _name(0)).read_bytes()
    (tmp_path / "set" / _name(0)).unlink()
    assert _read_names(folder) == ["ESTALE", *SHOWN[1:]]
    (tmp_path / "set" / _name(0)).write_bytes(kept)
    assert _read_names(folder)[0] == "ESTALE"  # another file, as far as anyone can tell
    faults.record(
        "a file of a folder of images is removed", "that one ESTALE, the others as before"
    )


def test_a_view_file_and_its_source_that_are_cut_short(
    mount: Mount, hffs: Hffs, tmp_path: Path
) -> None:
    source = _parquet(tmp_path)
    view = tmp_path / "view.parquet"
    hffs("view", source, "-o", view)
    folder = mount(view)
    pid = _pid(hffs, folder)
    assert _read_names(folder)[0] == SHOWN[0]
    _cut(view)  # it was taken in when it was mounted
    assert _read_names(folder) == SHOWN
    _cut(source)
    assert set(_read_names(folder)) <= {"ESTALE", *SHOWN}
    assert _pid(hffs, folder) == pid
    (tmp_path / "new").mkdir()
    refused = hffs.run("mount", view, tmp_path / "new")
    assert refused.returncode in (3, 5)
    assert refused.stderr.count("\n") == 1
