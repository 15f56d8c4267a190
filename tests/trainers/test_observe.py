"""What is printed of a trainer: whose captions are right, and a whole table."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.trainers.driving import REPOSITORY, TRAINERS
from tests.trainers.observe import count_right_captions
from tests.trainers.pictures import Picture


def picture(caption: str) -> Picture:
    return Picture(b"", caption, "thing", (64, 64))


@pytest.mark.parametrize(
    ("captions", "counted"),
    [
        ({"0.jpg": "a, b", "1.jpg": "c"}, "2 of 2"),
        ({"animal/00000000.jpg": "a,b", "thing/00000001.jpg": "c"}, "2 of 2"),
        ({"0.jpg": "c", "1.jpg": "a, b"}, "0 of 2"),
        ({"0.jpg": "a b", "1.jpg": None}, "0 of 2"),
        ({}, "0 of 2"),
        (None, "-"),
    ],
)
def test_a_caption_is_right_where_it_is_that_of_its_row(
    captions: dict[str, str] | None, counted: str
) -> None:
    said = {} if captions is None else {"captions": captions}
    assert count_right_captions(said, [picture("a, b"), picture("c")]) == counted


def test_each_trainer_has_a_driver_and_a_name() -> None:
    drivers = {file.stem for file in (Path(__file__).parent / "drivers").glob("*.py")}
    assert {trainer.driver for trainer in TRAINERS} <= drivers
    assert len({trainer.name for trainer in TRAINERS}) == len(TRAINERS)


@pytest.mark.fuse
def test_a_table_tells_what_was_seen(tmp_path: Path) -> None:
    flags = ["--rows", "4", "--rounds", "1", "--only", "imagefolder, data_files"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.trainers.observe", *flags],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table = dict(re.findall(r"^\| (.+?) \| (.*?) \|$", done.stdout, re.MULTILINE))
    assert table["flags"] == "`--for hf-imagefolder`"
    assert (table["items seen"], table["captions right"]) == ("4 of 4", "4 of 4")
    assert table["made"] == "prepared 4; again: prepared 0"
    assert float(table["epoch, folder / mount"]) > 0
