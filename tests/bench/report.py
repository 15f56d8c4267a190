"""What a run of the suite has found, as Markdown and in the document that is for it.

Owns how figures are written and where the generated part of a document begins and ends. Knows
nothing of how they were measured. The same results give the same text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.verdicts import LEFT_OUT, MET, MISSED, Outcome, Table, Verdict

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
FILES_PLOT, GOALS_PLOT = "bench-files.svg", "bench-goals.svg"


@dataclass(frozen=True, slots=True)
class Results:
    """Everything that a run has found."""

    machine: Mapping[str, Any]
    is_quick: bool
    outcomes: Mapping[str, Outcome]
    about: Mapping[str, str]
    """What each line is, in a few words."""

    @property
    def verdicts(self) -> list[Verdict]:
        return [each for outcome in self.outcomes.values() for each in outcome.verdicts]


def write_figure(value: float | str | None) -> str:
    """Three digits, or all before the point.

    >>> [write_figure(value) for value in (0.01234, 4.0, 98.76, 123456.7, None, "x")]
    ['0.0123', '4', '98.8', '123,457', '-', 'x']
    """
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"


def replace_between(document: str, text: str) -> str:
    """A document with another generated part, and all the rest of it as it was.

    Raises ValueError where it has not one such part.
    """
    if document.count(BEGIN) != 1 or document.count(END) != 1:
        raise ValueError(f"the document needs {BEGIN} and {END}, once each")
    head, rest = document.split(BEGIN)
    if END not in rest:
        raise ValueError(f"{END} comes before {BEGIN}")
    _, tail = rest.split(END)
    return f"{head}{BEGIN}\n{text.strip()}\n{END}{tail}"


def describe(results: Results) -> str:
    """On what it was measured, in one sentence, and how thoroughly."""
    told = results.machine
    where = (
        f"Measured on {told['date']} at commit {told['commit']}: {told['cores']} cores "
        f"({told['cpu']}), {told['memory_gib']} GiB, Linux {told['kernel']}, "
        f"load average {told['load']:.1f} before it began."
    )
    if not results.is_quick:
        return where
    return (
        "**A quick run**: fewer rows, files and rounds. It shows that everything works; its "
        f"figures are rough. {where}"
    )


def _tell_word(verdict: Verdict, is_quick: bool) -> str:
    word = verdict.word
    if word == MISSED:
        word = f"**{word}**"
    return f"{word} (quick)" if is_quick and not word.startswith(LEFT_OUT) else word


def _tell_figure(value: float | None, verdict: Verdict) -> str:
    return "-" if value is None else f"{write_figure(value)} {verdict.unit.name}"


def _tell_verdict(verdict: Verdict, is_quick: bool) -> Sequence[str]:
    peer = f"{verdict.peer}: {_tell_figure(verdict.theirs, verdict)}" if verdict.peer else "-"
    ratio = "-" if verdict.ratio is None else f"{verdict.ratio:.3g}"
    ours = _tell_figure(verdict.ours, verdict)
    return (verdict.line, verdict.what, verdict.goal.text, ours, peer, ratio,
            _tell_word(verdict, is_quick))  # fmt: skip


VERDICT_COLUMNS = ("line", "what", "goal", "hffs", "best peer", "ratio", "verdict")


def list_verdicts(results: Results) -> list[Sequence[str]]:
    """A row a verdict, of `VERDICT_COLUMNS`."""
    return [_tell_verdict(verdict, results.is_quick) for verdict in results.verdicts]


def count_verdicts(results: Results) -> str:
    """How many of the goals are met, in one sentence."""
    words = [verdict.word.split(":")[0] for verdict in results.verdicts]
    met, missed, left_out = (words.count(word) for word in (MET, MISSED, LEFT_OUT))
    return f"{met} of {len(words)} goals met, {missed} missed, {left_out} left out."


def _mark_down(columns: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1) -> str:
    """A table; all but the first columns, which hold text, are aligned to the right."""
    rule = ["---" if number < texts else "--:" for number in range(len(columns))]
    lines = [columns, rule, *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _tell_table(table: Table) -> str:
    rows = [[name, *map(write_figure, cells)] for name, cells in table.rows]
    return f"{table.title}:\n\n{_mark_down(['', *table.columns], rows)}"


def _tell_line(name: str, results: Results) -> Iterable[str]:
    outcome = results.outcomes[name]
    yield f"### {name}: {results.about[name]}"
    yield from map(_tell_table, outcome.tables)
    if outcome.left_out:
        yield (
            "Left out: "
            + "; ".join(f"{who} ({why})" for who, why in outcome.left_out.items())
            + "."
        )


def mark_down(results: Results, plots: Mapping[str, str]) -> str:
    """The generated part of the document; `plots` are addresses of pictures by their titles."""
    versions = ", ".join(f"{name} {told}" for name, told in results.machine["versions"].items())
    pictures = [f"![{title}]({address})" for title, address in plots.items()]
    parts = [
        describe(results),
        count_verdicts(results),
        _mark_down(VERDICT_COLUMNS, list_verdicts(results), len(VERDICT_COLUMNS)),
        *pictures,
        *(part for name in results.outcomes for part in _tell_line(name, results)),
        f"Versions: {versions}.",
    ]
    return "\n\n".join(parts)


def as_text(results: Results) -> str:
    """The verdicts for a terminal."""
    rows = [VERDICT_COLUMNS, *list_verdicts(results)]
    widths = [max(len(row[number]) for row in rows) for number in range(len(VERDICT_COLUMNS))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    return "\n".join([describe(results), "", *lines, "", count_verdicts(results)])


def as_json(results: Results) -> dict[str, Any]:
    """Everything, as JSON holds it."""
    return {
        "machine": dict(results.machine),
        "quick": results.is_quick,
        "lines": {
            name: {
                "seconds": outcome.seconds,
                "verdicts": [verdict.told() for verdict in outcome.verdicts],
                "left out": outcome.left_out,
                "figures": outcome.figures,
            }
            for name, outcome in results.outcomes.items()
        },
    }
