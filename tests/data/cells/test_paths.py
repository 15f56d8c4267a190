from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hffs.core.formats import MediaFormat
from hffs.data.cells.paths import DENIED, MISSING, OUTSIDE, FoundFile, PathResolver, read_file
from hffs.errors import AccessError, StaleError


def test_a_found_file_has_its_real_name(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "deep").mkdir(parents=True)
    (root / "deep" / "a.jpg").write_bytes(b"\xff\xd8\xffdata")
    (root / "link").symlink_to("deep")
    (tmp_path / "alias").symlink_to("root")
    mtime_ns = (root / "deep" / "a.jpg").stat().st_mtime_ns
    for at in (root, tmp_path / "alias"):
        found = PathResolver(at).find(b"link/a.jpg")
        assert found == FoundFile(b"deep/a.jpg", 7, mtime_ns, MediaFormat.JPEG)
    data = read_file(os.fsencode(root / "deep" / "a.jpg"), 7, mtime_ns)
    assert bytes(data) == b"\xff\xd8\xffdata"


def test_names_need_not_be_utf8(tmp_path: Path) -> None:
    name = b"caf\xe9.png"
    Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(b"x")
    found = PathResolver(tmp_path).find(name)
    assert isinstance(found, FoundFile)
    assert found.name == name


def test_a_root_is_no_prefix_of_its_neighbour(tmp_path: Path) -> None:
    for folder in ("set", "set-2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jpg").write_bytes(b"x")
    assert PathResolver(tmp_path / "set").find(b"../set-2/a.jpg") == OUTSIDE
    assert isinstance(PathResolver(tmp_path / "set").find(b"../set/a.jpg"), FoundFile)


def test_links_that_go_nowhere_are_missing(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dead").symlink_to("gone")
    for name in (b"loop", b"dead", b"loop/a.jpg", b"x" * 5000):
        assert PathResolver(tmp_path).find(name) == MISSING


def test_what_may_not_be_read(tmp_path: Path, as_nobody: Callable[[], Any]) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(b"x")
    mtime_ns = image.stat().st_mtime_ns
    image.chmod(0)
    with as_nobody():
        assert PathResolver(tmp_path).find(b"a.jpg") == DENIED
        with pytest.raises(AccessError, match=r"cannot read .*a\.jpg: permission denied"):
            read_file(os.fsencode(image), 1, mtime_ns)


def test_a_file_that_changes_while_it_is_read_is_stale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = tmp_path / "a.jpg"
    image.write_bytes(b"whole")
    status = image.stat()
    statuses = iter([status, os.stat(tmp_path)])
    monkeypatch.setattr(os, "fstat", lambda _: next(statuses, status))
    with pytest.raises(StaleError, match="changed while mounted"):
        read_file(os.fsencode(image), 5, status.st_mtime_ns)
