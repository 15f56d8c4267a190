"""A soak of seconds, and what it makes of figures that grow and of mounts that lie."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.readers import make_draw
from tests.soak.model import Model
from tests.soak.reader import DifferenceError, Reader
from tests.soak.sampling import Sample, find_trend

ROOT = Path(__file__).parents[2]


@pytest.mark.fuse
def test_a_short_soak_finds_nothing(tmp_path: Path) -> None:
    told = tmp_path / "told.json"
    arguments = ["--seconds", "5", "--readers", "3", "--seed", "1", "--json", str(told)]
    done = subprocess.run(
        [sys.executable, "-m", "tests.soak", *arguments],
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(told.read_text())
    assert found["faults"] == []
    assert found["operations"] > 0
    assert len(found["samples"]) >= 4


def _samples(rss_mb: list[float]) -> list[Sample]:
    return [Sample(60.0 * minute, rss, 0.0, 3, 30, 0.0) for minute, rss in enumerate(rss_mb)]


def test_only_what_rises_for_long_grows() -> None:
    noise = make_draw(1)
    flat = [50 + noise.uniform(-3, 3) for _ in range(100)]
    rising = [value + 0.5 * minute for minute, value in enumerate(flat)]
    warming = [min(50.0, minute) for minute in range(100)]
    trends = [find_trend(_samples(each), "rss_mb") for each in (flat, rising, warming)]
    assert [trend.grows for trend in trends] == [False, True, False]
    assert trends[1].slope_per_hour == pytest.approx(30, abs=5)


def test_a_reader_sees_each_difference(tmp_path: Path) -> None:
    (tmp_path / "0.jpg").write_bytes(b"wrong")
    reader = Reader(tmp_path, Model({"0.jpg": b"right"}, frozenset({"1.jpg"})), make_draw(1))
    for operation in (reader.list_folder, reader.read_whole, reader.read_map, reader.change):
        with pytest.raises(DifferenceError):
            operation()
    (tmp_path / "1.jpg").touch()
    with pytest.raises(DifferenceError):
        reader.read_broken()
