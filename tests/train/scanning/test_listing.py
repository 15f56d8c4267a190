"""Names of images below a folder: which count, and in what order."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.train.scanning import listing
from hffs.train.scanning.listing import list_images, natural_keys


def put(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def test_regression_a_link_that_leads_round_is_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "sub/deep").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.jpg", "sub/deep/c.jpg"):
        (tmp_path / name).touch()
    for name in ("loop.jpg", "sub/loop.jpg", "sub/loop"):
        (tmp_path / name).symlink_to(Path(name).name)
    listed = list_images(tmp_path)
    assert listed.names.to_pylist() == [
        "a.jpg", "loop.jpg", "sub/b.jpg", "sub/deep/c.jpg", "sub/loop.jpg"
    ]  # fmt: skip
    assert listed.problems == {}
    assert listed.others == 1


def test_names_are_in_natural_order(tmp_path: Path) -> None:
    put(tmp_path, "10.jpg", "9.png", "1.JPEG", "b/2.webp", "b/10.webp", "b10/1.gif", "b9/1.bmp")
    found = list_images(tmp_path)
    assert found.names.to_pylist() == [
        "1.JPEG", "9.png", "10.jpg", "b/2.webp", "b/10.webp", "b9/1.bmp", "b10/1.gif",
    ]  # fmt: skip
    assert (found.others, found.problems) == (0, {})


def test_dots_are_left_out_and_other_files_counted(tmp_path: Path) -> None:
    put(tmp_path, ".a.jpg", ".git/b.jpg", "c.txt", "jpg", "d.jpg.txt", "metadata.jsonl", "e.tif")
    (tmp_path / "folder.jpg").mkdir()
    found = list_images(tmp_path)
    assert found.names.to_pylist() == ["e.tif"]
    assert found.others == 4


def test_a_folder_that_is_not_there_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list_images(tmp_path / "gone")


def test_an_empty_folder_has_none(tmp_path: Path) -> None:
    assert list_images(tmp_path).names.to_pylist() == []


def test_links_are_followed_and_a_circle_of_them_ends(tmp_path: Path) -> None:
    put(tmp_path, "a/1.jpg", "elsewhere/2.jpg")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "b").symlink_to(tmp_path / "a")
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nothing")
    assert list_images(tmp_path).names.to_pylist() == ["a/1.jpg", "elsewhere/2.jpg", "gone.jpg"]


def test_what_cannot_be_named_or_listed_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path, "a.jpg", "closed/b.jpg")
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.jpg"))).write_bytes(b"")
    real = os.scandir

    def scandir(path: bytes) -> object:
        if path.endswith(b"closed/"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    (tmp_path / "bad").mkdir()
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad/\xfe.jpg")).write_bytes(b"")
    found = list_images(tmp_path)
    assert found.names.to_pylist() == ["a.jpg"]
    assert found.problems.pop(r"bad/\xfe.jpg") == "its name is not UTF-8"
    assert found.problems == {"closed/": "Permission denied", r"\xff.jpg": "its name is not UTF-8"}


def test_a_folder_of_many_is_listed_in_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "_CHUNK_NAMES", 7)
    put(tmp_path, *(f"{number}.jpg" for number in range(50)))
    assert list_images(tmp_path).names.to_pylist() == [f"{number}.jpg" for number in range(50)]


def natural(name: str) -> list[object]:
    """The rule in the plainest form: texts and numbers by turns."""
    parts = re.split("([0-9]+)", name)
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


@given(st.lists(st.text("ab019", min_size=1, max_size=8), min_size=1))
def test_the_order_is_natural_and_total(names: list[str]) -> None:
    keys = natural_keys([name.encode() for name in names])
    ordered = [name for _, name in sorted(zip(keys, names, strict=True))]
    assert [natural(name) for name in ordered] == sorted(map(natural, ordered))
    assert len(set(keys)) == len(set(names))
