"""`hffs inspect` as a user calls it: what it prints, writes and refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.cells import cell_len

from hffs.cli.drawing.terminal import Screen
from hffs.cli.inspection.text import render_text
from tests.clips import Clip, encode_clip
from tests.command import Hffs
from tests.view.conftest import encode, write_set

HOSTILE = "\x1b[2J\x1b]0;title\x07[bold red]markup[/] \u202eturned"


@pytest.fixture
def hffs(tmp_path: Path) -> Hffs:
    return Hffs.below(tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    images = [encode("JPEG", n, (100 + 50 * n, 100)) for n in range(5)] + [encode("PNG")]
    captions = [f"caption {number}" for number in range(6)]
    return write_set(tmp_path / "set.parquet", images, caption=captions)


def describe(hffs: Hffs, *arguments: str | Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(hffs("inspect", *arguments, "--json"))
    return found


def test_text_says_what_is_there(hffs: Hffs, source: Path) -> None:
    done = hffs.run("inspect", source, "--min-width", "150")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for line in [
        "  rows    6",
        "  files   4 of images (4 pass through), 4 of captions",
        "  image    struct<bytes: binary, path: null>",
        "  min_width  2  narrower than 150 px",
        "                e.g. row 0: size 100 x 100",
        "  JPEG  5  4 pass through",
        "  PNG   1  none is shown",
        "  height: 100 px",
        "Sizes (of 4, by image headers)",
        "  width: 150 to 300 px, median 225",
        "        192-255  ████████████████████████████████████████ 2",
        "Captions (column caption, of 4 images)",
        "  3.txt  caption 4",
    ]:
        assert line in lines, done.stdout
    assert "size could not be measured" not in done.stdout


def test_json_is_the_documented_object(hffs: Hffs, source: Path) -> None:
    report = describe(hffs, source, "--min-width", "150")
    assert (report["rows"], report["images"], report["shown"]) == (6, 6, 4)
    assert report["removed"][1]["count"] == 2
    assert report["sizes"]["width"]["min"] == 150
    text = (Path(__file__).parents[2] / "docs" / "inspecting.md").read_text()
    for key in report:
        assert f"`{key}`" in text, f"docs/inspecting.md does not tell of {key}"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    files = [encode_clip(Clip("mp4", 64, 48, frames=10 * n, fps=10)) for n in (1, 2, 3, 70)]
    cells = [{"bytes": data, "path": None} for data in files]
    table = pa.table({"video": cells, "caption": [*"abcd"]})
    pq.write_table(table, tmp_path / "videos.parquet")
    return tmp_path / "videos.parquet"


def test_text_says_what_videos_are_there(hffs: Hffs, videos: Path) -> None:
    done = hffs.run("inspect", videos, "--dataset-type", "video", "--min-frames", "15")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    for line in [
        "  videos  4 (column video, struct)",
        "  files   3 of videos (3 pass through), 3 of captions",
        "  min_frames  1  fewer than 15 frames",
        "                 e.g. row 0: frames 10",
        "Sizes (of 3, by video headers)",
        "Durations (of 3, by video headers)",
        "  total  1 min 15 s",
        "  duration: 2 to 70 s, median 3",
        "            2-3  ████████████████████████████████████████ 1",
        "Frames (of 3, by video headers)",
        "  total  750",
        "  frames: 20 to 700, median 30",
        "          17-24  ████████████████████████████████████████ 1",
        "Made of (by headers of 3)",
        "  frames a second  10 (3)",
        "  video codecs     h264 (3)",
        "Captions (column caption, of 3 videos)",
    ]:
        assert line in lines, done.stdout
    assert "image" not in done.stdout


def test_what_json_tells_of_videos_is_documented(hffs: Hffs, videos: Path) -> None:
    report = describe(hffs, videos, "--dataset-type", "video")
    assert (report["media"], report["clips"]["frames"]["total"]) == ("video", 760)
    text = (Path(__file__).parents[2] / "docs" / "inspecting.md").read_text()
    for key in (*report["clips"], *report["clips"]["frames"], *report["clips"]["fps"][0]):
        assert f"`{key}`" in text, f"docs/inspecting.md does not tell of {key}"


def test_nothing_left_is_no_failure(hffs: Hffs, source: Path) -> None:
    report = describe(hffs, source, "--where", "caption = 'no such'")
    assert (report["shown"], report["removed"][0]["count"]) == (0, 6)
    assert "  where  6  not true" in hffs("inspect", source, "--where", "caption = 'no such'")


@pytest.fixture
def entries(source: Path, tmp_path: Path) -> Path:
    """A file of two entries, and one that no view is made of."""
    entries = [
        {"id": "a", "dataset_name": str(source)},
        {"id": "b", "dataset_name": str(source), "images_only": True},
        {"id": "embeds", "dataset_type": "text_embeds", "cache_dir": "cache"},
    ]
    config = tmp_path / "config.json"
    config.write_text(json.dumps(entries))
    return config


def test_an_entry_of_a_file_is_inspected(hffs: Hffs, entries: Path) -> None:
    report = describe(hffs, entries, "--entry", "b")
    assert (report["id"], report["caption_files"]) == ("b", 0)


def test_entries_of_a_file_are_inspected_one_after_the_other(
    hffs: Hffs, entries: Path, tmp_path: Path
) -> None:
    done = hffs.run("inspect", entries, "--json", "--html", tmp_path / "page.html")
    assert done.returncode == 0, done.stderr
    assert [(one["id"], one["caption_files"]) for one in json.loads(done.stdout)] == [
        ("a", 6), ("b", 0),
    ]  # fmt: skip
    assert done.stderr.startswith("hffs: not inspected: embeds")
    assert (tmp_path / "page.html").read_text().count('<section class="report of-image">') == 2
    lines = hffs("inspect", entries).splitlines()
    assert lines[0] == "a"
    assert "b" in lines


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--where", "captoin = 1"], 2, "captoin"),
        (["--caption-column", "captoin"], 2, "did you mean caption?"),
        (["--min-width", "x"], 2, "min-width"),
        (["--samples", "1001"], 2, "--samples"),
        (["--missing-caption", "error", "--caption-column", "empty"], 5, "row 0"),
        (["--html", "/"], 2, "it is a folder"),
        (["--html", "/no/such/page.html"], 2, "there is no folder /no/such"),
        (["--html", "/dev/null"], 2, "it is no plain file"),
    ],
)
def test_what_is_wrong_is_one_line(
    hffs: Hffs, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    source = write_set(tmp_path / "set.parquet", [encode("JPEG")], caption=["a"], empty=[""])
    done = hffs.run("inspect", source, *arguments)
    assert done.returncode == code
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert words in done.stderr


def test_a_missing_source_and_a_damaged_one(hffs: Hffs, tmp_path: Path) -> None:
    assert hffs.run("inspect", tmp_path / "no.parquet").returncode == 3
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more than that PAR1")
    done = hffs.run("inspect", tmp_path / "cut.parquet")
    assert done.returncode == 5
    assert len(done.stderr.splitlines()) == 1, done.stderr


CRASHING = """
import os, sys
from hffs.cli import run
from hffs.view.inspection import gathering
gathering.examine = lambda *arguments: os.abort()
sys.exit(run(sys.argv[1:]))
"""


def test_a_reader_that_crashes_is_one_line(hffs: Hffs, source: Path) -> None:
    command = [sys.executable, "-c", CRASHING, "inspect", str(source)]
    done = subprocess.run(command, env=hffs.environ, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert "reading it crashed (SIGABRT)" in done.stderr
    assert "Traceback" not in done.stderr


WAITING = """
import signal, sys
from hffs.cli import run
from hffs.view.inspection import gathering
def wait(*arguments):
    print("reading", flush=True)
    signal.pause()
gathering.examine = wait
sys.exit(run(sys.argv[1:]))
"""


def test_an_interrupt_ends_the_reader_and_is_one_line(hffs: Hffs, source: Path) -> None:
    command = [sys.executable, "-c", WAITING, "inspect", str(source)]
    with subprocess.Popen(
        command, env=hffs.environ, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "reading\n"
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        out, err = process.communicate(timeout=100)  # the reader is gone: its end is closed
    assert (process.returncode, out, err) == (130, "", "hffs: interrupted\n")


@pytest.mark.parametrize("flags", [[], ["--json"]])
def test_a_reader_that_stops_reading_is_no_failure(
    hffs: Hffs, source: Path, flags: list[str]
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    command = [sys.executable, "-m", "hffs", "inspect", str(source), *flags]
    done = subprocess.run(
        command, env=hffs.environ, stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_terminal_that_is_not_utf8_gets_ascii(source: Path, hffs: Hffs, tmp_path: Path) -> None:
    hostile = write_set(tmp_path / "other.parquet", [encode("JPEG")], caption=["été 猫"])
    for path in (source, hostile):
        plain = Hffs(hffs.environ | {"PYTHONIOENCODING": "ascii", "COLUMNS": "50"})
        text = plain("inspect", path)
        assert text.isascii()
        assert "###" in text
        assert max(map(len, text.splitlines())) <= 50


def test_hostile_texts_are_shown_and_do_nothing(hffs: Hffs, tmp_path: Path) -> None:
    cell = {"bytes": encode("JPEG"), "path": None}
    columns = {"image": [cell, cell], "caption": [HOSTILE, "gone"], HOSTILE: [1, 2]}
    path = tmp_path / "set.parquet"
    pq.write_table(pa.table(columns), path)
    text = hffs("inspect", path, "--where", "caption <> 'gone'")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "\u202e" not in text
    assert "[bold red]markup[/]" in text
    group = hffs("inspect", path, "--group-by", "caption", "--caption-column", "caption")
    assert "\x1b" not in group


@pytest.mark.parametrize("width", [1, 20, 40, 61, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_no_line_is_wider_than_the_screen(
    hffs: Hffs, tmp_path: Path, width: int, colour: bool
) -> None:
    from pydantic import TypeAdapter

    from hffs.view.inspection.facts import Report

    wide = "猫" * 300
    images = [encode("JPEG", n, (100 + n, 100)) for n in range(3)]
    source = write_set(tmp_path / f"{'s' * 80}.parquet", images, caption=[wide, "b" * 300, "c"])
    text = hffs("inspect", source, "--json", "--group-by", "caption")
    report = TypeAdapter(Report).validate_json(text)
    shown = render_text(report, Screen(width=width, colour=colour))
    if colour:
        assert "\x1b[1m" in shown
    else:
        assert max(map(cell_len, shown.splitlines())) <= width
        assert "\x1b" not in shown


def test_composites_and_folders_are_told(hffs: Hffs, tmp_path: Path) -> None:
    images = [encode("JPEG", n) for n in range(25)]
    groups = [f"group {number}" for number in range(25)]
    source = write_set(tmp_path / "set.parquet", images, group=groups)
    text = hffs("inspect", source, "--group-by", "group", "--image-count", "16",
                "--select-index", "all", "--layout", "4x4")  # fmt: skip
    assert "  tiles   0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ... of 16 in each image, layout 4x4" in text
    assert "Folders (25)" in text
    assert "and 5 more" in text
    assert "none: there is no column caption, text, prompt or txt" in text


def test_a_page_is_written_whole_and_through_links(
    hffs: Hffs, source: Path, tmp_path: Path
) -> None:
    (tmp_path / "pages").mkdir()
    (tmp_path / "link.html").symlink_to(tmp_path / "pages" / "page.html")
    done = hffs.run("inspect", source, "--html", tmp_path / "link.html", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["rows"] == 6
    assert done.stderr == f"hffs: wrote {tmp_path}/pages/page.html\n"
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["page.html"]
    page = (tmp_path / "pages" / "page.html").read_text()
    assert page.endswith("</html>\n")
    assert page.count("<img ") == 6
