"""Images of plain folders: what is the same image, what is another, and what is told."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from hffs.errors import DataError
from hffs.train.caching import identities
from hffs.train.caching.identities import Identified, identify_images
from hffs.train.files import FolderFiles, Stamp
from tests.train.plans import make_plan, make_scan

SIZE = (600, 600)
MTIME_NS = 1_000_000_000_000_000_123


def write(folder: Path, names: list[str]) -> None:
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(10 + number))
        os.utime(path, ns=(MTIME_NS, MTIME_NS))


def identify(folder: Path, names: list[str]) -> Identified:
    plan = make_plan(make_scan(folder, names, [SIZE] * len(names)))
    return identify_images(plan, lambda done, total: None)


def digests(folder: Path, names: list[str]) -> dict[str, bytes]:
    found = identify(folder, names)
    assert found.digests.shape == (len(names), 32)
    assert found.digests.dtype == np.uint8
    return {name: found.digest(image) for image, name in enumerate(names)}


NAMES = ["1.jpg", "2.jpg", "a/1.jpg", "a/ü b.jpg"]


def test_an_image_is_the_same_until_it_changes(tmp_path: Path) -> None:
    write(tmp_path, NAMES)
    before = digests(tmp_path, NAMES)
    assert len(set(before.values())) == len(NAMES)
    assert digests(tmp_path, NAMES[::-1]) == before
    write(tmp_path, [*NAMES, "more.jpg"])
    assert digests(tmp_path, [*NAMES, "more.jpg"]).items() > before.items()
    os.utime(tmp_path / "1.jpg", ns=(MTIME_NS, MTIME_NS + 1))
    (tmp_path / "2.jpg").write_bytes(b"other")
    os.utime(tmp_path / "2.jpg", ns=(MTIME_NS, MTIME_NS))
    after = digests(tmp_path, NAMES)
    assert [name for name in NAMES if after[name] != before[name]] == ["1.jpg", "2.jpg"]


def test_a_moved_folder_has_other_images_and_a_link_to_it_the_same(tmp_path: Path) -> None:
    write(tmp_path / "one", NAMES)
    before = digests(tmp_path / "one", NAMES)
    (tmp_path / "link").symlink_to("one")
    assert digests(tmp_path / "link", NAMES) == before
    (tmp_path / "link").unlink()
    (tmp_path / "one").rename(tmp_path / "two")
    assert not set(digests(tmp_path / "two", NAMES).values()) & set(before.values())


def test_a_link_is_the_image_that_it_leads_to(tmp_path: Path) -> None:
    write(tmp_path / "of", ["1.jpg", "2.jpg"])
    write(tmp_path / "set", ["0.jpg"])
    (tmp_path / "set/l.jpg").symlink_to("../of/1.jpg")
    aim = digests(tmp_path / "of", ["1.jpg", "2.jpg"])
    assert digests(tmp_path / "set", ["0.jpg", "l.jpg"])["l.jpg"] == aim["1.jpg"]
    (tmp_path / "set/l.jpg").unlink()
    (tmp_path / "set/l.jpg").symlink_to("../of/2.jpg")
    found = identify(tmp_path / "set", ["0.jpg", "l.jpg"])
    assert found.digest(1) == aim["2.jpg"]
    assert found.sizes.tolist() == [10, 11]


def test_attributes_of_a_plain_folder_are_not_believed(tmp_path: Path) -> None:
    write(tmp_path, ["1.jpg"])
    before = digests(tmp_path, ["1.jpg"])
    try:
        os.setxattr(tmp_path, "user.hffs.view", json.dumps({"mtime_ns": MTIME_NS}).encode())
        os.setxattr(tmp_path / "1.jpg", "user.hffs.image", b"ab" * 32)
    except OSError:
        pytest.skip("this file system keeps no attributes")
    assert digests(tmp_path, ["1.jpg"]) == before


@pytest.fixture
def layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that passes for a writable layer over a mount."""
    write(tmp_path, NAMES)
    monkeypatch.setattr(identities, "find_type", lambda folder: "overlay")
    try:
        os.setxattr(tmp_path, "user.hffs.view", json.dumps({"mtime_ns": MTIME_NS}).encode())
    except OSError:
        pytest.skip("this file system keeps no attributes")
    for number, name in enumerate(NAMES):
        os.setxattr(tmp_path / name, "user.hffs.image", f"{number:064x}".encode())
    return tmp_path


def test_in_a_layer_the_attribute_counts_while_the_time_is_the_views(layer: Path) -> None:
    before = digests(layer, NAMES)
    (layer / "9.jpg").symlink_to("1.jpg")
    (layer / "1.jpg").rename(layer / "0.jpg")  # as another view names it
    (layer / "1.jpg").symlink_to("0.jpg")
    assert digests(layer, NAMES) == before
    os.utime(layer / "2.jpg", ns=(MTIME_NS, MTIME_NS + 1))
    (layer / "a/1.jpg").write_bytes(b"other")
    os.utime(layer / "a/1.jpg", ns=(MTIME_NS, MTIME_NS))
    after = digests(layer, NAMES)
    assert [name for name in NAMES if after[name] != before[name]] == ["2.jpg", "a/1.jpg"]
    write(layer / "new", ["1.jpg"])
    plain = digests(layer, ["new/1.jpg"])["new/1.jpg"]
    os.setxattr(layer, "user.hffs.view", b"{}")
    assert digests(layer, ["new/1.jpg"])["new/1.jpg"] == plain
    assert not set(digests(layer, NAMES).values()) & set(before.values())


def test_only_images_of_samples_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, ["1.jpg"])
    sizes = [SIZE, (10, 10)]
    plan = make_plan(make_scan(tmp_path, ["1.jpg", "gone.jpg"], sizes), smallest_px=100)
    seen = list[tuple[int, int]]()
    found = identify_images(plan, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 1)]
    assert found.digests.any(axis=1).tolist() == [True, False]
    assert found.mtimes.tolist() == [MTIME_NS, 0]


@pytest.mark.parametrize("breaks", [lambda path: path.unlink(), lambda path: _replace(path)])
def test_what_has_vanished_is_told(tmp_path: Path, breaks: Callable[[Path], None]) -> None:
    write(tmp_path, ["1.jpg", "a/2.jpg"])
    breaks(tmp_path / "a/2.jpg")
    with pytest.raises(DataError, match=r"cannot use .*/a/2.jpg: it has vanished since") as caught:
        identify(tmp_path, ["1.jpg", "a/2.jpg"])
    assert caught.value.exit_code == 5
    with pytest.raises(DataError, match=r"cannot use .*/none: No such file or directory"):
        identify(tmp_path / "none", ["1.jpg"])


def _replace(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def test_a_file_that_changed_since_is_not_read(tmp_path: Path) -> None:
    write(tmp_path, NAMES)
    found = identify(tmp_path, NAMES)
    stamps = {NAMES[image]: found.stamp(image) for image in (0, 3)}
    assert stamps == {"1.jpg": Stamp(10, MTIME_NS), "a/ü b.jpg": Stamp(13, MTIME_NS)}
    files = pickle.loads(pickle.dumps(FolderFiles(tmp_path, stamps)))  # noqa: S301 - our own
    os.utime(tmp_path / "2.jpg")  # of another chunk
    assert [len(files.read(name)) for name in NAMES] == [10, 11, 12, 13]
    os.utime(tmp_path / "1.jpg")
    with pytest.raises(DataError, match=r"1.jpg: it changed while it was being used; run this"):
        files.read("1.jpg")
    (tmp_path / "a/ü b.jpg").write_bytes(b"")
    with pytest.raises(DataError, match="it changed"):
        files.read("a/ü b.jpg")
