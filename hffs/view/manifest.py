"""What a view is, once decided: which cell each position shows, the captions, the fingerprint.

A manifest is immutable and kept on disk as arrays that are mapped, not loaded, so a view of ten
million rows opens in milliseconds and costs the memory of what is touched. It says nothing about
how cells become bytes (`hffs.view.content`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hffs.core.types import Position

_EPOCH_S = 946_684_800  # 2000-01-01
_SPAN_S = 20 * 365 * 24 * 3600


Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ViewInfo:
    """What people and programs are told about a view; plain values, kept as JSON.

    `removed` is what filters took away, `dropped` what could not be shown (no image, no caption,
    no size), both by step or reason with the number of images, in order.
    """

    source: str
    identity: str
    fingerprint: str
    source_rows: int
    columns: tuple[str, ...]
    positions: int
    rendered: int
    image_column: str
    caption_column: str | None
    image_format: str
    removed: Counts
    dropped: Counts

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The facts back from JSON, which has lists alone; TypeError if they are others."""
        info = cls(**values)
        removed, dropped = (
            tuple((str(step), int(count)) for step, count in counts)
            for counts in (info.removed, info.dropped)
        )
        return replace(info, columns=tuple(info.columns), removed=removed, dropped=dropped)


class CaptionFiles:
    """The caption files of a view: one blob, and where each position's text begins in it."""

    def __init__(self, offsets: NDArray[np.int64], blob: NDArray[np.uint8]) -> None:
        self.offsets, self.blob = offsets, blob
        self._at = offsets.data
        self._bytes = blob.data
        self.total_bytes = int(offsets[-1])

    def size_bytes(self, position: Position) -> int:
        """Exact size of one caption file."""
        size: int = self._at[position + 1] - self._at[position]
        return size

    def read(self, position: Position) -> memoryview:
        """One caption file, UTF-8."""
        return self._bytes[self._at[position] : self._at[position + 1]]


@dataclass(frozen=True)
class Manifest:
    """A decided view: `cells[position]` is the index of a cell of the source."""

    info: ViewInfo
    cells: NDArray[np.int64]
    captions: CaptionFiles | None
    caption_extension: str = "txt"

    @property
    def positions(self) -> int:
        """How many positions the view has."""
        return len(self.cells)

    @cached_property
    def mtime_ns(self) -> int:
        """One time for all files, the same wherever the fingerprint is the same.

        Some trainers key their caches by mtime, so it comes from the fingerprint, not from a
        clock: another view, another time.
        """
        seconds = _EPOCH_S + int(self.info.fingerprint[:12], 16) % _SPAN_S
        return seconds * 1_000_000_000

    def summary(self) -> dict[str, object]:
        """The view as JSON, for the root's attribute and for `hffs ls`."""
        return asdict(self.info)


def make_fingerprint(
    rendering: dict[str, str], cells: NDArray[np.int64], captions: CaptionFiles | None
) -> str:
    """Hash of everything that can change a name or a byte of the view.

    The outcome of filters and captions is hashed rather than their settings: two ways to say the
    same view are the same view, and a new release of a filter engine that decides otherwise is
    not. `rendering` pins the image bytes: the source's identity and how cells become files.
    """
    digest = hashlib.blake2b(json.dumps(rendering, sort_keys=True).encode(), digest_size=32)
    arrays: list[NDArray[Any]] = [cells]
    if captions is not None:
        arrays += [captions.offsets, captions.blob]
    for array in arrays:
        digest.update(array.dtype.str.encode() + str(len(array)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
