"""What users get wrong, through the command line: one clear line and the right exit code."""

import io
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs

pytestmark = pytest.mark.fuse


def _image() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (48, 32), "red").save(file, "JPEG")
    return file.getvalue()


INTERRUPTED = """
import os, signal
from hffs.cli import main
from hffs.mount.lifecycle import daemon
def interrupt(*arguments):
    os.kill(os.getpid(), signal.SIGINT)
daemon._listen = interrupt
main()
"""
CELL = {"bytes": _image(), "path": None}


def _table(path: Path, columns: dict[str, list[object]]) -> Path:
    pq.write_table(pa.table(columns), path, compression="none", use_dictionary=False)
    return path


def _good(folder: Path) -> Path:
    columns: dict[str, list[object]] = {"image": [CELL], "caption": ["a"], "width": [48]}
    return _table(folder / "good.parquet", columns)


def _missing(folder: Path) -> Path:
    return folder / "no.parquet"


def _text(folder: Path) -> Path:
    (folder / "text.parquet").write_text("not parquet at all, but long enough to look at")
    return folder / "text.parquet"


def _truncated(folder: Path) -> Path:
    whole = _good(folder).read_bytes()
    (folder / "cut.parquet").write_bytes(whole[:-20])
    return folder / "cut.parquet"


def _empty_folder(folder: Path) -> Path:
    (folder / "empty").mkdir()
    (folder / "empty" / "readme.md").write_text("x")
    return folder / "empty"


def _no_image(folder: Path) -> Path:
    return _table(folder / "a.parquet", {"caption": ["a"], "width": [1]})


def _two_images(folder: Path) -> Path:
    return _table(folder / "a.parquet", {"front": [CELL], "back": [CELL], "caption": ["a"]})


def _hub_id(folder: Path) -> Path:
    return Path("user/name")


CASES: list[tuple[Callable[[Path], Path], list[str], int, str]] = [
    (_missing, [], 3, "no such file"),
    (_hub_id, [], 3, "cannot"),
    (_text, [], 5, "magic bytes"),
    (_truncated, [], 5, "magic bytes"),
    (_empty_folder, [], 3, r"no file here is of a format that is read (found 1 .md file)"),
    (_no_image, [], 5, "it has no image column; columns: caption"),
    (_two_images, [], 2, "several image columns: front, back"),
    (_two_images, ["--image-column", "frnt"], 2, "front"),
    (_good, ["--caption-column", "captoin"], 2, "caption"),
    (_good, ["--where", "widht > 3"], 2, "width"),
    (_good, ["--where", "width >"], 2, "where"),
    (_good, ["--where", "width"], 2, "neither true nor false"),
    (_good, ["--where", "width > 100"], 5, "where: 1"),
    (_good, ["--min-width", "100"], 5, "min_width: 1"),
    (_good, ["--min-width", "big"], 2, "--min-width"),
    (_good, ["--split", "test"], 3, "train"),
    (_good, ["--no-such-flag"], 2, "--no-such-flag"),
    (_good, ["--umask", "9"], 2, "octal"),
    (_good, ["--type", "local", "--instance-data-dir", "x"], 2, "type local is a folder already"),
    (_good, ["--missing-caption", "perhaps"], 2, "--missing-caption"),
    (_good, ["--image-format", "webp"], 2, "webp"),
]


@pytest.mark.parametrize(("make", "flags", "code", "words"), CASES)
def test_a_wrong_source_or_flag(  # noqa: PLR0913 - two fixtures and a row of the table
    hffs: Hffs,
    tmp_path: Path,
    make: Callable[[Path], Path],
    flags: list[str],
    code: int,
    words: str,
) -> None:
    (tmp_path / "mnt").mkdir()
    _expect(hffs, [make(tmp_path), tmp_path / "mnt", *flags], code, words)
    assert hffs.describe(tmp_path / "mnt") is None


def _expect(hffs: Hffs, arguments: list[str | Path], code: int, words: str) -> None:
    done = hffs.run("mount", *arguments)
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert done.stderr.startswith("hffs: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stdout == ""


def test_a_wrong_mountpoint(hffs: Hffs, tmp_path: Path) -> None:
    source = _good(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    (tmp_path / "taken").mkdir()
    hffs("mount", source, tmp_path / "taken")
    try:
        _expect(hffs, [source, tmp_path / "none"], 4, "no such folder")
        _expect(hffs, [source, source], 4, "it is not a folder")
        _expect(hffs, [source, tmp_path / "full"], 4, "the folder is not empty (file is in it)")
        _expect(hffs, [source, tmp_path / "taken"], 4, "fuse.hffs is mounted there already")
        _expect(hffs, [source, "/proc"], 4, "proc is mounted there already")
    finally:
        hffs("umount", tmp_path / "taken")


def test_umount_of_what_is_not_mounted(hffs: Hffs, tmp_path: Path) -> None:
    for place, words in ((tmp_path, "nothing is mounted there"), ("/proc", "is proc, not hffs")):
        done = hffs.run("umount", place)
        assert done.returncode == 4
        assert words in done.stderr
        assert done.stderr.count("\n") == 1


def test_an_interrupt_is_one_line_and_leaves_nothing(hffs: Hffs, tmp_path: Path) -> None:
    source, place = _good(tmp_path), tmp_path / "mnt"
    place.mkdir()
    command = [sys.executable, "-c", INTERRUPTED, "mount", str(source), str(place)]
    done = subprocess.run(command, capture_output=True, text=True, env=hffs.environ, check=False)
    assert (done.returncode, done.stderr) == (130, "hffs: interrupted\n")
    assert hffs.describe(place) is None


def test_debug_shows_the_traceback(hffs: Hffs, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    done = hffs.run("--debug", "mount", tmp_path / "no.parquet", tmp_path / "mnt")
    assert done.returncode == 3
    assert "Traceback" in done.stderr


def test_a_file_in_the_place_of_a_folder(hffs: Hffs, tmp_path: Path) -> None:
    (tmp_path / "mnt").mkdir()
    _expect(hffs, [_good(tmp_path) / "below", tmp_path / "mnt"], 3, "not a directory")


def test_a_data_set_without_captions_is_mounted_with_a_warning(hffs: Hffs, tmp_path: Path) -> None:
    source = _table(tmp_path / "a.parquet", {"image": [CELL], "label": [3]})
    (tmp_path / "mnt").mkdir()
    done = hffs.run("mount", source, tmp_path / "mnt")
    try:
        assert done.returncode == 0
        assert "no caption files" in done.stderr
        assert "image, label" in done.stderr
        assert os.listdir(tmp_path / "mnt") == ["0.jpg"]
    finally:
        hffs("umount", tmp_path / "mnt")
