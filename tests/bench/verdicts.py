"""From figures to verdicts: what a goal is, and whether it is met.

Pure: knows neither how anything is measured nor how it is shown. A ratio always says how many times
better hffs is than a peer, whether more of the unit is better or less.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

MET, MISSED, LEFT_OUT = "met", "missed", "left out"


@dataclass(frozen=True, slots=True)
class Unit:
    """What a figure counts, and which way is better."""

    name: str
    is_less_better: bool = False


RATE = Unit("/s")
SECONDS = Unit("s", is_less_better=True)
MILLISECONDS = Unit("ms", is_less_better=True)
MEGABYTES = Unit("MB", is_less_better=True)
REQUESTS = Unit("requests", is_less_better=True)
TIMES = Unit("times")
SHARE = Unit("times", is_less_better=True)


@dataclass(frozen=True, slots=True)
class Goal:
    """What has to be reached: at least `bound`, or at most where less of the unit is better."""

    text: str
    bound: float
    of_ratio: bool = False
    """Whether it is about the ratio to the peer, of which more is better, or about the figure."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A goal and what came of it; `left_out` says why nothing was measured."""

    line: str
    what: str
    goal: Goal
    unit: Unit
    ours: float | None = None
    peer: str = ""
    theirs: float | None = None
    left_out: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times better hffs is than the peer."""
        if not self.ours or not self.theirs:
            return None
        ratio = self.ours / self.theirs
        return 1 / ratio if self.unit.is_less_better else ratio

    @property
    def reach(self) -> float | None:
        """How many times the goal is reached: 1 is just met. None where nothing was measured."""
        judged = self.ratio if self.goal.of_ratio else self.ours
        if self.left_out or judged is None:
            return None
        if not self.unit.is_less_better or self.goal.of_ratio:
            return judged / self.goal.bound
        if judged <= self.goal.bound:  # a bound of nothing, say, that nothing has reached
            return self.goal.bound / judged if judged else 1.0
        return self.goal.bound / judged

    @property
    def word(self) -> str:
        """`met`, `missed`, or `left out: why`."""
        if self.reach is None:
            return f"{LEFT_OUT}: {self.left_out or 'nothing to compare with'}"
        return MET if self.reach >= 1 else MISSED

    def told(self) -> dict[str, Any]:
        """All of it, as JSON holds it."""
        more = {"ratio": self.ratio, "reach": self.reach, "verdict": self.word}
        return asdict(self) | more


def find_best(
    figures: Mapping[str, float], names: Sequence[str], unit: Unit
) -> tuple[str, float] | None:
    """The best of some contenders that were measured, and its figure; None without any."""
    found = {name: figures[name] for name in names if name in figures}
    if not found:
        return None
    choose = min if unit.is_less_better else max
    best = choose(found, key=lambda name: found[name])
    return best, found[best]


@dataclass(frozen=True, slots=True)
class Table:
    """Figures to be looked at; a cell that is None was not measured."""

    title: str
    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[float | str | None]]]


@dataclass(slots=True)
class Outcome:
    """What a line has come to."""

    verdicts: list[Verdict] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Any] = field(default_factory=dict)
    """All that was measured, as JSON holds it."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Contenders that could not run, and why."""
    seconds: float = 0.0
