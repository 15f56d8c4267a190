"""Files that cells name, found by name and kept on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from hffs.data.cells.listing import Listed, load_listing, save_listing
from hffs.data.cells.paths import EMPTY_FILE, MISSING, OUTSIDE
from hffs.errors import FormatError

FILES = [
    Listed(b"cats/1.jpg", 10, b"a" * 40),
    Listed(b"caf\xe9.png", 20, b"b" * 64),
    Listed(b"empty.jpg", 0, b"c"),
]


def test_what_was_saved_is_found(tmp_path: Path) -> None:
    save_listing(tmp_path / "all", FILES)
    listing = load_listing(tmp_path / "all")
    assert listing.find(b"cats/1.jpg") == FILES[0]
    assert listing.find(b"./cats//x/../1.jpg") == FILES[0]
    assert listing.find(b"caf\xe9.png") == FILES[1]
    assert listing.find(b"empty.jpg") == EMPTY_FILE
    assert listing.find(b"cats/2.jpg") == MISSING
    for path in (b"../cats/1.jpg", b"/cats/1.jpg", b"cats/../../x"):
        assert listing.find(path) == OUTSIDE


def test_an_empty_listing_and_one_that_is_gone(tmp_path: Path) -> None:
    save_listing(tmp_path / "none", [])
    assert load_listing(tmp_path / "none").find(b"a") == MISSING
    with pytest.raises(FormatError, match="it is gone; mount again"):
        load_listing(tmp_path / "other")
