"""What remote mode costs: bytes and requests by the log of a Hub on this machine, and seconds.

    .venv/bin/python -m tests.bench.remote [PART ...] [--rounds 3] [--json FILE] [--scale 1000]

*image*: a filter on two columns and one image of a 400 MB data set, by hffs and by others, each in
a process of its own with fresh caches. *epochs*: every image in a random order by eight readers,
then again. *orders*: the same behind 30 ms, with and without `--order`, in sequence, after
`hffs warm`. *listing*: `ls` and `ls -l` of a fresh mount. *tars*: a first mount of samples in
16 tars, and of a quarter of them in one, and an image of it. *scale*, only if asked for: footers as
of a data set of that many shards with 10,000 rows each.

Contenders take turns; figures are medians. One that cannot run is left out, with its last line.
The Hub is a Python program on this machine: a request costs some milliseconds of a core here, which
the contenders share. Latency is waited for before each answer, and all answers share the rate.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from tests.bench.machine import LeftOutError, Say, be_quiet, describe_machine
from tests.bench.remote_filter import REPO, WHERE
from tests.bench.remote_homes import Cost, Home, Link, LinkedHub, spend
from tests.bench.remote_memory import Watch
from tests.bench.remote_peers import PEERS
from tests.bench.remote_rows import (
    COMMENT,
    Photos,
    count_image_bytes,
    write_many,
    write_photos,
    write_tars,
)

STREAMING = ("--streaming",)
FAST = Link()
FAR = Link(latency_s=0.03)
SLOW = Link(latency_s=0.03, bytes_per_s=100e6 / 8)
Told = dict[str, Any]
"""What JSON can hold."""
Contender = Callable[[Home, int], str]
"""Reads the image at a position of what the filter keeps; returns the comment in it."""


def read_by_mount(*flags: str) -> Contender:
    """Mount, read one file, unmount."""

    def read(home: Home, position: int) -> str:
        home.mount("--where", WHERE, *flags)
        data = (home.mountpoint / f"{position}.jpg").read_bytes()
        home.umount()
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return str(image.info["comment"].decode())

    return read


def read_by_peer(name: str) -> Contender:
    return lambda home, position: home.python("tests.bench.remote_peers", name, str(position))


CONTENDERS: Mapping[str, Contender] = {
    "hffs --streaming": read_by_mount(*STREAMING),
    "hffs, download": read_by_mount(),
    **{name: read_by_peer(name) for name in PEERS},
}


def compare(
    hub: LinkedHub,
    photos: Photos,
    contenders: Mapping[str, Contender],
    rounds: int,
    say: Say = be_quiet,
) -> Told:
    """What each contender spends on one image of those that the filter keeps."""
    position = photos.wanted
    expected = COMMENT % photos.kept[position]
    costs: dict[str, list[Cost]] = {name: [] for name in contenders}
    left_out: dict[str, str] = {}
    for _ in range(rounds):
        for name in [name for name in contenders if name not in left_out]:
            say(f"{name}, one image")
            try:
                with Home(hub) as home:
                    cost, read = spend(hub, partial(contenders[name], home, position))
            except LeftOutError as error:
                left_out[name] = str(error)
                continue
            if read != expected:
                raise SystemExit(f"{name}: read {read!r}, not {expected!r}")
            costs[name].append(cost)
    told: Told = {name: _summarize(costs[name]) for name in contenders if name not in left_out}
    return told | {name: {"left out": why} for name, why in left_out.items()}


def _summarize(costs: Sequence[Cost]) -> Told:
    """Medians of each figure."""
    columns = zip(*(asdict(cost).items() for cost in costs), strict=True)
    return {column[0][0]: statistics.median(value for _, value in column) for column in columns}


def add_ratios(costs: Told, ours: str = "hffs --streaming") -> Told:
    """How many times our bytes and seconds others take."""
    mine = costs[ours]
    if "left out" in mine:
        return costs
    ratios = {
        name: {f"times {key}": cost[key] / mine[key] for key in ("bytes", "seconds")}
        for name, cost in costs.items()
        if "left out" not in cost
    }
    return {name: cost | ratios.get(name, {}) for name, cost in costs.items()}


def _shuffle(photos: Photos, seed: int) -> list[str]:
    names = _name_all(photos)
    random.Random(seed).shuffle(names)  # noqa: S311 - an order, no secret
    return names


def _name_all(photos: Photos) -> list[str]:
    return [f"{position}.jpg" for position in range(photos.rows)]


def read_epochs(hub: LinkedHub, photos: Photos, flags: Sequence[str]) -> Told:
    """Two epochs of eight readers, each shuffled for itself, and a third on a new mount."""
    told: Told = {}
    with Home(hub) as home:
        mounted, _ = spend(hub, lambda: home.mount(*flags))
        told["mount"] = asdict(mounted)
        for number, name in enumerate(("first", "second")):
            hub.clear()
            told[name] = home.read(_shuffle(photos, number)).told()
        home.umount()
        home.mount(*flags)
        hub.clear()
        told["after a new mount"] = home.read(_shuffle(photos, 2)).told()
    fetched = mounted.bytes + told["first"]["fetched_bytes"]
    told["first"]["fetched with mount / read"] = fetched / told["first"]["read_bytes"]
    return told


def read_orders(hub: LinkedHub, photos: Photos, flags: Sequence[str]) -> Told:
    """A first epoch in several orders, each on a fresh mount, which is counted in."""
    shuffled, in_sequence = _shuffle(photos, 3), _name_all(photos)

    def read(home: Home, names: Sequence[str], readers: int, *more: str) -> Told:
        hub.clear()
        home.mount(*flags, *more)
        return home.read(names, readers).told()

    def read_ordered(home: Home, readers: int) -> Told:
        file = home.folder / "order.txt"
        file.write_text("".join(f"{name}\n" for name in shuffled))
        return read(home, shuffled, readers, "--order", str(file))

    def read_warm(home: Home) -> Told:
        home.mount(*flags)
        cost, _ = spend(hub, home.warm)
        hub.clear()
        return home.read(shuffled).told() | {"warm": asdict(cost)}

    ways: Mapping[str, Callable[[Home], Told]] = {
        "shuffled": lambda home: read(home, shuffled, 8),
        "shuffled, --order": lambda home: read_ordered(home, 8),
        "shuffled, one reader": lambda home: read(home, shuffled, 1),
        "shuffled, one reader, --order": lambda home: read_ordered(home, 1),
        "in sequence": lambda home: read(home, in_sequence, 8),
        "in sequence, one reader": lambda home: read(home, in_sequence, 1),
        "shuffled, after hffs warm": read_warm,
    }
    return {name: _try(hub, way) for name, way in ways.items()}


def _try(hub: LinkedHub, way: Callable[[Home], Told]) -> Told:
    try:
        with Home(hub) as home:
            return way(home)
    except LeftOutError as error:
        return {"left out": str(error)}


def list_files(hub: LinkedHub, photos: Photos, flags: Sequence[str]) -> Told:
    """What it costs to list a fresh mount: names, then sizes, then sizes again."""
    told: Told = {}

    def note(name: str, work: Callable[[], object]) -> None:
        cost, _ = spend(hub, work)
        pages = count_image_bytes(hub.requests, photos.shards)
        told[name] = asdict(cost) | {"image_bytes": pages}

    def run(home: Home, *flags: str) -> None:
        command = ["ls", *flags, str(home.mountpoint)]
        subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    with Home(hub) as home:
        note("mount", lambda: home.mount(*flags))
        note("ls", lambda: run(home))
        note("ls -l", lambda: run(home, "-l"))
        note("ls -l, again", lambda: run(home, "-l"))
    return told


def measure_scale(hub: LinkedHub, flags: Sequence[str]) -> Told:
    """A mount of many shards, first and again, one file of it, and the memory for both."""
    told: Told = {}
    with Home(hub, mark := f"{random.SystemRandom().random()}") as home:
        for name in ("first", "again"):
            with Watch(mark) as watch:
                cost, _ = spend(hub, lambda: home.mount("--where", WHERE, *flags))
                read, _ = spend(hub, (home.mountpoint / "0.jpg").read_bytes)
                peaks = watch.look()
            pid = home.hffs.pid(home.mountpoint)
            others = [asdict(peak) for each, peak in peaks.items() if each != pid]
            told[name] = {
                "mount": asdict(cost),
                "one file": asdict(read),
                "daemon": asdict(peaks[pid]),
                "largest other": max(others, key=lambda peak: peak["resident_bytes"], default={}),
            }
            home.umount()
    return told


def mount_tars(hub: LinkedHub, sample: int, flags: Sequence[str]) -> Told:
    """A first mount of tars and one image of it, then a mount again."""

    def read(home: Home) -> bytes:
        home.mount(*flags)
        return (home.mountpoint / f"{sample}.jpg").read_bytes()

    with Home(hub) as home:
        first, data = spend(hub, lambda: read(home))
        if (COMMENT % sample).encode() not in data:
            raise SystemExit(f"{sample}.jpg is another image")
        home.umount()
        again, _ = spend(hub, lambda: home.mount(*flags))
    return {"first, an image": asdict(first), "again": asdict(again)}


def run_tars(
    samples: int, image_bytes: int, rounds: int, links: Sequence[Link] = (FAST, SLOW)
) -> Told:
    """The part with tars, which are a repository of their own."""
    told: Told = {}
    for tars, count in ((16, samples), (1, max(1, samples // 4))):
        with tempfile.TemporaryDirectory() as place, LinkedHub() as hub:
            paths = write_tars(Path(place), tars, count, image_bytes)
            hub.add(REPO).write_all({path.name: path for path in paths})
            size = sum(path.stat().st_size for path in paths)
            for link in links:
                hub.use(link)
                ways = {"hffs --streaming": STREAMING, "hffs, download": ()}
                trees = [
                    {name: mount_tars(hub, count // 2, flags) for name, flags in ways.items()}
                    for _ in range(rounds)
                ]
                title = f"tars, {count} samples in {tars}, {size / 1e6:.0f} MB, {link}"
                told[title] = _take_median(trees)
    return told


def _take_median(rounds: Iterable[Told]) -> Told:
    """One tree of medians out of several trees; what is no number is that of the first."""
    trees = list(rounds)
    first = trees[0]
    merged: Told = {}
    for name, value in first.items():
        values = [tree[name] for tree in trees if name in tree]
        if isinstance(value, dict):
            merged[name] = _take_median(values)
        else:
            merged[name] = value if isinstance(value, str) else statistics.median(values)
    return merged


def run_parts(hub: LinkedHub, photos: Photos, parts: Sequence[str], rounds: int) -> Told:
    """The parts that are asked for, by their names."""
    told: Told = {}
    if "image" in parts:
        for link in (FAST, SLOW):
            hub.use(link)
            told[f"image, {link}"] = add_ratios(compare(hub, photos, CONTENDERS, rounds))
    ways: Mapping[str, tuple[Link, Callable[[LinkedHub, Photos, Sequence[str]], Told]]] = {
        "epochs": (FAST, read_epochs),
        "orders": (FAR, read_orders),
        "listing": (SLOW, list_files),
    }
    for part in [name for name in ways if name in parts]:
        link, measure = ways[part]
        hub.use(link)
        try:
            rows = _take_median(measure(hub, photos, STREAMING) for _ in range(rounds))
        except LeftOutError as error:
            rows = {"hffs --streaming": {"left out": str(error)}}
        told[f"{part}, {link}"] = rows
    return told


def run_scale(shards: int) -> Told:
    """The part with many shards; the files take 1.1 MB each."""
    with tempfile.TemporaryDirectory() as place, LinkedHub() as hub:
        paths = write_many(Path(place), shards)
        hub.add(REPO).write_all({f"data/{path.name}": path for path in paths})
        try:
            return measure_scale(hub, STREAMING)
        except LeftOutError as error:
            return {"hffs --streaming": {"left out": str(error)}}


def show(told: Told, depth: int = 0) -> Iterable[str]:
    """Lines for people: what lies in one thing stands in one line."""
    for name, value in told.items():
        if isinstance(value, dict) and any(isinstance(each, dict) for each in value.values()):
            yield f"{'  ' * depth}{name}"
            yield from show(value, depth + 1)
        elif isinstance(value, dict):
            figures = ", ".join(f"{key} {_round(each)}" for key, each in value.items())
            yield f"{'  ' * depth}{name:<44} {figures}"
        else:
            yield f"{'  ' * depth}{name:<44} {_round(value)}"


def _round(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.0f}" if value >= 1000 or value == int(value) else f"{value:.3g}"


PARTS = ("image", "epochs", "orders", "listing", "tars")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--kilobytes", type=int, default=100, help="size of an image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=int, metavar="SHARDS")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    parts = options.parts or (() if options.scale else PARTS)
    result: Told = {"machine": describe_machine()}
    if set(parts) - {"tars"}:
        with tempfile.TemporaryDirectory() as place, LinkedHub() as hub:
            photos = write_photos(Path(place), options.rows, 1000 * options.kilobytes)
            hub.add(REPO).write_all(photos.files)
            result |= {"rows": photos.rows, "bytes of images": photos.image_bytes}
            result |= run_parts(hub, photos, parts, options.rounds)
    if "tars" in parts:
        result |= run_tars(options.rows, 1000 * options.kilobytes, options.rounds)
    if options.scale:
        result[f"scale, {options.scale} shards"] = run_scale(options.scale)
    sys.stdout.writelines(f"{line}\n" for line in show(result))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
