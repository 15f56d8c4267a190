"""The lines of the suite that read photos: a raw epoch and training epochs, with their goals.

Owns who the contenders are, and which of them a goal is about. Reading is in `tests.bench.access`
and `tests.bench.loading`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.bench import loading
from tests.bench.access import EPOCH, Figures, Work, run, summarize
from tests.bench.access_folders import make_photos, open_folders
from tests.bench.machine import Say
from tests.bench.sizes import Sizes
from tests.bench.verdicts import RATE, Goal, Outcome, Table, Verdict, find_best

PATTERNS = ("1 reader", "4 readers")
STATES = ("cold", "warm")
FUSE_PEERS = ("passthrough_ll", "squashfuse_ll", "ratarmount", "energon mount")
"""File systems over FUSE that serve the same photos from a disk, which goals are about."""

GOALS = {
    "cold": Goal("above every FUSE peer", 1, of_ratio=True),
    "warm": Goal("not below any FUSE peer", 1, of_ratio=True),
}
_TRAINING = Goal("0.95 of the local disk", 0.95, of_ratio=True)
_NO_ROOT = "only root may drop what the kernel keeps"

Medians = Mapping[str, Mapping[str, float]]


def measure_files(sizes: Sizes, say: Say) -> Outcome:
    """A raw epoch: every photo once, whole, in order."""
    from tests.bench.in_process import open_in_process

    names = [f"{number}.jpg" for number in range(sizes.files)]
    left_out: dict[str, str] = {}
    say("mounting")
    with (
        tempfile.TemporaryDirectory() as base,
        open_folders(Path(base), make_photos(sizes.files), sizes.folders, left_out) as folders,
    ):
        works = {who: Work(folder, names) for who, folder in folders.items()}
        works |= open_in_process(Path(base), names)
        figures = run(works, PATTERNS, sizes.files_rounds, say)
    medians = summarize(figures)
    table = _tabulate(f"A raw epoch of {sizes.files:,} photos of 60 to 140 KB, files a second",
                      medians, list(works))  # fmt: skip
    return Outcome(judge_files(medians), [table], {"rounds": figures}, left_out)


def judge_files(medians: Medians) -> list[Verdict]:
    """A verdict for each pattern, cold and warm, beside the best of the FUSE peers."""
    verdicts = []
    for state in STATES:
        for pattern in PATTERNS:
            name = f"{pattern}, {state}"
            verdict = Verdict("files", name, GOALS[state], RATE, left_out=_NO_ROOT)
            if name in medians:
                found = medians[name]
                peer, theirs = find_best(found, FUSE_PEERS, RATE) or ("", None)
                verdict = Verdict("files", name, GOALS[state], RATE, found["hffs"], peer, theirs)
            verdicts.append(verdict)
    return verdicts


def _tabulate(title: str, medians: Medians, contenders: list[str]) -> Table:
    """A row a contender."""
    columns = list(medians)
    rows = [(who, [medians[name].get(who) for name in columns]) for who in contenders]
    return Table(title, columns, rows)


def measure_training(sizes: Sizes, say: Say) -> Outcome:
    """Epochs of a DataLoader: of a trainer that knows folders, and of hffs's own loader."""
    count, rounds = sizes.epoch_files, sizes.epoch_rounds
    names = [f"{number}.jpg" for number in range(count)]
    say("mounting")
    with (
        tempfile.TemporaryDirectory() as base,
        open_folders(Path(base), make_photos(count), ["hffs"]) as folders,
    ):
        disk = next(iter(folders))
        works = {who: Work(folder, names) for who, folder in folders.items()}
        figures = run(works, [EPOCH], rounds, say)
        epochs = {"2 workers, decode, 224 px": _by_state(figures)}
        if sizes.epochs_of_ours:
            say("hffs.train")
            epochs["hffs.train, 2 workers, 512 px"] = loading.run(folders, rounds)
    verdicts, table = judge_epochs(epochs, disk)
    return Outcome(verdicts, [table], {"rounds": epochs})


def judge_epochs(epochs: Mapping[str, Figures], disk: str) -> tuple[list[Verdict], Table]:
    """A verdict on each kind of epoch, cold and warm, beside the local disk."""
    verdicts, shown = [], []
    for what, told in epochs.items():
        medians = loading.summarize(told)
        verdicts += [_judge_training(f"{what}, {state}", medians.get(state), disk)
                     for state in STATES]  # fmt: skip
        shown += [
            (f"{what}, {state}", [found[disk], found["hffs"]]) for state, found in medians.items()
        ]
    return verdicts, Table("Training epochs, images a second", [disk, "hffs"], shown)


def _by_state(figures: Figures) -> Figures:
    return {name.split(", ")[1]: told for name, told in figures.items()}


def _judge_training(what: str, found: Mapping[str, float] | None, disk: str) -> Verdict:
    if found is None:
        return Verdict("training", what, _TRAINING, RATE, left_out=_NO_ROOT)
    return Verdict("training", what, _TRAINING, RATE, found["hffs"], disk, found[disk])
