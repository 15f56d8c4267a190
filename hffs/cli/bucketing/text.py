"""The facts of a plan as text for a terminal.

Owns which facts are shown, and which columns give way where the screen is narrow; how all is laid
out is `hffs.cli.drawing.terminal`. Must not know where it is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rich.cells import cell_len
from rich.text import Text

from hffs.cli.bucketing.figures import (
    describe_settings,
    show_both,
    show_share,
    show_size,
    sort_fullest,
)
from hffs.cli.drawing.figures import Bar, show_number
from hffs.cli.drawing.terminal import (
    Screen,
    Section,
    align,
    draw_bar,
    draw_histogram,
    draw_sections,
)
from hffs.cli.untrusted import clean_line
from hffs.train.report.facts import (
    BucketFacts,
    CaptionFacts,
    PlanFacts,
    QualityFacts,
    RemovalFacts,
    ScanFacts,
    SizeFacts,
    TotalFacts,
)

MOST_BUCKETS = 40
_MOST_BAR, _LEAST_BAR, _RANK_OF_BARS = 20, 6, 4
_MOST_TERMS = 12
_GAP = 2


def render_text(facts: PlanFacts, screen: Screen, *, name: bool = False, full: bool = False) -> str:
    """All facts, section by section; with the entry's `name` where there are several.

    The table is last, where a terminal ends. Of many buckets the fullest are shown, and all of them
    if `full`.
    """
    sections = _sections(facts, screen, full=full)
    return draw_sections(sections, screen, facts.id if name else "")


def _sections(facts: PlanFacts, screen: Screen, *, full: bool) -> Iterator[Section]:
    yield facts.scan.folder, align(_overview(facts), screen)
    yield "Settings", align(describe_settings(facts.settings), screen)
    if facts.scan.unreadable:
        title = f"Cannot be read ({show_number(facts.scan.unreadable)})"
        yield title, _problems(facts.scan, screen)
    yield "Sizes", align(_sizes(facts.sizes), screen)
    yield "Left out", _removed(facts.removed, screen)
    if facts.worst_crops:
        yield "Most is cut away of", _worst(facts, screen)
    if facts.captions is not None:
        of = show_number(facts.captions.looked_at)
        sampled = facts.captions.looked_at < facts.captions.of
        yield (
            f"Captions (of {'a sample of ' if sampled else ''}{of} images)",
            _captions(facts.captions, screen),
        )
    if facts.files:
        yield "Written", (Text(f" {clean_line(name)}") for name in facts.files)
    totals = facts.totals
    if totals.samples:
        title = f"Buckets ({show_number(totals.buckets)}; mean / worst of each)"
        yield title, _buckets(facts, screen, full=full)


def _overview(facts: PlanFacts) -> Iterator[tuple[str, str]]:
    scan, totals = facts.scan, facts.totals
    unreadable = f", {show_number(scan.unreadable)} cannot be read" if scan.unreadable else ""
    yield "images", f"{show_number(scan.found)}{unreadable}"
    yield "other files", show_number(scan.others)
    yield "trained on", f"{show_number(totals.images)} in {show_number(totals.samples)} samples"
    rest = (("dropped", totals.dropped), ("padded", totals.padded))
    told = "".join(f", {show_number(count)} {what}" for what, count in rest if count)
    yield "batches", f"{show_number(totals.batches)} an epoch{told}"


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table. Those of the highest `rank` give way first; of some nothing is told
    where all buckets have none.
    """

    title: str
    rank: int
    show: Callable[[BucketFacts | TotalFacts], str]
    is_told: Callable[[TotalFacts], bool] = lambda _: True


def _quality(
    name: str, kind: Literal["error", "share", "scale"]
) -> Callable[[BucketFacts | TotalFacts], str]:
    def show(facts: BucketFacts | TotalFacts) -> str:
        quality: QualityFacts | None = facts.quality
        return "-" if quality is None else show_both(getattr(quality, name), kind)

    return show


_COLUMNS = (
    _Column("images", 0, lambda facts: show_number(facts.images)),
    _Column("batches", 1, lambda facts: show_number(facts.batches)),
    _Column("aspect error", 4, _quality("aspect_error", "error")),
    _Column("crop loss", 2, _quality("crop_loss", "share")),
    _Column("upscale", 3, _quality("upscale", "scale")),
    _Column("dropped", 5, lambda facts: show_number(facts.dropped), lambda all_: all_.dropped > 0),
    _Column("padded", 6, lambda facts: show_number(facts.padded), lambda all_: all_.padded > 0),
)


def _buckets(facts: PlanFacts, screen: Screen, *, full: bool) -> Iterator[Text]:
    """The table: as many columns as fit, and bars if there is still room for them."""
    fullest = sort_fullest(facts.buckets)
    shown = fullest if full else fullest[:MOST_BUCKETS]
    rows: list[BucketFacts | TotalFacts] = [*shown, facts.totals]
    columns = [column for column in _COLUMNS if column.is_told(facts.totals)]
    sizes = (show_size(each.width, each.height) for each in shown)
    cells = [["bucket", *sizes, "all"]]
    cells += [[column.title, *map(column.show, rows)] for column in columns]
    widths = [max(map(cell_len, column)) for column in cells]
    chosen = _choose_columns(columns, widths, screen.width)
    room = screen.width - _measure(widths, chosen) - _GAP
    most = min(_MOST_BAR, room) if room >= _LEAST_BAR else 0
    bars = ["", *_draw_shares([each.images for each in shown], most, screen), ""]
    for number, bar in enumerate(bars):
        line = Text(" " * _GAP + cells[0][number].ljust(widths[0]))
        if most:
            line.append(" " * _GAP).append(bar.ljust(most), style="cyan")
        for place in chosen:
            line.append(" " * _GAP + cells[place][number].rjust(widths[place]))
        line.stylize({0: "dim", len(bars) - 1: "bold"}.get(number, ""))
        if number == len(bars) - 1 and len(shown) < len(fullest):
            yield _tell_rest(fullest[len(shown) :])
        yield line
    if len(chosen) < len(columns):
        yield Text("  a wider screen shows more columns", style="dim")


def _choose_columns(columns: Sequence[_Column], widths: Sequence[int], room: int) -> list[int]:
    """Which columns fit beside the first, by their places; the most important one always.

    Bars are worth more than the least important ones.
    """
    chosen = list(range(1, len(widths)))
    while len(chosen) > 1:
        least = max(chosen, key=lambda place: columns[place - 1].rank)
        bar = _GAP + _LEAST_BAR if columns[least - 1].rank > _RANK_OF_BARS else 0
        if _measure(widths, chosen) + bar <= room:
            break
        chosen.remove(least)
    return chosen


def _measure(widths: Sequence[int], chosen: Sequence[int]) -> int:
    return sum(_GAP + widths[column] for column in (0, *chosen))


def _draw_shares(counts: Sequence[int], most: int, screen: Screen) -> Iterator[str]:
    fullest = max(counts)
    for count in counts:
        yield draw_bar(Bar("", count, count / fullest), most, unicode=screen.unicode)


def _tell_rest(rest: Sequence[BucketFacts]) -> Text:
    one = len(rest) == 1
    images = show_number(sum(each.images for each in rest))
    return Text(
        f"  and {show_number(len(rest))} smaller bucket{'' if one else 's'} with {images} images",
        style="dim",
    )


def _sizes(sizes: SizeFacts) -> Iterator[tuple[str, str]]:
    named = (
        ("width", sizes.width, " px"),
        ("height", sizes.height, " px"),
        ("width / height", sizes.aspect, ""),
        ("megapixels", sizes.megapixels, ""),
    )
    for name, spread, unit in named:
        if spread is not None:
            low, middle, high = map(show_number, (spread.min, spread.median, spread.max))
            yield name, f"{low} to {high}{unit}, median {middle}"


def _removed(removed: Sequence[RemovalFacts], screen: Screen) -> Iterator[Text]:
    rows = []
    for each in removed:
        example = each.examples[0]
        rows.append((
            each.reason.replace("_", " "),
            show_number(each.samples),
            f"{each.why}, e.g. {example.name} ({show_size(example.width, example.height)})",
        ))  # fmt: skip
    return align(rows or [("nothing", "", "")], screen, right={1}, style="dim")


def _problems(scan: ScanFacts, screen: Screen) -> Iterator[Text]:
    first: dict[str, str] = {}
    for problem in scan.problems:
        first.setdefault(problem.reason, problem.name)
    rows = []
    for each in scan.reasons:
        example = f", e.g. {first[each.reason]}" if each.reason in first else ""
        rows.append((show_number(each.count), f"{each.reason}{example}"))
    return align(rows, screen, right={0}, style="dim")


def _worst(facts: PlanFacts, screen: Screen) -> Iterator[Text]:
    rows = [
        (
            show_share(crop.crop_loss),
            f"{show_size(crop.width, crop.height)} in "
            f"{show_size(crop.crop_width, crop.crop_height)}",
            crop.name,
        )
        for crop in facts.worst_crops[:5]
    ]
    return align(rows, screen, right={0})


def _captions(captions: CaptionFacts, screen: Screen) -> Iterator[Text]:
    counts = (
        ("missing", captions.missing),
        ("cannot be read", captions.unreadable),
        ("blank", captions.blank),
        ("repeat another", captions.duplicates),
        ("read in part", captions.longer),
    )
    yield from align([(what, show_number(n)) for what, n in counts if n], screen)
    yield from draw_histogram("length", captions.characters, " characters", screen)
    for what, terms in (("tags", captions.tags), ("words", captions.frequent_words)):
        if terms:
            named = (f"{each.term} ({show_number(each.captions)})" for each in terms[:_MOST_TERMS])
            yield Text(f"  {what}: {clean_line(', '.join(named))}")
