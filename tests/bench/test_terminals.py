"""That every folder's file is asked of as often, in turn; no figure is asserted."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.bench import terminals as bench
from tests.bench.access_folders import make_photos


def test_each_file_is_asked_of_twice_an_image_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = list[str]()

    def isatty(number: int) -> bool:
        asked.append(Path(os.readlink(f"/proc/self/fd/{number}")).name)
        return False

    monkeypatch.setattr(os, "isatty", isatty)
    monkeypatch.setattr(bench, "_IMAGES", 2)
    files = {who: tmp_path / who for who in ("disk", "hffs")}
    for path in files.values():
        path.touch()
    asked.clear()
    told = bench.decode_and_ask(files, make_photos(1)[0], 3, 0)
    one, other = ["disk"] * 4, ["hffs"] * 4
    assert asked == one + other + other + one + one + other
    assert {who: len(taken) for who, taken in told.items()} == {"disk": 3, "hffs": 3}


@pytest.mark.fuse
def test_figures_of_a_mount(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "KINDS", ("hffs",))
    medians = bench.measure(1)
    assert list(medians)[1:] == ["hffs"]
    assert all(medians.values())
