"""That the suite judges, writes and draws what was measured, and that its lines run; no timing."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.bench import __main__ as suite
from tests.bench import (
    access,
    hub,
    latency,
    lines,
    memory,
    plots,
    profile,
    report,
    scan,
    start,
    suite_reads,
)
from tests.bench.machine import ROOT, LeftOutError, be_quiet, describe_machine
from tests.bench.sizes import FULL, QUICK, Sizes
from tests.bench.suite_memory import judge_memory
from tests.bench.suite_remote import judge_remote
from tests.bench.verdicts import (
    RATE,
    REQUESTS,
    SECONDS,
    Goal,
    Outcome,
    Table,
    Unit,
    Verdict,
    find_best,
)

TINY = Sizes(
    folders=("hffs", "bare pyfuse3 loop"), files=4, files_rounds=1,
    epoch_files=4, epoch_rounds=1, epochs_of_ours=False,
    first_rows=4, first_kilobytes=4, first_rounds=1,
    filter_rows=1000, filter_rounds=1,
    names=2000, names_rounds=1,
    memory_rows=(1000,),
    remote_rows=80, remote_peers=(), remote_rounds=1,
    tile_rounds=1, latency_rounds=1,
    scan_images=70, scan_rounds=1,
    start_rounds=1,
)  # fmt: skip

MACHINE = {
    "cpu": "a cpu", "cores": 2, "memory_gib": 4.0, "kernel": "6.1", "load": 0.1,
    "versions": {"Python": "3.11"}, "commit": "abc", "date": "2026-01-02 03:04 UTC",
}  # fmt: skip
TWICE = Goal("twice", 2, of_ratio=True)
SOON = Goal("within a second", 1)


def _results(*, is_quick: bool = False) -> report.Results:
    verdicts = [
        Verdict("files", "1 reader, cold", TWICE, RATE, 300.0, "other", 100.0),
        Verdict("files", "1 reader, warm", TWICE, RATE, 150.0, "other", 100.0),
        Verdict("files", "4 readers", TWICE, RATE, left_out="no such disk"),
    ]
    table = Table(
        "Files a second", ["cold", "warm"], [("hffs", [300.0, 1.5]), ("other", [1, None])]
    )
    outcome = Outcome(verdicts, [table], {"rounds": {}}, {"third": "it is not installed"})
    return report.Results(MACHINE, is_quick, {"files": outcome}, {"files": "an epoch"})


def _judge(goal: Goal, unit: Unit, ours: float, theirs: float | None) -> Verdict:
    return Verdict("line", "what", goal, unit, ours, "peer", theirs)


@pytest.mark.parametrize(
    ("verdict", "reach", "word"),
    [
        (_judge(TWICE, RATE, 300.0, 100.0), 1.5, "met"),
        (_judge(TWICE, RATE, 100.0, 100.0), 0.5, "missed"),
        (_judge(TWICE, SECONDS, 1.0, 4.0), 2.0, "met"),
        (_judge(TWICE, SECONDS, 4.0, 4.0), 0.5, "missed"),
        (_judge(SOON, SECONDS, 0.5, None), 2.0, "met"),
        (_judge(SOON, SECONDS, 2.0, None), 0.5, "missed"),
        (_judge(Goal("so many", 10), RATE, 20.0, None), 2.0, "met"),
        (_judge(Goal("none", 0), REQUESTS, 0.0, None), 1.0, "met"),
        (_judge(Goal("none", 0), REQUESTS, 3.0, None), 0.0, "missed"),
        (_judge(TWICE, RATE, 300.0, None), None, "left out: nothing to compare with"),
    ],
)
def test_a_figure_becomes_a_verdict(verdict: Verdict, reach: float | None, word: str) -> None:
    assert (verdict.reach, verdict.word) == (reach, word)
    assert verdict.told()["verdict"] == word


def test_the_best_peer_is_the_quickest_of_those_that_were_there() -> None:
    seconds = {"slow": 3.0, "quick": 1.0, "hffs": 0.5}
    assert find_best(seconds, ["slow", "quick", "absent"], SECONDS) == ("quick", 1.0)
    assert find_best(seconds, ["slow", "quick"], RATE) == ("slow", 3.0)
    assert find_best(seconds, ["absent"], RATE) is None


def test_files_are_judged_beside_the_best_fuse_peer_and_cold_only_where_it_was_measured() -> None:
    warm = {"ext4": 9.0, "hffs": 3.0, "squashfuse_ll": 4.0, "ratarmount": 2.0}
    verdicts = suite_reads.judge_files({"1 reader, warm": warm})
    told = {verdict.what: verdict for verdict in verdicts}
    assert (told["1 reader, warm"].peer, told["1 reader, warm"].ratio) == ("squashfuse_ll", 0.75)
    assert "only root" in told["1 reader, cold"].word
    assert len(told) == 4


def _remember(rows: int, *epochs: float) -> dict[str, float]:
    sizes = {f"epoch {number} pss_bytes": size for number, size in enumerate(epochs, 1)}
    others = {"epoch 1 file_bytes": 1e12, "known mount_s": 0.5, "kernel_bytes_per_name": 3.0}
    return {"rows": rows, "listed pss_bytes": 9e7} | others | sizes


def test_memory_is_judged_by_the_rows_and_by_its_growth() -> None:
    outcome = judge_memory([_remember(10_000, 1e8, 1e8), _remember(10**6, 1.8e8, 2e8)])
    assert [verdict.word for verdict in outcome.verdicts] == ["met", "met", "missed", "missed"]
    assert [verdict.goal.bound for verdict in outcome.verdicts[::2]] == [150.4, 190]
    sizes, besides = outcome.tables
    assert sizes.rows[0] == ("10,000 rows", [90.0, 100.0, 100.0])
    assert besides.rows[0] == ("10,000 rows", [None, 0.5, None, 3.0, None, None])
    assert besides.rows[1][1][-1] == pytest.approx(1e8 / 990_000)


def test_remote_is_judged_beside_who_fetches_least() -> None:
    costs: dict[str, Any] = {
        "hffs --streaming": {"bytes": 1_000_000, "requests": 9, "seconds": 1.0},
        "hffs, download": {"bytes": 10, "requests": 9, "seconds": 1.0},
        "pyarrow": {"bytes": 8_000_000, "requests": 5, "seconds": 2.0},
        "DuckDB": {"left out": "no network"},
    }
    outcome = judge_remote(costs, {"first": {"fetched with mount / read": 1.2}}, "40 MB")
    image, epoch = outcome.verdicts
    assert (image.word, image.peer, image.ratio) == ("met", "pyarrow", 8)
    assert epoch.word == "missed"
    assert outcome.left_out == {"DuckDB": "no network"}
    broken = judge_remote(costs | {"hffs --streaming": {"left out": "x"}}, {"left out": "y"}, "")
    assert [verdict.word for verdict in broken.verdicts] == ["left out: x", "left out: y"]


def test_the_marked_part_is_replaced_and_nothing_else() -> None:
    document = f"# Title\n\n{report.BEGIN}\nold | text\n{report.END}\n\n## Rest\n"
    assert report.replace_between(document, "\nnew\n") == document.replace("old | text", "new")


@pytest.mark.parametrize(
    "document", ["", report.BEGIN, f"{report.END}{report.BEGIN}", f"{report.BEGIN * 2}{report.END}"]
)
def test_a_document_without_its_marks_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="bench:"):
        report.replace_between(document, "new")


def test_the_document_of_the_project_has_its_marks() -> None:
    text = suite.DOCUMENT.read_text()
    assert report.replace_between(text, "new") != text


def test_results_are_written_for_people() -> None:
    text = report.mark_down(_results(), {"A picture": "images/a.svg"})
    assert "| files | 1 reader, cold | twice | 300 /s | other: 100 /s | 3 | met |" in text
    assert "| files | 1 reader, warm | twice | 150 /s | other: 100 /s | 1.5 | **missed** |" in text
    assert "left out: no such disk |" in text
    assert "| hffs | 300 | 1.5 |" in text
    assert "| other | 1 | - |" in text
    assert "Left out: third (it is not installed)." in text
    assert "![A picture](images/a.svg)" in text
    assert "1 of 3 goals met, 1 missed, 1 left out." in text
    assert "quick" not in text


def test_a_quick_run_says_that_it_is_one() -> None:
    text = report.mark_down(_results(is_quick=True), {})
    assert "**A quick run**" in text
    assert "| met (quick) |" in text
    assert report.as_json(_results(is_quick=True))["quick"]


def test_plots_show_every_contender_and_goal_and_are_the_same_again(tmp_path: Path) -> None:
    first, again = (suite.draw(_results(), tmp_path / name) for name in ("one", "two"))
    assert len(first) == len(again) == 2
    for name in (report.FILES_PLOT, report.GOALS_PLOT):
        drawn = (tmp_path / "one" / name).read_bytes()
        assert drawn == (tmp_path / "two" / name).read_bytes()
        ElementTree.fromstring(drawn)  # noqa: S314 - drawn here
    assert b"other" in (tmp_path / "one" / report.FILES_PLOT).read_bytes()
    assert b"files: 1 reader, cold" in (tmp_path / "one" / report.GOALS_PLOT).read_bytes()


def test_a_plot_without_any_goal_is_drawn_too(tmp_path: Path) -> None:
    plots.draw_goals([Verdict("a", "b", TWICE, RATE, left_out="c")], tmp_path / "none.svg")
    assert (tmp_path / "none.svg").stat().st_size


def test_a_quick_run_measures_less_of_everything() -> None:
    for field in fields(Sizes):
        full, quick = getattr(FULL, field.name), getattr(QUICK, field.name)
        if isinstance(full, int):
            assert 0 <= quick <= full, field.name
    assert QUICK.folders == FULL.folders
    assert set(QUICK.remote_peers or ()) <= set(_name_peers())
    assert FULL.with_rounds(9).scan_rounds == FULL.with_rounds(9).files_rounds == 9


def _name_peers() -> list[str]:
    from tests.bench.remote_peers import PEERS

    return list(PEERS)


def test_a_line_that_fails_or_cannot_run_is_left_out_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> Outcome:
        raise OSError("a disk is full")

    def leave_out(*_: object) -> Outcome:
        raise LeftOutError("no such thing here")

    planted = {
        "files": lines.Line("an epoch", lambda *_: _results().outcomes["files"]),
        "scan": lines.Line("a scan", fail),
        "start": lines.Line("a start", leave_out),
    }
    monkeypatch.setattr(suite, "LINES", planted)
    document = tmp_path / "performance.md"
    document.write_text(f"before\n{report.BEGIN}\n{report.END}\nafter\n")
    monkeypatch.setattr(suite, "DOCUMENT", document)
    kept = tmp_path / "build/bench.json"
    assert suite.main(["--quick", "--json", str(kept), "--write"]) == 1
    told = capsys.readouterr()
    assert "left out: it failed: a disk is full" in told.out
    assert "left out: no such thing here" in told.out
    assert "Traceback" in told.err
    assert set(json.loads(kept.read_text())["lines"]) == set(planted)
    assert document.read_text().startswith(f"before\n{report.BEGIN}\n**A quick run**")
    assert document.read_text().endswith(f"{report.END}\nafter\n")
    assert (tmp_path / "images" / report.GOALS_PLOT).exists()
    assert suite.main(["files", "--json", str(kept)]) == 0


def test_unknown_lines_are_refused_and_known_ones_are_named(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit, match="2"):
        suite.main(["nothing"])
    told = capsys.readouterr().err
    assert all(name in told for name in lines.LINES)


def test_the_machine_is_described() -> None:
    told = describe_machine()
    assert told["cores"] > 0
    assert {"Python", "pyfuse3", "datasets"} <= told["versions"].keys()


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # of newer Pythons
@pytest.mark.fuse
def test_files_are_read_by_every_contender(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "drop_caches", lambda _: None)  # those of all other tests too
    outcome = lines.LINES["files"].measure(TINY, be_quiet)
    contenders = {name for name, _ in outcome.tables[0].rows}
    assert {"hffs", "bare pyfuse3 loop", "datasets, Arrow", "datasets, streaming"} < contenders
    assert not outcome.left_out
    assert all(rate for name, rates in outcome.tables[0].rows for rate in rates[:1])


@pytest.mark.fuse
def test_names_are_listed_twice() -> None:
    outcome = lines.LINES["listing"].measure(TINY, be_quiet)
    assert outcome.figures["first, requests"] > 0
    assert [verdict.ours is not None for verdict in outcome.verdicts] == [True] * 3


@pytest.mark.lossless
def test_filters_and_tiles_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = lines.LINES["filter"].measure(TINY, be_quiet)
    assert [verdict.peer for verdict in outcome.verdicts] == ["Dataset.filter, row by row"] * 2
    monkeypatch.setattr(latency, "measure", lambda _: {"p50 ms": 1.0, "p99 ms": 9.0})
    outcome = lines.LINES["render"].measure(TINY, be_quiet)
    assert len(outcome.verdicts) == 3
    assert outcome.verdicts[-1].word == "missed"


def test_lines_tell_what_their_benchmarks_have_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """These are run for real by tests of their own."""
    seconds = {"hffs, first": 1.0, "load_dataset, first": 30.0, "export, from Arrow files": 40.0}
    monkeypatch.setattr(hub, "measure", lambda *_: {"seconds": seconds, "disk": {}})
    first = lines.LINES["first"].measure(TINY, be_quiet)
    assert [verdict.word for verdict in first.verdicts] == ["met", "missed"]
    each = {"seconds": {"hffs": 1.0, scan.SIZES: 4.0}}
    whole = {"seconds": {"hffs": 1.0, scan.SIZES: 4.0, scan.WHOLE: 8.0}}
    told = {"folder": each, "mount": whole, "kohya": "a stand-in"}
    monkeypatch.setattr(scan, "run", lambda *_: told)
    scanned = lines.LINES["scan"].measure(TINY, be_quiet)
    assert [verdict.ratio for verdict in scanned.verdicts] == [4, 8]
    monkeypatch.setattr(start, "measure", lambda _: {"hffs --help": 0.1, "hffs ls": 0.4})
    words = [verdict.word for verdict in lines.LINES["start"].measure(TINY, be_quiet).verdicts]
    assert words == ["met", "missed", "left out: nothing to compare with"]
    monkeypatch.setattr(memory, "measure", lambda rows: [_remember(n, 1.0) for n in rows])
    assert len(lines.LINES["memory"].measure(TINY, be_quiet).verdicts) == 2


def test_epochs_are_told_by_state(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = {"ext4": [100.0], "hffs": [90.0]}
    verdicts, table = suite_reads.judge_epochs({"an epoch": {"warm": folders}}, "ext4")
    assert [verdict.word.split(":")[0] for verdict in verdicts] == ["left out", "missed"]
    assert table.rows == [("an epoch, warm", [100.0, 90.0])]


def test_own_time_is_summed_by_function() -> None:
    raw = ["a (x.py:1);b (y.py:2) 3", "a (x.py:4) 1", "a (x.py:9);b (y.py:7) 2", "native 1"]
    times = profile.sum_own_times(raw)
    assert times == {"b (y.py)": 5, "a (x.py)": 1, "native": 1}
    assert " 71.4 %  b (y.py)" in list(profile.show_times(times))


def test_a_sampler_that_is_not_there_is_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(profile, "find_program", lambda _: "false")
    with pytest.raises(LeftOutError, match="it has written nothing"):
        profile.record(1, "raw", tmp_path / "raw", 0)


def test_a_flame_graph_names_no_folder_of_the_machine() -> None:
    drawn = f"<text>{ROOT}/.venv/bin/py-spy record --pid 1</text><title>a (b.py:1)</title>"
    assert profile.leave_out_paths(drawn) == "<text>py-spy record</text><title>a (b.py:1)</title>"
