"""That the benchmark does what it says; of its figures nothing but that there are some."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import caching as bench
from tests.bench import caching_scale as scale
from tests.bench.access_folders import make_photos, write_photos


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> bench.Case:
    folder = tmp_path_factory.mktemp("photos")
    write_photos(folder, make_photos(6))
    return bench.make_case("device", folder / "folder", "tests.bench.caching_devices:Quick", 2, 64)


def test_what_is_possible_is_less_than_both_or_the_slower() -> None:
    assert bench.find_possible(20, 20, is_device=False) == 10
    assert bench.find_possible(20, 5, is_device=True) == 5


def test_ratios_are_of_the_same_round(case: bench.Case) -> None:
    shares = {"decode": 0.5, "encode": 0.9, "write": 0.0, "idle": 0.1}
    figures = bench.Figures(
        bare=[10, 20, 40], how=["a", "b", "b"], host=[5, 100, 100], pipeline=[5, 10, 40],
        shares=[shares] * 3,
    )  # fmt: skip
    summary = bench.summarize(case, figures)
    assert (summary["ratio"], summary["least"], summary["most"]) == (0.5, 0.5, 1)
    assert (summary["bare"], summary["how"], summary["of what is possible"]) == (20, "b", 1)
    last = bench.render({"device": summary}).splitlines()[-1]
    wanted = "| device | 100 | 20 | 10 | 0.50 (0.50 to 1.00) | 1.00 | 0.50, 0.90, 0.00, 0.10 |"
    assert last == wanted


def test_all_contenders_are_measured_in_each_round(case: bench.Case) -> None:
    figures = bench.measure(case, 2)
    for rates in (figures.bare, figures.host, figures.pipeline):
        assert len(rates) == 2
        assert min(rates) > 0
    assert all(0 < each["encode"] < 1 for each in figures.shares)


def test_a_store_is_found_complete_and_read(tmp_path: Path) -> None:
    planning = scale.time_planning(300)
    resume = scale.time_resume(tmp_path, 300)
    epochs = scale.time_epochs(tmp_path / "epochs", 3)
    assert resume["resume_s"] > resume["prepare_s"] > 0
    told = {"samples": 300, "planning": planning, "files": 300, "resume": resume, "epochs": epochs}
    assert scale.render_scale(told).count("| ") == 8 * 2 + 2
