import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.view.sizes import LearnedSizes, keep_sizes


def test_sizes_are_unknown_until_learned_and_then_kept(tmp_path: Path) -> None:
    sizes = LearnedSizes(tmp_path / "sizes", 4)
    assert sizes.get(2) is None
    sizes.learn(2, 12345)
    sizes.learn(3, 2**39)
    sizes.learn(1, 2**40)
    assert (sizes.get(2), sizes.get(3), sizes.get(1)) == (12345, 2**39, 2**40)
    assert sizes.known().tolist() == [0, 2**40, 12345, 2**39]
    again = LearnedSizes(tmp_path / "sizes", 4)
    assert (again.get(2), again.get(0), again.get(1)) == (12345, None, None)
    assert again.total_bytes(np.array([0, 2])) == 12345


def test_another_process_sees_what_is_learned(tmp_path: Path) -> None:
    sizes = LearnedSizes(tmp_path / "sizes", 4)
    code = (
        "import sys, pathlib; from hffs.view.sizes import LearnedSizes;"
        "LearnedSizes(pathlib.Path(sys.argv[1]), 4).learn(1, 77)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "sizes")], check=True)
    assert sizes.get(1) == 77


@pytest.mark.parametrize("damage", [b"", b"short", b"x" * 33])
def test_a_file_of_the_wrong_length_is_made_again(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / "sizes").write_bytes(damage)
    sizes = LearnedSizes(tmp_path / "sizes", 4)
    assert [sizes.get(cell) for cell in range(4)] == [None] * 4


def test_regression_what_is_learned_is_read_of_the_file_that_was_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "sizes"
    allocate = os.posix_fallocate

    def replace(*given: int) -> None:
        allocate(*given)
        (tmp_path / "other").write_bytes(bytes(32))
        (tmp_path / "other").rename(path)

    monkeypatch.setattr(os, "posix_fallocate", replace)
    sizes = LearnedSizes(path, 4)
    sizes.learn(1, 77)
    assert sizes.get(1) == 77


def test_the_file_is_private_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    LearnedSizes(tmp_path / "sizes", 4)
    assert [path.name for path in tmp_path.iterdir()] == ["sizes"]
    assert (tmp_path / "sizes").stat().st_mode & 0o777 == 0o600


def test_a_size_that_a_disk_has_damaged_is_not_known(tmp_path: Path) -> None:
    sizes = LearnedSizes(tmp_path / "sizes", 300)
    for cell in range(300):
        sizes.learn(cell, 1000 + cell)
    whole = (tmp_path / "sizes").read_bytes()
    for bit in range(64):
        damaged = bytearray(whole)
        damaged[8 * 257 + bit // 8] ^= 1 << bit % 8
        (tmp_path / "sizes").write_bytes(damaged)
        found = LearnedSizes(tmp_path / "sizes", 300)
        assert found.get(257) is None
        assert found.known()[256:259].tolist() == [1256, 0, 1258]
    swapped = whole[8:16] + whole[:8] + whole[16:]
    (tmp_path / "sizes").write_bytes(swapped)
    assert LearnedSizes(tmp_path / "sizes", 300).get(0) is None


@given(st.lists(st.integers(0, 2**40 - 1), min_size=1, max_size=20))
def test_what_is_kept_for_many_is_known_for_each(kept: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "sizes")
        keep_sizes(path, np.array(kept, np.int64))
        sizes = LearnedSizes(path, len(kept))
        assert sizes.known().tolist() == kept
        assert [sizes.get(cell) or 0 for cell in range(len(kept))] == kept


def test_no_cells_need_no_sizes(tmp_path: Path) -> None:
    assert LearnedSizes(tmp_path / "sizes", 1).total_bytes(np.array([], np.int64)) == 0


def _refuse(*_: object) -> int:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_regression_a_full_disk_costs_what_is_kept_and_not_the_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    LearnedSizes(tmp_path / "sizes", 4).learn(0, 11)
    monkeypatch.setattr(os, "posix_fallocate", _refuse)
    unmapped = LearnedSizes(tmp_path / "sizes", 4)
    unmapped.learn(1, 22)
    monkeypatch.undo()
    mapped = LearnedSizes(tmp_path / "sizes", 4)
    monkeypatch.setattr(os, "pwrite", _refuse)
    mapped.learn(1, 22)
    mapped.learn(2, 0)
    for sizes in (unmapped, mapped):
        assert [sizes.get(cell) or 0 for cell in range(4)] == [11, 22, 0, 0]
        assert sizes.known().tolist() == [11, 22, 0, 0]
        assert sizes.total_bytes(np.array([0, 1, 3])) == 33
    assert [entry.message.split(":")[-1] for entry in caplog.records] == [
        " No space left on device; going on without"
    ] * 2


def test_sizes_that_cannot_be_kept_anywhere_are_known_to_the_process(tmp_path: Path) -> None:
    sizes = LearnedSizes(tmp_path / "missing/sizes", 2)
    sizes.learn(1, 5)
    assert (sizes.get(0), sizes.get(1)) == (None, 5)
