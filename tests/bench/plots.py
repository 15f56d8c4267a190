"""Pictures of what a run of the suite has found, as SVG.

Owns how they look. Knows verdicts and tables, not how they came about. The same results give the
same bytes: no date, no random ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from tests.bench.report import write_figure
from tests.bench.verdicts import MET, Table, Verdict

OURS, OTHERS, MISSED = "#0b6e4f", "#55606b", "#b3361b"
_STYLE: Any = {
    "svg.hashsalt": "hffs",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_ROW_INCHES = 0.32


def draw_rates(table: Table, path: Path) -> None:
    """A panel a column of a table of rates, a row a contender; hffs is the one in colour."""
    names = [name for name, _ in table.rows]
    with mpl.rc_context(_STYLE):
        columns = min(2, len(table.columns))
        lines = -(-len(table.columns) // columns)
        height = lines * (1.1 + _ROW_INCHES * len(names)) + 0.4
        figure = Figure(figsize=(9.5, height), layout="constrained", facecolor="white")
        panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False)
        for number, (panel, title) in enumerate(zip(panels.flat, table.columns, strict=False)):
            rates = [cells[number] for _, cells in table.rows]
            _draw_panel(panel, title, names, rates)
        _scale(panels[0, 0])
        figure.suptitle(table.title)
        _save(figure, path)


def _draw_panel(panel: Axes, title: str, names: Sequence[str], rates: Sequence[Any]) -> None:
    panel.set_title(title, loc="left")
    for place, (name, rate) in enumerate(zip(names, rates, strict=True)):
        if rate is None:
            continue
        colour = OURS if name == "hffs" else OTHERS
        panel.plot([rate], [place], "o", color=colour, markersize=8)
        panel.annotate(write_figure(rate), (rate, place), (8, 0), textcoords="offset points",
                       va="center", color=colour)  # fmt: skip
    panel.set_yticks(range(len(names)), names)
    panel.set_ylim(len(names) - 0.5, -0.5)
    _rule(panel)


def draw_goals(verdicts: Sequence[Verdict], path: Path) -> None:
    """How many times each goal is reached: right of the line it is met; none that was left out."""
    found = [(verdict, verdict.reach) for verdict in verdicts if verdict.reach is not None]
    with mpl.rc_context(_STYLE):
        size = (9.5, 1.4 + _ROW_INCHES * max(1, len(found)))
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        panel = figure.subplots()
        panel.axvline(1, color="black", linewidth=1)
        for place, (verdict, reach) in enumerate(found):
            is_met = verdict.word == MET
            # What took some of a thing of which there should be none has no place on this scale.
            shown = max(reach or 0.0, _LEAST)
            colour, mark = (OURS, "o") if is_met else (MISSED, "X")
            panel.plot([shown], [place], mark, color=colour, markersize=8)
            panel.annotate(f"{write_figure(reach)}", (shown, place), (8, 0),
                           textcoords="offset points", va="center", color=colour)  # fmt: skip
        labels = [f"{verdict.line}: {verdict.what}" for verdict, _ in found]
        panel.set_yticks(range(len(labels)), labels)
        panel.set_ylim(max(1, len(found)) - 0.5, -0.5)
        figure.suptitle("How many times each goal is reached (round: met, cross: missed)")
        _scale(panel)
        _rule(panel)
        _save(figure, path)


_LEAST = 0.01


def _scale(panel: Axes) -> None:
    """Multiples are equal distances; room for what is written beside the last mark."""
    panel.set_xscale("log")
    low, high = panel.get_xlim()
    panel.set_xlim(low / 1.3, high * 3)
    panel.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
    panel.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))


def _rule(panel: Axes) -> None:
    panel.grid(visible=True, color="#dddddd", linewidth=0.6)
    panel.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None})
