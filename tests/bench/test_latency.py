"""That the benchmark of latency reads what it says, while images are rendered; it times nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.bench import latency as bench

LABELS = [
    f"{when}{what}{percentile} ms"
    for when in ("", "idle ")
    for what in ("", "disk ", "echo ")
    for percentile in ("p50", "p99")
]


def test_rows_of_two_kinds_have_names_in_order() -> None:
    rows = bench.Rows(Path(), 2, 3)
    assert rows.jpeg_names() == ["0.jpg", "1.jpg"]
    assert rows.png_names() == ["2.jpg", "3.jpg", "4.jpg"]


def test_figures_are_percentiles_in_milliseconds() -> None:
    figures = bench.summarize({"": [0.001, 0.002, 0.003], "disk ": [0.5]}, "idle ")
    assert figures["idle p50 ms"] == 2
    assert 2.9 < figures["idle p99 ms"] <= 3
    assert figures["idle disk p50 ms"] == figures["idle disk p99 ms"] == 500


def test_every_contender_is_timed_with_each_name_until_it_is_over() -> None:
    seen: list[tuple[str, str]] = []
    contenders: bench.Contenders = {
        label: lambda name, label=label: seen.append((label, name))  # type: ignore[misc] # bound
        for label in "ab"
    }
    times = bench.probe(contenders, ["0", "1", "2"], lambda: len(seen) >= 4)
    assert seen == [("a", "0"), ("b", "0"), ("a", "1"), ("b", "1")]
    assert {label: len(each) for label, each in times.items()} == {"a": 2, "b": 2}


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons
def test_an_echo_answers_and_ends() -> None:
    with bench.open_echo() as echo:
        echo("0.jpg")
        echo("1.jpg")


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons
@pytest.mark.fuse
def test_a_round_renders_all_that_it_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "JPEGS", 6)
    monkeypatch.setattr(bench, "PNGS", 8)
    bench.main(["--rounds", "1", "--json", str(tmp_path / "figures.json")])
    kept = json.loads((tmp_path / "figures.json").read_text())["figures"]
    assert set(kept) == {"rendered a second", "busy share", *LABELS}
    assert all(value > 0 for value in kept.values())
    assert kept["busy share"] <= 1
    assert "rendered a second" in capsys.readouterr().out
