"""What became of entries as text for a terminal.

Owns which facts are shown. Must not know where they are printed.
"""

from __future__ import annotations

from collections.abc import Iterator

from hffs.cli.caching.facts import ExportedFacts, PrunedFacts, RunFacts, VerifiedFacts
from hffs.cli.drawing.figures import show_bytes, show_number
from hffs.cli.drawing.terminal import Screen, align, draw_sections

_NOUNS = {"vae": "images", "text": "texts"}


def render(facts: RunFacts | VerifiedFacts | PrunedFacts | ExportedFacts, screen: Screen) -> str:
    """Facts of any kind."""
    match facts:
        case RunFacts():
            return _render_run(facts, screen)
        case VerifiedFacts():
            return _render_verified(facts, screen)
        case PrunedFacts():
            return _render_pruned(facts, screen)
        case ExportedFacts():
            return _render_exported(facts, screen)


def _render_run(facts: RunFacts, screen: Screen) -> str:
    """An entry: where its tensors are, and how long that took."""
    lines = align(_describe(facts), screen)
    return draw_sections([(f"{facts.id}: {facts.store}", lines)], screen)


def _describe(facts: RunFacts) -> Iterator[tuple[str, str]]:
    noun = _NOUNS[facts.kind]
    yield "encoder", f"{', '.join(facts.encoder.models)} ({facts.encoder.id[:12]})"
    yield noun, show_number(facts.planned)
    if facts.there:
        yield "kept before", show_number(facts.there)
    if facts.left:
        yield "to be encoded", show_number(facts.left)
    if facts.done:
        added = show_bytes(facts.added_bytes)
        yield "encoded", f"{show_number(facts.done)}, {added}"
    for label, count in (("broken", facts.refused), ("not readable now", facts.failed)):
        if count:
            yield label, f"{show_number(count)}{_because(facts)}"
    yield "store", f"{show_bytes(facts.store_bytes)} in all"
    if facts.time is not None:
        time = facts.time
        yield "time", f"{time.wall_s:.3g} s, {time.per_s:.3g} {noun} a second"
        yield "device", f"busy {time.encode:.0%}, waiting {time.idle:.0%}"
        yield "threads", f"decoding {time.decode:.0%}, writing {time.write:.0%}"
    if facts.smallest_batch is not None:
        yield "batches", f"of {facts.smallest_batch}: for more there was not enough memory"


def _because(facts: RunFacts) -> str:
    return f", one: {facts.reason}" if facts.reason else ""


def _render_verified(facts: VerifiedFacts, screen: Screen) -> str:
    """How a store is."""
    counts = f"{show_number(facts.samples)} in {show_number(facts.shards)} shards"
    rows = [("sound", f"{counts}, {show_bytes(facts.size_bytes)}")]
    told = "removed" if facts.removed else "damaged"
    rows += [(told, f"{name}: {why}") for name, why in facts.damaged.items()]
    return draw_sections([(facts.store, align(rows, screen))], screen)


def _render_pruned(facts: PrunedFacts, screen: Screen) -> str:
    """What of a store is gone, and what is left."""
    rows = [
        ("removed", f"{show_number(facts.removed)} shards"),
        ("rewritten", f"{show_number(facts.rewritten)} shards"),
        ("freed", show_bytes(facts.freed_bytes)),
        ("left", show_bytes(facts.size_bytes)),
    ]
    return draw_sections([(f"{facts.id}: {facts.store}", align(rows, screen))], screen)


def _render_exported(facts: ExportedFacts, screen: Screen) -> str:
    """What a trainer will find, and how."""
    counts = (
        ("written", facts.written),
        ("right already", facts.unchanged),
        ("others, left alone", facts.kept),
        ("not cached yet", facts.missing),
    )
    rows = [(label, show_number(count)) for label, count in counts if count]
    settings = [(key, str(value)) for key, value in facts.settings.items()]
    sections = [
        (f"{facts.id}: {facts.folder}", align(rows or [("written", "0")], screen)),
        (f"Settings of {facts.trainer}", align(settings, screen)),
    ]
    return draw_sections(sections, screen)
