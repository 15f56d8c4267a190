"""Facts as text for a terminal: sections of plain columns that fit a width, and bars.

Owns the layout. Must not know where it is printed, nor whose facts they are. Texts of the data set
come in as they are and go out harmless (`hffs.cli.untrusted`); none is taken for markup.
Invariant: no line is wider than the screen.
"""

from __future__ import annotations

import io
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console
from rich.text import Text

from hffs.cli.drawing.figures import Bar, draw_bars, show_number
from hffs.cli.untrusted import clean_line
from hffs.core.histograms import Spread

_MOST_BAR = 40
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LABEL, _BESIDE_BAR = 13, 26
"""Characters of a bin's label, and of all that stands beside a bar."""

Section = tuple[str, Iterable[Text]]
"""A title, and the lines below it."""


@dataclass(frozen=True, slots=True)
class Screen:
    """What texts are drawn for."""

    width: int = 80
    unicode: bool = True
    colour: bool = False


def draw_sections(sections: Iterable[Section], screen: Screen, name: str = "") -> str:
    """All sections one below the other; above them the `name` of what they are of, if there is."""
    console = Console(
        file=io.StringIO(),
        width=screen.width,
        force_terminal=screen.colour,
        color_system="standard" if screen.colour else None,
        highlight=False,
        legacy_windows=False,
        _environ={},
    )
    with console.capture() as captured:
        if name:
            console.print(Text(clean_line(name), style="reverse"), no_wrap=True)
        for title, lines in sections:
            console.print(Text(clean_line(title), style="bold"), no_wrap=True, overflow="ellipsis")
            for line in lines:
                line.rstrip()
                console.print(line, no_wrap=True, overflow="ellipsis")
            console.print()
    text = captured.get().rstrip("\n") + "\n"
    return text if screen.unicode else text.replace("…", "~")


def align(
    rows: Iterable[Sequence[str]], screen: Screen, right: Collection[int] = (), style: str = ""
) -> Iterator[Text]:
    """Rows as lines of columns, of which the last is cut where the screen ends.

    Columns `right` end at one place instead; `style` is that of the last column.
    """
    cleaned = [[clean_line(cell) for cell in row] for row in rows]
    most = max(8, screen.width // 3)
    widths = [min(max(map(cell_len, column)), most) for column in zip(*cleaned, strict=True)]
    for *cells, last in cleaned:
        line = Text(" ")
        for number, (cell, width) in enumerate(zip(cells, widths, strict=False)):
            fitted = Text(cell)
            fitted.truncate(width, overflow="ellipsis")
            fitted.align("right" if number in right else "left", width)
            line.append(" ").append_text(fitted).append(" ")
        shown = last.rjust(widths[-1]) if len(cells) in right else last
        yield line.append(" " + shown, style=style)


def draw_histogram(name: str, spread: Spread | None, unit: str, screen: Screen) -> Iterator[Text]:
    """How numbers are spread, and a line with a bar for each bin; nothing of no numbers."""
    if spread is None:
        return
    low, middle, high = map(show_number, (spread.min, spread.median, spread.max))
    between = f"{low} to {high}{unit}, median {middle}" if low != high else f"{low}{unit}"
    yield Text(f"  {name}: {between}")
    most = max(4, min(_MOST_BAR, screen.width - _BESIDE_BAR))
    for bar in draw_bars(spread.histogram):
        line = Text(f"  {bar.label:>{_LABEL}}  ")
        line.append(draw_bar(bar, most, unicode=screen.unicode), style="cyan")
        yield line.append(f" {show_number(bar.count)}")


def draw_bar(bar: Bar, most: int, *, unicode: bool) -> str:
    """A bar of up to `most` characters; something is seen of anything but 0."""
    if not unicode:
        return "#" * max(round(bar.share * most), bar.count > 0)
    eighths = max(round(bar.share * most * 8), bar.count > 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
