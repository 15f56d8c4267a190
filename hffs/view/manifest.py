"""What a view is, once decided: what each position shows, its names, captions, fingerprint.

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

from hffs.core.formats import Media
from hffs.core.types import Position
from hffs.data.mapped import MappedFile
from hffs.errors import HffsError
from hffs.view.layout import Layout

_EPOCH_S = 946_684_800  # 2000-01-01
_SPAN_S = 20 * 365 * 24 * 3600


Counts = tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ViewInfo:
    """What people and programs are told about a view; plain values, kept as JSON.

    `removed` is what filters took away, `dropped` what could not be shown (no image, no caption,
    no size), both by step or reason with the number of images, in order. `caption_extension` is
    empty where there are no caption files, `commit` where the source is not of the Hub. `unsettled`
    is how many images could not be fetched when this was decided: where there are some, it is
    decided anew. Of a part of a view `shard` says which (`3/8`, empty of a whole one), and `whole`
    is the fingerprint of the view that it is a part of. `media` is what `image_column` holds.
    """

    source: str
    commit: str
    identity: str
    fingerprint: str
    source_rows: int
    columns: tuple[str, ...]
    positions: int
    rendered: int
    image_column: str
    caption_column: str | None
    image_format: str
    orientation: str
    composite: str
    numbering: str
    name_width: int
    caption_extension: str
    group_column: str | None
    removed: Counts
    dropped: Counts
    unsettled: int = 0
    shard: str = ""
    whole: str = ""
    media: Media = "image"
    lyrics_column: str | None = None

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Self:
        """The facts back from JSON, which has lists alone; TypeError if they are others."""
        info = cls(**values)
        removed, dropped = (
            tuple((str(step), int(count)) for step, count in counts)
            for counts in (info.removed, info.dropped)
        )
        return replace(info, columns=tuple(info.columns), removed=removed, dropped=dropped)


class TextFiles:
    """Texts beside the files of a view, captions or lyrics: one blob, and where each begins in it.

    Of a text without bytes there is no file. Each text is that of `each` positions in a row: the
    tiles of one image. Of a part of a view the blob is that of the whole.
    """

    def __init__(
        self,
        offsets: NDArray[np.int64],
        blob: NDArray[np.uint8],
        each: int = 1,
        file: MappedFile | None = None,
    ) -> None:
        """`file` is one that ends with the blob, if there is any."""
        self.offsets, self.blob, self.each, self.file = offsets, blob, each, file
        self._blob_at = 0 if file is None else file.size_bytes - len(blob)
        self._at = offsets.data
        self._bytes = blob.data
        self.total_bytes = int(offsets[-1] - offsets[0]) * each

    def count_files(self) -> int:
        """How many texts have bytes; it looks at all of them."""
        return int(np.count_nonzero(np.diff(self.offsets))) * self.each

    def size_bytes(self, position: Position) -> int:
        """Exact size of one file, 0 where there is none."""
        number = position // self.each
        size: int = self._at[number + 1] - self._at[number]
        return size

    def read(self, position: Position) -> memoryview:
        """One file, UTF-8."""
        number = position // self.each
        return self._bytes[self._at[number] : self._at[number + 1]]

    def read_into(self, buffer: memoryview, position: Position, start: int) -> int | None:
        """Have a part of one file in a buffer, and how long that part is; None where the blob is in
        no file, or that was touched: then `read`, which is what it was. Nothing is mapped by this,
        as texts may be most of what is kept of a view.
        """
        if self.file is None:
            return None
        number = position // self.each
        first, end = self._at[number] + start, self._at[number + 1]
        count = max(min(end - first, len(buffer)), 0)
        try:
            self.file.read_into(buffer[:count], self._blob_at + first)
        except HffsError:
            return None
        return count


@dataclass(frozen=True)
class Files:
    """What a view shows, as arrays with one entry a position.

    `cells` (int64) are indices of the source's cells, `forms` (uint8) say how each becomes a file
    (`hffs.view.content`), `tiles` (uint16) which tile of a composite is shown; None where images
    are whole. `metadata` is the content of `metadata.jsonl`, None where there is none.
    """

    cells: NDArray[np.int64]
    forms: NDArray[np.uint8]
    tiles: NDArray[np.uint16] | None
    layout: Layout
    captions: TextFiles | None
    metadata: NDArray[np.uint8] | None
    lyrics: TextFiles | None


@dataclass(frozen=True)
class Manifest(Files):
    """A decided view: its files, and what is told about it."""

    info: ViewInfo

    @property
    def positions(self) -> int:
        """How many positions the view has."""
        return len(self.cells)

    @cached_property
    def mtime_ns(self) -> int:
        """One time for all files, the same wherever the fingerprint is the same.

        Some trainers key their caches by mtime, so it comes from the fingerprint, not from a
        clock: another view, another time. A part of a view has the time of the whole, so that a
        file has one time in whichever part it is.
        """
        fingerprint = self.info.whole or self.info.fingerprint
        seconds = _EPOCH_S + int(fingerprint[:12], 16) % _SPAN_S
        return seconds * 1_000_000_000

    def summary(self) -> dict[str, object]:
        """The view as JSON, for the root's attribute and for `hffs ls`."""
        return asdict(self.info)


def make_fingerprint(facts: Mapping[str, object], arrays: Mapping[str, NDArray[Any]]) -> str:
    """Hash of everything that can change a name or a byte of the view.

    The outcome of filters and captions is hashed rather than their settings: two ways to say the
    same view are the same view, and a new release of a filter engine that decides otherwise is
    not. `facts` pin the image bytes: the source's identity and how cells become files.
    """
    digest = hashlib.blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=32)
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {len(array)} ".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
