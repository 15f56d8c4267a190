"""What tests of `hffs cache` share: its words, and what is in a store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from hffs.train.caching.store import Store
from tests.command import Hffs

ENCODERS = "tests.train.caching.small_encoders"
PLAN = ("--resolution", "64", "--aspect-bucket-alignment", "16")
VAE = ("--vae", f"{ENCODERS}:Noisy", *PLAN)
TEXT = ("--text-encoder", f"{ENCODERS}:Words", *PLAN)


def cache(hffs: Hffs, *arguments: str | Path) -> Any:
    """What `hffs cache` tells programs, of a command that has to succeed.

    Ray takes long to start workers where other tests keep the cores busy.
    """
    return json.loads(hffs("cache", *arguments, "--json", timeout_s=240))


def count(facts: dict[str, Any]) -> tuple[int, int, int]:
    """Samples that are planned, were there, and were encoded."""
    return facts["planned"], facts["there"], facts["done"]


def read_store(address: str | Path) -> dict[str, dict[str, bytes]]:
    """The tensors of every key in a store, byte for byte."""
    store, found = Store.open(address), dict[str, dict[str, bytes]]()
    for number, known in store.shards.items():
        tensors = store.read(number, range(len(known.keys)), known.keys)
        for row, key in enumerate(np.asarray(known.keys)):
            found[key.tobytes().hex()] = {
                name: tensor[row].numpy().tobytes() for name, tensor in tensors.items()
            }
    return found
