"""The line of the suite about bytes that are fetched from the Hub, with its goals.

Owns which contenders take part and what is judged. Fetching is in `tests.bench.remote`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.bench.machine import LeftOutError, Say
from tests.bench.remote_filter import REPO
from tests.bench.remote_homes import LinkedHub
from tests.bench.sizes import Sizes
from tests.bench.verdicts import MEGABYTES, SHARE, Goal, Outcome, Table, Verdict, find_best

OURS = "hffs --streaming"
KILOBYTES = 100
IMAGE = Goal("at most 1.5 MB", 1.5)
EPOCH = Goal("at most 1.1 of the bytes of the view", 1.1)
Told = dict[str, dict[str, float | str]]


def measure_remote(sizes: Sizes, say: Say) -> Outcome:
    """A filter on two columns and one image, then whole epochs in a random order."""
    from tests.bench import remote
    from tests.bench.remote_rows import write_photos

    wanted = sizes.remote_peers
    contenders = {
        name: contender
        for name, contender in remote.CONTENDERS.items()
        if wanted is None or name in (OURS, *wanted)
    }
    say("writing the repository")
    with tempfile.TemporaryDirectory() as place, LinkedHub() as hub:
        photos = write_photos(Path(place), sizes.remote_rows, 1000 * KILOBYTES)
        hub.add(REPO).write_all(photos.files)
        costs = remote.compare(hub, photos, contenders, sizes.remote_rounds, say)
        say("epochs")
        try:
            epochs = remote.read_epochs(hub, photos, remote.STREAMING)
        except LeftOutError as error:
            epochs = {"left out": str(error)}
    return judge_remote(costs, epochs, f"{photos.image_bytes / 1e6:,.0f} MB")


def judge_remote(costs: Told, epochs: Mapping[str, Any], size: str) -> Outcome:
    """Both verdicts, out of what was fetched of a repository of some size."""
    verdicts = [_judge_image(costs, size), _judge_epoch(epochs, size)]
    tables = [_tabulate(costs, size)]
    left_out = {name: str(told["left out"]) for name, told in costs.items() if "left out" in told}
    return Outcome(verdicts, tables, {"image": costs, "epochs": epochs}, left_out)


def _judge_image(costs: Told, size: str) -> Verdict:
    """Our bytes, beside the peer that fetches least."""
    what = f"a filter and one image of {size}"
    if "left out" in costs[OURS]:
        return Verdict("remote", what, IMAGE, MEGABYTES, left_out=str(costs[OURS]["left out"]))
    fetched = {
        name: float(told["bytes"]) / 1e6 for name, told in costs.items() if "left out" not in told
    }
    peers = [name for name in fetched if not name.startswith("hffs")]
    peer, theirs = find_best(fetched, peers, MEGABYTES) or ("", None)
    return Verdict("remote", what, IMAGE, MEGABYTES, fetched[OURS], peer, theirs)


def _judge_epoch(epochs: Mapping[str, Any], size: str) -> Verdict:
    what = f"fetched / read, a shuffled epoch of {size}, the mount too"
    first = epochs.get("first")
    if not isinstance(first, dict):
        return Verdict("remote", what, EPOCH, SHARE, left_out=str(epochs.get("left out")))
    return Verdict("remote", what, EPOCH, SHARE, float(first["fetched with mount / read"]))


def _tabulate(costs: Told, size: str) -> Table:
    """A row a contender that could run, who fetches least first."""
    rows = [
        (name, [float(told["bytes"]) / 1e6, told["requests"], told["seconds"]])
        for name, told in costs.items()
        if "left out" not in told
    ]
    rows.sort(key=lambda row: row[1][0])
    return Table(f"A filter on two columns and one image of {size} on the Hub",
                 ["MB fetched", "requests", "seconds"], rows)  # fmt: skip
