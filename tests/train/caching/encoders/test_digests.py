"""Digests: those of the content, whatever is remembered, and read once."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from hffs.train.caching.encoders.digests import digest_file

LONG_AGO_NS = 10**18


def _write(path: Path, content: bytes, mtime_ns: int = LONG_AGO_NS) -> str:
    path.write_bytes(content)
    os.utime(path, ns=(mtime_ns, mtime_ns))
    return hashlib.sha256(content).hexdigest()


def test_a_digest_is_remembered_as_long_as_the_file_is_the_same(tmp_path: Path) -> None:
    file, notes = tmp_path / "weights", tmp_path / "notes"
    first = _write(file, b"one")
    assert digest_file(file, None) == first
    assert not notes.exists()
    assert digest_file(file, notes) == first
    (note,) = notes.iterdir()
    note.write_text("f" * 64)
    assert digest_file(file, notes) == "f" * 64, "it is not read again"
    second = _write(file, b"two", LONG_AGO_NS + 1)
    assert digest_file(file, notes) == second


def test_what_may_change_within_a_tick_or_is_spoilt_is_not_believed(tmp_path: Path) -> None:
    file, notes = tmp_path / "weights", tmp_path / "notes"
    file.write_bytes(b"new")
    digest_file(file, notes)
    assert not notes.exists()
    first = _write(file, b"old")
    digest_file(file, notes)
    (note,) = notes.iterdir()
    note.write_text("none of a digest")
    assert digest_file(file, notes) == first


def test_where_nothing_can_be_written_the_digest_is_right_all_the_same(tmp_path: Path) -> None:
    first = _write(tmp_path / "weights", b"one")
    (tmp_path / "notes").write_text("a file")
    assert digest_file(tmp_path / "weights", tmp_path / "notes") == first


def test_a_file_of_the_hubs_cache_is_named_by_its_digest(tmp_path: Path) -> None:
    blob = tmp_path / "blobs" / ("ab" * 32)
    blob.parent.mkdir()
    blob.write_bytes(b"gigabytes, which are not read")
    (tmp_path / "weights").symlink_to(blob)
    assert digest_file(tmp_path / "weights", None) == "ab" * 32
