from __future__ import annotations

import contextlib
import fcntl
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data.arrays import Stored, let_go, load_arrays, save_arrays
from hffs.data.folders import remove_whole
from hffs.errors import FormatError, MountError
from tests.data.resident import count_resident


def _stored(value: int = 1) -> Stored:
    arrays: dict[str, Any] = {
        "a": np.arange(5),
        "none": np.empty(0, np.uint8),
        "grid": np.ones((2, 3), np.int32),
    }
    return Stored(arrays, {"value": value, "text": "x"})


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    assert load_arrays(folder) is None
    for stored in (save_arrays(folder, _stored()), load_arrays(folder)):
        assert stored is not None
        assert stored.meta == {"value": 1, "text": "x"}
        for name, array in _stored().arrays.items():
            np.testing.assert_array_equal(stored.arrays[name], array, strict=True)
        with pytest.raises(ValueError, match="read-only"):
            stored.arrays["a"][0] = 3
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert os.listdir(folder.parent) == ["folder"]


def test_pages_that_are_let_go_do_not_count_and_are_there(tmp_path: Path) -> None:
    many = np.arange(1 << 18)
    stored = save_arrays(tmp_path / "many", Stored({"many": many}, {}))
    mapped, file = stored.arrays["many"], tmp_path / "many" / "many.npy"
    assert mapped.sum() == many.sum()
    assert count_resident(file) >= many.nbytes
    let_go(mapped, mapped[5:], many)  # what is no map stays as it is
    assert count_resident(file) == 0
    np.testing.assert_array_equal(mapped, many)


def test_the_first_of_two_makers_wins(tmp_path: Path) -> None:
    save_arrays(tmp_path / "x", _stored(1))
    assert save_arrays(tmp_path / "x", _stored(2)).meta["value"] == 1


def test_maps_outlive_their_folder(tmp_path: Path) -> None:
    stored = save_arrays(tmp_path / "x", _stored())
    remove_whole(tmp_path / "x")
    remove_whole(tmp_path / "x")
    assert [path for path in tmp_path.iterdir() if "xdg" not in path.name] == []
    assert stored.arrays["a"].tolist() == [0, 1, 2, 3, 4]


def test_regression_what_a_killed_maker_left_is_swept_with_any_other(tmp_path: Path) -> None:
    left, new, live = (tmp_path / f".y.{each:_<8}" for each in ("left", "new", "live"))
    for folder in (left, new, live):
        folder.mkdir()
        (folder / "a.npy").write_bytes(b"half")
    for folder in (left, live):
        os.utime(folder, (1, 1))
    opened = os.open(live, os.O_RDONLY)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX)
        save_arrays(tmp_path / "x", _stored())
    finally:
        os.close(opened)
    assert [folder.exists() for folder in (left, new, live)] == [False, True, True]


@given(st.data())
def test_a_folder_with_a_damaged_byte_is_what_it_was_or_an_error(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place, "x")
        save_arrays(folder, _stored())
        path = data.draw(st.sampled_from(sorted(folder.iterdir())))
        content = bytearray(path.read_bytes())
        at = data.draw(st.integers(0, len(content) - 1))
        how = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if how == "flip":
            content[at] ^= data.draw(st.integers(1, 255))
        elif how == "cut":
            del content[at:]
        else:
            content[at:at] = data.draw(st.binary(min_size=1, max_size=3))
        path.write_bytes(content)
        with contextlib.suppress(FormatError):
            loaded = load_arrays(folder)
            assert loaded is not None
            assert loaded.meta == _stored().meta  # blanks of JSON mean nothing
            for name, array in _stored().arrays.items():
                np.testing.assert_array_equal(loaded.arrays[name], array, strict=True)


def test_any_damaged_byte_of_an_array_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x/a.npy"
    save_arrays(tmp_path / "x", _stored())
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        with pytest.raises(FormatError, match=r"a\.npy is not what was written"):
            load_arrays(tmp_path / "x")


def test_a_folder_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, as_nobody: Callable[[], Any]
) -> None:
    tmp_path.chmod(0o755)
    with as_nobody(), pytest.raises(MountError, match=r"cannot write .*/x: Permission denied; "):
        save_arrays(tmp_path / "x", _stored())
    (tmp_path / "file").write_text("")
    with pytest.raises(MountError, match="cannot write"):
        save_arrays(tmp_path / "file" / "x", _stored())
    (tmp_path / "taken").write_text("")
    with pytest.raises(MountError, match="cannot write"):
        save_arrays(tmp_path / "taken", _stored())
    with pytest.raises(MountError, match="cannot remove"):
        remove_whole(tmp_path / "nowhere" / "x")
