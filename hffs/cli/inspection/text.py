"""The facts of a view as text for a terminal.

Owns which facts are shown, in which sections; how these are laid out is
`hffs.cli.drawing.terminal`. Must not know where they are printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.text import Text

from hffs.cli.drawing.figures import show_bytes, show_number, show_seconds
from hffs.cli.drawing.terminal import Screen, Section, align, draw_histogram, draw_sections
from hffs.cli.inspection.figures import describe_example, describe_measure, show_counts
from hffs.core.formats import NOUNS, Media
from hffs.view.inspection.facts import (
    CaptionFacts,
    ClipFacts,
    FormatFacts,
    GroupFacts,
    Report,
    SizeFacts,
)

_MOST_FOLDERS = 20


def render_text(report: Report, screen: Screen, *, name: bool = False) -> str:
    """All facts, section by section; with the entry's `name` where there are several."""
    return draw_sections(_sections(report, screen), screen, report.id if name else "")


def _sections(report: Report, screen: Screen) -> Iterator[Section]:
    yield report.source, align(_overview(report), screen)
    columns = ((column.name, column.type) for column in report.columns)
    yield "Columns", align(columns, screen)
    yield "Left out", _removed(report, screen)
    if report.formats:
        yield "Formats", _formats(report, screen)
    if report.sizes.looked_at:
        yield f"Sizes ({_describe_sizes(report.sizes, report.media)})", _sizes(report.sizes, screen)
    if report.clips is not None and report.clips.looked_at:
        yield from _clip_sections(report.clips, report.media, screen)
    captions = report.captions
    if captions is not None and captions.count:
        of = f"of {show_number(captions.count)} {NOUNS[report.media][1]}"
        yield f"Captions ({_describe_captions(captions)}, {of})", _captions(captions, screen)
    if report.groups:
        yield f"Folders ({show_number(len(report.groups))})", _folders(report.groups, screen)


def _overview(report: Report) -> Iterator[tuple[str, str]]:
    yield "rows", show_number(report.rows)
    kind, plural = (
        f"column {report.image_column}, {report.image_column_kind}",
        NOUNS[report.media][1],
    )
    yield plural, f"{show_number(report.images)} ({kind})"
    yield "shown", f"{show_number(report.shown)} ({show_bytes(report.source_bytes)})"
    files = f"{show_number(report.image_files)} of {plural}"
    if report.image_files:
        files += f" ({_describe_making(report)})"
    files += f", {show_number(report.caption_files)} of captions"
    if report.lyrics_column is not None:
        files += f", {show_number(report.lyrics_files)} of lyrics (column {report.lyrics_column})"
    yield "files", files
    if report.composite is not None:
        tiles = ", ".join(map(str, report.composite.tiles[:10]))
        more = ", ..." if len(report.composite.tiles) > 10 else ""
        count, layout = report.composite.image_count, report.composite.layout
        yield "tiles", f"{tiles}{more} of {count} in each image, layout {layout}"


def _removed(report: Report, screen: Screen) -> Iterator[Text]:
    none = f"no {NOUNS[report.media][0]}"
    rows = [(name, show_number(count), none) for name, count in report.dropped.items()]
    for step in report.removed:
        if step.count or step.asked:
            rows.append((step.step, show_number(step.count), step.why))
        examples = [describe_example(each, report.media) for each in step.examples[:1]]
        rows += [("", "", example) for example in examples]
    return align(rows or [("nothing", "", "")], screen, right={1}, style="dim")


def _formats(report: Report, screen: Screen) -> Iterator[Text]:
    rows = []
    for facts in report.formats:
        rows.append((facts.format, show_number(facts.images), _describe_making(facts)))
    return align(rows, screen, right={1}, style="dim")


def _describe_making(facts: Report | FormatFacts) -> str:
    counts = (
        (facts.passes, "pass through"),
        (facts.rendered, "are rendered"),
        (facts.fails, "cannot be rendered"),
    )
    files = ", ".join(f"{show_number(count)} {what}" for count, what in counts if count)
    return files or "none is shown"


def _describe_sizes(sizes: SizeFacts, media: Media) -> str:
    of = "a sample of " if sizes.sampled else ""
    origin = "columns" if sizes.origin == "columns" else f"{NOUNS[media][0]} headers"
    unknown = sizes.looked_at - sizes.known
    missing = f", {show_number(unknown)} not known" if unknown else ""
    return f"of {of}{show_number(sizes.looked_at)}, by {origin}{missing}"


def _sizes(sizes: SizeFacts, screen: Screen) -> Iterator[Text]:
    named = (("smallest", sizes.smallest), ("largest", sizes.largest))
    pairs = [(name, f"{size.width} x {size.height}") for name, size in named if size]
    common = ", ".join(f"{s.width} x {s.height} ({show_number(s.count)})" for s in sizes.common)
    if common:
        pairs.append(("most are", common))
    yield from align(pairs, screen)
    for name, spread in (("width", sizes.width), ("height", sizes.height)):
        yield from draw_histogram(name, spread, " px", screen)
    yield from draw_histogram("width / height", sizes.aspect, "", screen)


def _clip_sections(clips: ClipFacts, media: Media, screen: Screen) -> Iterator[Section]:
    duration, frames = clips.duration_s, clips.frames
    of = describe_measure(duration, media, sampled=clips.sampled)
    yield (
        f"Durations ({of})",
        [
            *align([("total", show_seconds(duration.total))], screen),
            *draw_histogram("duration", duration.spread, " s", screen),
        ],
    )
    if frames is not None:
        of = describe_measure(frames, media, sampled=clips.sampled)
        total = align([("total", show_number(frames.total))], screen)
        yield f"Frames ({of})", [*total, *draw_histogram("frames", frames.spread, "", screen)]
    of = "a sample of " if clips.sampled else ""
    pairs = (
        ("frames a second", show_counts(clips.fps)),
        ("video codecs", show_counts(clips.video_codecs)),
        ("audio codecs", show_counts(clips.audio_codecs)),
        ("sample rates", show_counts(clips.sample_rates, " Hz")),
        ("channels", show_counts(clips.channels)),
    )
    yield (
        f"Made of (by headers of {of}{show_number(clips.looked_at)})",
        align([pair for pair in pairs if pair[1]], screen),
    )


def _describe_captions(captions: CaptionFacts) -> str:
    return f"column {captions.column}" if captions.column else "no column"


def _captions(captions: CaptionFacts, screen: Screen) -> Iterator[Text]:
    if not captions.samples:
        yield Text("  none: there is no column caption, text, prompt or txt")
        return
    yield from draw_histogram("length", captions.length, " characters", screen)
    yield from align([(sample.file, sample.text) for sample in captions.samples], screen)


def _folders(groups: Sequence[GroupFacts], screen: Screen) -> Iterator[Text]:
    rows = [(group.folder, show_number(group.images), "") for group in groups[:_MOST_FOLDERS]]
    if len(groups) > _MOST_FOLDERS:
        rows.append((f"and {len(groups) - _MOST_FOLDERS:,} more", "", ""))
    return align(rows, screen, right={1})
