"""Filling the caches of a view: what is asked for, and what is told of the rest."""

from __future__ import annotations

import os
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from hffs.core.inodes import ROOT
from hffs.errors import DeadlineError
from hffs.view import warming
from hffs.view.warming import warm
from tests.view.conftest import OpenTree, Quiet, encode, write_set


def test_every_image_is_rendered_and_its_size_known(
    open_tree: OpenTree, watcher: Quiet, tmp_path: Path
) -> None:
    images = [encode("PNG", seed) for seed in range(4)] + [b"no image", encode("JPEG", 9)]
    path = write_set(tmp_path / "a.parquet", images, caption=["x"] * 6)
    tree = open_tree(path)
    warmed = warm(tree, tree.positions, watcher)
    assert (warmed.images, warmed.broken, warmed.missed) == (5, 1, 0)
    assert "cannot render 4.jpg (row 4 of" in warmed.why_broken
    sizes = [entry.size_bytes for entry in tree.entries(ROOT, 0) if entry.name.endswith(b".jpg")]
    assert [size is None for size in sizes] == [False] * 4 + [True, False]
    assert warmed.size_bytes == sum(filter(None, sizes))


def test_the_first_images_alone(open_tree: OpenTree, watcher: Quiet, tmp_path: Path) -> None:
    images = [encode("PNG", seed) for seed in range(4)]
    tree = open_tree(write_set(tmp_path / "a.parquet", images, caption=["x"] * 4))
    assert warm(tree, 2, watcher).images == 2
    sizes = [entry.size_bytes for entry in tree.entries(ROOT, 0) if entry.name.endswith(b".jpg")]
    assert [size is None for size in sizes] == [False, False, True, True]


def test_nobody_waits_for_the_rest_when_the_network_is_gone(
    open_tree: OpenTree, watcher: Quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = [encode("PNG", 1)] * 9
    tree = open_tree(write_set(tmp_path / "a.parquet", images, caption=["x"] * 9))
    monkeypatch.setattr(warming, "_MOST_MISSED", 3)
    monkeypatch.setattr(warming, "_AT_ONCE", 1)
    asked: list[Any] = []

    def fail(inode: int) -> Any:
        asked.append(inode)
        future: Future[int] = Future()
        future.set_exception(DeadlineError("cannot fetch", "x", why="no network"))
        return future

    monkeypatch.setattr(tree, "fetch", fail)
    warmed = warm(tree, 9, watcher)
    assert (len(asked), warmed.missed, warmed.images) == (3, 9, 0)
    assert warmed.why_missed == "cannot fetch x: no network"


@pytest.mark.parametrize(("number", "lasting"), [(5, True), (116, True), (110, False)])
def test_what_a_mount_says_is_for_good_or_not(number: int, lasting: bool) -> None:
    asking = warming.Asking()
    future: Future[int] = Future()
    asking.begin(future, int)
    future.set_exception(OSError(number, os.strerror(number)))
    warmed = asking.finish()
    assert (warmed.broken, warmed.missed) == ((1, 0) if lasting else (0, 1))
