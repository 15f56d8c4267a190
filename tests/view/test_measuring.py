from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from hffs.data.filters.selection import Measured
from hffs.data.rows import RowStore
from hffs.data.source import tell_nobody
from hffs.errors import FormatError, StaleError
from hffs.view import measuring
from hffs.view.measuring import Crew, Looking, load_or_measure
from tests.view.conftest import encode

WORKERS = 3


class Rows(RowStore):
    """Images in memory; remembers which were loaded."""

    def __init__(self, images: dict[int, bytes | Exception]) -> None:
        self.images = images
        self.loaded: list[int] = []

    def is_far(self, cell: int) -> bool:
        return False

    def load(self, cell: int) -> memoryview:
        self.loaded.append(cell)
        image = self.images[cell]
        if isinstance(image, Exception):
            raise image
        return memoryview(image)


def some_images(count: int) -> dict[int, bytes | Exception]:
    return {cell: encode("PNG", size=(cell + 1, 2 * cell + 1)) for cell in range(count)}


def mask(count: int, *cells: int) -> NDArray[np.bool_]:
    wanted = np.zeros(count, np.bool_)
    wanted[list(cells)] = True
    return wanted


def measure(folder: Path, rows: Rows, wanted: NDArray[np.bool_]) -> Measured:
    return load_or_measure(folder, Crew(rows, Looking(WORKERS, tell_nobody)), wanted)


def test_only_what_is_wanted_and_unknown_is_measured(tmp_path: Path) -> None:
    folder = tmp_path / "measured/key"
    rows = Rows(some_images(5) | {3: b"bad", 4: FormatError("cannot read")})
    first = measure(folder, rows, mask(5, 1, 3))
    assert first.width.tolist() == [0, 2, 0, 0, 0]
    assert first.height.tolist() == [0, 3, 0, 0, 0]
    assert first.orientation.tolist() == [0, 1, 0, 0, 0]
    assert first.width.dtype == first.height.dtype == np.int32
    assert first.orientation.dtype == np.uint8
    assert sorted(rows.loaded) == [1, 3]
    second = measure(folder, rows, np.ones(5, np.bool_))
    assert second.width.tolist() == [1, 2, 3, 0, 0]
    assert sorted(rows.loaded) == [0, 1, 2, 3, 4]  # the unreadable one is known to be that
    again = measure(folder, Rows({}), mask(5, 0, 4))
    assert again.width.tolist() == second.width.tolist()
    assert {oct(path.stat().st_mode & 0o777) for path in (folder, folder.parent)} == {"0o700"}


def test_nothing_wanted_leaves_nothing_behind(tmp_path: Path) -> None:
    nothing = measure(tmp_path / "measured/key", Rows({}), mask(2))
    assert nothing.width.tolist() == [0, 0]
    assert list(tmp_path.iterdir()) == []


def test_images_are_measured_by_several_threads(tmp_path: Path) -> None:
    meeting = threading.Barrier(WORKERS, timeout=60)

    class Meeting(Rows):
        def load(self, cell: int) -> memoryview:
            if cell % measuring._BATCH == 0:
                meeting.wait()
            return super().load(0)

    count = WORKERS * measuring._BATCH
    sizes = measure(tmp_path / "m/key", Meeting(some_images(1)), np.ones(count, np.bool_))
    assert sizes.width.tolist() == [1] * count


def test_progress_counts_up_to_what_is_missing(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    rows = Rows(some_images(1))
    rows.images |= dict.fromkeys(range(1, 700), rows.images[0])
    crew = Crew(rows, Looking(2, lambda *told: seen.append(told)))
    load_or_measure(tmp_path / "m/k", crew, mask(700, *range(100, 700)))
    assert seen == [(256, 600), (512, 600), (600, 600)]


def test_what_was_kept_before_a_failure_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measuring, "PART_CELLS", 2)
    rows = Rows(some_images(6) | {5: StaleError("cannot read")})
    with pytest.raises(StaleError):
        measure(tmp_path / "m/k", rows, np.ones(6, np.bool_))
    rest = Rows(some_images(6))
    assert measure(tmp_path / "m/k", rest, np.ones(6, np.bool_)).width.tolist() == [
        1, 2, 3, 4, 5, 6,
    ]  # fmt: skip
    assert sorted(rest.loaded) == [4, 5]


class Killed(Rows):
    """Ends the process at the fourth image."""

    def load(self, cell: int) -> memoryview:
        if cell == 3:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().load(cell)


def test_a_killed_process_leaves_what_it_had_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.view.test_measuring import *;"
        "measuring.PART_CELLS = 2;"
        "measure(Path(sys.argv[1]), Killed(some_images(4)), np.ones(4, np.bool_))"
    )
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, str(tmp_path / "m/k")]
    assert subprocess.run(command, check=False, cwd=root).returncode == -signal.SIGKILL
    monkeypatch.setattr(measuring, "PART_CELLS", 2)
    rest = Rows(some_images(4))
    assert measure(tmp_path / "m/k", rest, np.ones(4, np.bool_)).width.tolist() == [1, 2, 3, 4]
    assert sorted(rest.loaded) == [2, 3]


def test_several_at_once_agree(tmp_path: Path) -> None:
    rows = Rows(some_images(30))
    masks = [mask(30, *range(start, 30)) for start in (0, 0, 5, 10, 0, 20)]
    with ThreadPoolExecutor(len(masks)) as pool:
        found = list(pool.map(lambda wanted: measure(tmp_path / "m/k", rows, wanted), masks))
    for wanted, sizes in zip(masks, found, strict=True):
        assert (sizes.width[wanted] == np.arange(1, 31)[wanted]).all()
    assert measure(tmp_path / "m/k", Rows({}), masks[0]).width.tolist() == list(range(1, 31))
    assert not list((tmp_path / "m/k").glob(".*"))


@pytest.mark.parametrize("damage", ["truncated", "other cells"])
def test_a_damaged_part_is_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    rows = Rows(some_images(3))
    measure(tmp_path / "m/k", rows, np.ones(3, np.bool_))
    (part,) = (tmp_path / "m/k").iterdir()
    if damage == "truncated":
        (part / "size.npy").write_bytes(b"")
    else:
        np.save(part / "cell.npy", np.array([7, 8, 9], np.int64))
    with caplog.at_level(logging.WARNING):
        again = measure(tmp_path / "m/k", rows, np.ones(3, np.bool_))
    assert again.width.tolist() == [1, 2, 3]
    assert "it is made again" in caplog.text
    assert sorted(rows.loaded) == [0, 0, 1, 1, 2, 2]
    assert measure(tmp_path / "m/k", Rows({}), np.ones(3, np.bool_)).width.tolist() == [1, 2, 3]
