import tracemalloc
from types import SimpleNamespace
from typing import Any

import pytest

from hffs.errors import RenderError
from hffs.view import failures as under_test
from hffs.view.failures import Failures

ROWS: Any = SimpleNamespace(media="image", names_url=lambda cell: False)


def settle(failures: Failures, cell: int, why: str) -> None:
    """As content does: the error that was raised is not kept."""
    failures.settle(cell, f"{cell}.jpg (row {cell} of set)", RenderError("cannot render", why=why))


def test_a_broken_cell_fails_as_it_did_under_the_name_it_is_asked_by() -> None:
    failures = Failures(ROWS)
    settle(failures, 3, "cut short")
    assert str(failures.find(3, lambda: "0.jpg")) == "cannot render 0.jpg: cut short"
    assert failures.find(4, lambda: "1.jpg") is None
    assert failures.figures().broken == 1


def test_a_broken_cell_takes_little_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "MOST_NAMED", 0)  # what is logged a test keeps
    failures = Failures(ROWS)
    settle(failures, -1, "cut short 0")
    tracemalloc.start()
    for cell in range(10_000):
        settle(failures, cell, f"cut short {cell % 7}")
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held / 10_000 < 150


def test_so_many_different_reasons_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_MOST_REASONS", 2)
    failures = Failures(ROWS)
    for cell in range(3):
        settle(failures, cell, f"its length is {cell}")
    told = [str(failures.find(cell, str)) for cell in range(3)]
    assert told[:2] == [f"cannot render: its length is {cell}" for cell in range(2)]
    assert "so many different reasons" in told[2]
