"""A scan of a real mount: as of any folder, and known by the fingerprint of its view."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from hffs.train.scanning import scan
from hffs.train.scanning.scan import scan_folder
from tests.command import Mount

pytestmark = pytest.mark.fuse


class Quiet:
    def progress(self, what: str, done: int, total: int, unit: str = "") -> None: ...

    def notice(self, text: str) -> None:
        raise AssertionError(text)


def test_a_mount_is_scanned_once(
    mount: Mount,
    photo_parquet: Path,
    photos: list[tuple[str, bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder, cache = mount(photo_parquet), tmp_path / "scans"
    found = scan_folder(folder, cache, 2, Quiet())
    sizes = [list(Image.open(io.BytesIO(data)).size) for _, data in photos]
    assert found.stored.tolist() == sizes
    assert found.problems == {}

    monkeypatch.setattr(scan, "list_images", None)  # nothing may be listed any more
    again = scan_folder(folder, cache, 2, Quiet())
    assert again.fingerprint == found.fingerprint
    other = scan_folder(mount(photo_parquet), cache, 2, Quiet())  # wherever it is mounted
    assert other.fingerprint == found.fingerprint


def test_a_writable_layer_over_a_mount_is_listed(
    mount: Mount, photo_parquet: Path, tmp_path: Path
) -> None:
    folder, cache = mount(photo_parquet, "--scratch", tmp_path / "layer"), tmp_path / "scans"
    found = scan_folder(folder, cache, 2, Quiet())
    Image.new("L", (123, 45)).save(folder / "9999.png")
    again = scan_folder(folder, cache, 2, Quiet())
    assert again.names.to_pylist() == [*found.names.to_pylist(), "9999.png"]
    assert again.stored[-1].tolist() == [123, 45]
