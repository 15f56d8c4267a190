"""What each trainer does to a mount, and its epoch beside that over the same files in a folder.

    HFFS_TRAINERS=FOLDER .venv/bin/python -m tests.trainers.observe [--rows 200] [--rounds 3]
        [--only WORD]

Prints a Markdown table for each trainer that is there. It runs twice on one mount, under strace:
what was seen, what was made (of items encoded, sizes measured, rows prepared) the first time and
again, and which system calls on paths of the mount failed. Then its epoch is timed without strace,
by itself: in turn on a fresh mount, whose files the kernel has not seen, and on a fresh copy of the
files, which it has. Rendered files have been rendered before.
"""

from __future__ import annotations

import argparse
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hffs.cli.demo import find_photos
from tests.command import Hffs
from tests.trainers.driving import (
    CHECKOUTS,
    KEPT,
    TRAINERS,
    Trainer,
    drive,
    find_checkout,
    has_strace,
)
from tests.trainers.pictures import Picture, cut_pictures, write_pictures

_SCALE = 3
"""Of the pictures: 768 by 768 and the like, some 100 KB, as data sets have them."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A data set, the command that mounts it, and a folder for everything."""

    hffs: Hffs
    pictures: list[Picture]
    source: Path
    folder: Path

    @classmethod
    def below(cls, folder: Path, rows: int) -> Scene:
        photos = [(photo.name, photo.read_bytes()) for photo in find_photos()]
        pictures = cut_pictures(photos, rows, _SCALE)
        source = write_pictures(folder / "pictures.parquet", pictures)
        return cls(Hffs.below(folder), pictures, source, folder)

    @contextmanager
    def mounted(self, trainer: Trainer) -> Iterator[Path]:
        """The data set on a fresh mount, always at the same place, as a trainer needs it."""
        mountpoint = self.folder / "mnt"
        mountpoint.mkdir()
        with tempfile.TemporaryDirectory(dir=self.folder) as scratch:
            layer = ("--scratch", scratch) if trainer.scratch else ()
            self.hffs("mount", self.source, mountpoint, *trainer.flags, *layer)
            try:
                yield mountpoint
            finally:
                self.hffs("umount", mountpoint)
        mountpoint.rmdir()

    @contextmanager
    def copied(self, files: Path) -> Iterator[Path]:
        """A fresh copy of files in a folder."""
        copy = self.folder / "copy"
        shutil.copytree(files, copy)
        yield copy
        shutil.rmtree(copy)


def run(trainer: Trainer, folder: Path, options: Sequence[str], kept: Path, traced: bool) -> Any:
    """What a trainer's driver says of a folder."""
    checkout = find_checkout(trainer.checkout) if trainer.checkout else None
    arguments = [option.replace(KEPT, str(kept)) for option in options]
    return drive(trainer.driver, checkout, folder, *arguments, trace=folder if traced else None)


def observe(trainer: Trainer, scene: Scene, rounds: int) -> list[tuple[str, str]]:
    """What is to be said of a trainer: heads and cells of its table."""
    with tempfile.TemporaryDirectory(dir=scene.folder) as own:
        kept, files = Path(own, "kept"), Path(own, "files")
        with scene.mounted(trainer) as folder:
            shutil.copytree(folder, files)
            runs = [run(trainer, folder, trainer.options, kept, has_strace()) for _ in range(2)]
        times = time_epochs(trainer, scene, files, rounds)
    scratch = " --scratch DIR" if trainer.scratch else ""
    return [
        ("flags", f"`{' '.join(trainer.flags)}{scratch}`".replace("``", "none")),
        ("items seen", _both(f"{said['items']} of {len(scene.pictures)}" for said in runs)),
        ("captions right", _both(count_right_captions(said, scene.pictures) for said in runs)),
        ("made", _both(_list(_counts(said)) for said in runs)),
        ("failed system calls", _both(_list(said.get("failed", {})) for said in runs)),
        *_describe_times(times),
    ]


def time_epochs(
    trainer: Trainer, scene: Scene, files: Path, rounds: int
) -> dict[str, list[tuple[float, float]]]:
    """Seconds of the scan and of the epoch, on the mount and in a folder, round by round."""
    options = trainer.options if trainer.timed_options is None else trainer.timed_options
    times: dict[str, list[tuple[float, float]]] = {"mount": [], "folder": []}
    for _ in range(rounds):
        for kind, place in (("mount", scene.mounted(trainer)), ("folder", scene.copied(files))):
            with place as folder, tempfile.TemporaryDirectory(dir=scene.folder) as own:
                said = run(trainer, folder, options, Path(own, "kept"), traced=False)
            times[kind].append((said["scan_s"], said["epoch_s"]))
    return times


def count_right_captions(said: dict[str, Any], pictures: Sequence[Picture]) -> str:
    """How many captions are those of the row that the image's name says; none is asked for "-".

    Blanks beside commas do not count: some trainers split a caption there and join it anew.
    """
    if "captions" not in said:
        return "-"
    right = sum(
        isinstance(text, str)
        and _without_blanks(text) == _without_blanks(pictures[int(Path(name).stem)].caption)
        for name, text in said["captions"].items()
    )
    return f"{right} of {len(pictures)}"


def _without_blanks(text: str) -> str:
    return re.sub(r"\s*,\s*", ",", text)


def _counts(said: dict[str, Any]) -> dict[str, int]:
    return {
        name.replace("_", " "): count
        for name, count in said.items()
        if type(count) is int and name != "items"
    }


def _list(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items()) or "none"


def _both(said: Iterator[str] | Sequence[str]) -> str:
    first, again = said
    return first if first == again else f"{first}; again: {again}"


def _describe_times(times: dict[str, list[tuple[float, float]]]) -> Iterator[tuple[str, str]]:
    for column, what in enumerate(("scan", "epoch")):
        seconds = {kind: [pair[column] for pair in pairs] for kind, pairs in times.items()}
        medians = {kind: statistics.median(values) for kind, values in seconds.items()}
        for kind, values in seconds.items():
            spread = f"{min(values):.2f} to {max(values):.2f}"
            yield f"{what}, {kind}", f"{medians[kind]:.2f} s ({spread})"
        yield f"{what}, folder / mount", f"{medians['folder'] / medians['mount']:.2f}"


def _describe_checkout(name: str | None) -> str:
    if name is None:
        return ""
    command = ["git", "-C", str(find_checkout(name)), "log", "-1", "--format=%h of %cs"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"{CHECKOUTS[name]} at {said}" if said else CHECKOUTS[name]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="trainers whose name has this word")
    options = parser.parse_args()
    print(
        f"{options.rows} pictures, Linux {platform.release()}, Python {platform.python_version()}"
    )
    with tempfile.TemporaryDirectory() as folder:
        scene = Scene.below(Path(folder), options.rows)
        for trainer in TRAINERS:
            if options.only.lower() in trainer.name.lower():
                _print_table(trainer, scene, options.rounds)


def _print_table(trainer: Trainer, scene: Scene, rounds: int) -> None:
    try:
        about = _describe_checkout(trainer.checkout)
    except pytest.skip.Exception as missing:
        print(f"{trainer.name}: {missing}", file=sys.stderr)
        return
    lines = observe(trainer, scene, rounds)
    print(f"\n| {trainer.name} | {about} |\n|---|---|")
    print("\n".join(f"| {head} | {cell} |" for head, cell in lines), flush=True)


if __name__ == "__main__":
    main()
