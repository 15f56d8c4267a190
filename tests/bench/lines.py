"""The lines of the suite: what each measures, and which goals it has.

Owns the goals. The measuring itself is in the module of each
benchmark, which knows of no goal; heavy ones are imported by the line that takes them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.bench.machine import Say
from tests.bench.sizes import Sizes
from tests.bench.suite_memory import judge_memory
from tests.bench.suite_reads import measure_files, measure_training
from tests.bench.suite_remote import measure_remote
from tests.bench.verdicts import (
    MILLISECONDS,
    RATE,
    REQUESTS,
    SECONDS,
    Goal,
    Outcome,
    Table,
    Verdict,
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the suite."""

    about: str
    measure: Callable[[Sizes, Say], Outcome]


def measure_first(sizes: Sizes, say: Say) -> Outcome:
    """From the command to the first image, beside `load_dataset` and an export."""
    from tests.bench import hub

    kilobytes = sizes.first_kilobytes
    told = hub.measure(sizes.first_rows, 1000 * kilobytes, sizes.first_rounds, say)
    seconds = told["seconds"]
    ours, load = seconds["hffs, first"], seconds["load_dataset, first"]
    exported = load + seconds["export, from Arrow files"]
    about = f"{sizes.first_rows:,} rows of {kilobytes} KB"
    goals = (
        ("load_dataset", load, Goal("20 times sooner than load_dataset", 20, of_ratio=True)),
        ("exporting", exported, Goal("100 times sooner than exporting", 100, of_ratio=True)),
    )
    verdicts = [
        Verdict("first", f"{about}, beside {peer}", goal, SECONDS, ours, peer, theirs)
        for peer, theirs, goal in goals
    ]
    shown = [(name, [value]) for name, value in seconds.items() if "/" not in name]
    table = Table(f"From the command to the first image, {about}", ["seconds"], shown)
    return Outcome(verdicts, [table], told)


def measure_filter(sizes: Sizes, say: Say) -> Outcome:
    """Filters of four terms, beside `Dataset.filter`."""
    from tests.bench import filters

    rows = sizes.filter_rows
    with tempfile.TemporaryDirectory() as folder:
        filters.write_rows(Path(folder), rows)
        medians = filters.find_medians(filters.time_cases(Path(folder), sizes.filter_rounds, say))
    goal, peer = Goal("20 times Dataset.filter", 20, of_ratio=True), "Dataset.filter, row by row"
    verdicts = [
        Verdict("filter", f"{name}, 4 terms, {rows:,} rows", goal, SECONDS,
                found["hffs, Parquet"], peer, found[peer])
        for name, found in medians.items()
    ]  # fmt: skip
    who = list(next(iter(medians.values())))
    shown = [(each, [found[each] for found in medians.values()]) for each in who]
    table = Table(f"Filters of {rows:,} rows, seconds, all in memory", list(medians), shown)
    return Outcome(verdicts, [table], {"seconds": medians})


def measure_listing(sizes: Sizes, say: Say) -> Outcome:
    """Names of a very large folder."""
    from tests.bench import listing

    with tempfile.TemporaryDirectory() as base:
        told = listing.run(Path(base), sizes.names, sizes.names_rounds, say)
    goal, none = Goal("300,000 names a second", 300_000), Goal("no request", 0)
    verdicts = [
        Verdict("listing", f"{sizes.names:,} names, {when}", goal, RATE, told[f"{when}, /s"])
        for when in ("first", "again")
    ]
    asked = told["again, requests"]
    verdicts.append(Verdict("listing", "requests of listing again", none, REQUESTS, asked))
    shown = [
        (when, [told[f"{when}, /s"], told[f"{when}, requests"]]) for when in ("first", "again")
    ]
    columns = ["names a second", "requests to the daemon"]
    return Outcome(verdicts, [Table(f"Listing {sizes.names:,} names", columns, shown)], dict(told))


def measure_memory(sizes: Sizes, _: Say) -> Outcome:
    """What a daemon takes, by the rows of its view."""
    from tests.bench import memory

    told = memory.measure(sizes.memory_rows)
    return judge_memory(told)


def measure_render(sizes: Sizes, say: Say) -> Outcome:
    """Tiles cut losslessly beside Pillow, and reads while all cores render."""
    from tests.bench import composites

    say("tiles")
    medians = composites.run(sizes.tile_rounds)
    cuts = (
        (
            "one tile",
            Goal("1.5 times decode, crop, encode", 1.5, of_ratio=True),
            "one tile, Pillow",
        ),
        ("four tiles", Goal("4 times a tile", 4, of_ratio=True), "four tiles, Pillow one by one"),
    )
    verdicts = [
        Verdict("render", f"{what} of a 2 x 2 JPEG grid", goal, MILLISECONDS,
                medians[f"{what}, lossless"], peer, medians[peer])
        for what, goal, peer in cuts
    ]  # fmt: skip
    tables = [Table("Rendering, milliseconds of one core", ["ms"],
                    [(name, [spent]) for name, spent in medians.items()])]  # fmt: skip
    outcome = Outcome(verdicts, tables, {"ms": medians})
    _add_latency(outcome, sizes.latency_rounds, say)
    return outcome


def _add_latency(outcome: Outcome, rounds: int, say: Say) -> None:
    goal = Goal("under 5 ms while PNG rows render", 5)
    what = "p99 of a read that passes through"
    from tests.bench import latency

    say("reads while PNG rows render")
    told = latency.measure(rounds)
    outcome.verdicts.append(Verdict("render", what, goal, MILLISECONDS, told["p99 ms"]))
    shown = [
        (name.removesuffix(" ms"), [spent]) for name, spent in told.items() if name.endswith(" ms")
    ]
    outcome.tables.append(Table("Reads while PNG rows render", ["ms"], shown))
    outcome.figures["latency"] = dict(told)


def measure_scan(sizes: Sizes, say: Say) -> Outcome:
    """Sizes of all images of a folder, beside kohya's scan."""
    from tests.bench import scan

    count = sizes.scan_images
    with tempfile.TemporaryDirectory() as folder:
        told = scan.run(Path(folder), count, 0, sizes.scan_rounds, say)
    goal, verdicts = Goal("3 times kohya's own scan", 3, of_ratio=True), []
    for where in ("folder", "mount"):
        seconds = told[where]["seconds"]
        rates = {name: count / spent for name, spent in seconds.items()}
        peer = scan.WHOLE if scan.WHOLE in rates else scan.SIZES
        named = f"{peer} ({told['kohya']})"
        what = f"images of a {where} scanned"
        verdicts.append(Verdict("scan", what, goal, RATE, rates["hffs"], named, rates[peer]))
    shown = [
        (name, [count / told[where]["seconds"][name] for where in ("folder", "mount")])
        for name in told["folder"]["seconds"]
    ]
    columns = ["images/s, folder", "images/s, mount"]
    return Outcome(verdicts, [Table(f"Scans of {count:,} images", columns, shown)], told)


def measure_start(sizes: Sizes, _: Say) -> Outcome:
    """How soon a command is done."""
    from tests.bench import start

    goals = {"hffs --help": 0.2, "hffs ls": 0.3, "mount of a known view": 0.5}
    told = start.measure(sizes.start_rounds)
    verdicts = [
        Verdict("start", name, Goal(f"within {most} s", most), SECONDS, told.get(name))
        for name, most in goals.items()
    ]
    shown = [(name, [spent]) for name, spent in told.items()]
    return Outcome(verdicts, [Table("Commands, seconds", ["s"], shown)], dict(told))


LINES: Mapping[str, Line] = {
    "files": Line("a raw epoch, cold and warm, by 1 and 4 readers", measure_files),
    "training": Line("a training epoch beside the local disk", measure_training),
    "first": Line("from the command to the first image", measure_first),
    "filter": Line("filters beside Dataset.filter", measure_filter),
    "listing": Line("names of a very large folder", measure_listing),
    "memory": Line("memory of the daemon", measure_memory),
    "remote": Line("bytes fetched from the Hub", measure_remote),
    "render": Line("tiles, and reads while images are rendered", measure_render),
    "scan": Line("scans beside kohya's", measure_scan),
    "start": Line("start of the command line", measure_start),
}
