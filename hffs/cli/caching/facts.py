"""What a run of `hffs cache` tells of an entry, as plain values for JSON and for text.

Owns their names. Must not know how they are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class EncoderFacts:
    """The encoder: its `id` in keys, the `models` it was named by, and what it says of itself."""

    id: str
    models: tuple[str, ...]
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class TimeFacts:
    """Of a run that encoded: seconds, samples a second, and shares of the time, 0 to 1: threads
    that decode, the device at work, the thread that writes, and the device waiting for them.
    """

    wall_s: float
    per_s: float
    decode: float
    encode: float
    write: float
    idle: float


@dataclass(frozen=True, slots=True)
class RunFacts:
    """An entry: of `planned` samples `there` were kept before, `done` were encoded now, `refused`
    are broken, `failed` could not be read this time, and `left` are not encoded (of a dry run).

    `store` is where they are kept, of `size_bytes`, `added_bytes` of them now; `store_bytes` all
    that is in it. `smallest_batch` is what memory allowed, where that was less than was asked for;
    `reason` is why one of those that are lacking is.
    """

    id: str
    kind: str
    store: str
    encoder: EncoderFacts
    planned: int
    there: int
    done: int
    refused: int
    failed: int
    left: int
    added_bytes: int
    store_bytes: int
    smallest_batch: int | None
    reason: str
    time: TimeFacts | None


@dataclass(frozen=True, slots=True)
class VerifiedFacts:
    """A store: sound shards and samples, and why others are damaged, by name; whether these were
    `removed`.
    """

    store: str
    shards: int
    samples: int
    size_bytes: int
    damaged: Mapping[str, str]
    removed: bool


@dataclass(frozen=True, slots=True)
class PrunedFacts:
    """A store that holds only what an entry uses: shards that are gone, those that were written
    anew with fewer samples, and what is left.
    """

    id: str
    store: str
    removed: int
    rewritten: int
    freed_bytes: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class ExportedFacts:
    """What a trainer will find: files that were `written`, were right already (`unchanged`), or are
    others and were left alone (`kept`), samples and captions that are `missing`, and the settings
    with which the trainer looks for the files.
    """

    id: str
    trainer: str
    folder: str
    written: int
    unchanged: int
    kept: int
    missing: int
    settings: Mapping[str, object]
