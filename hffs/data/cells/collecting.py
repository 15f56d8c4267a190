"""Making an index: batches of cells in row order become its arrays.

Owns telling what a cell without bytes names (a file, a member of an archive, a URL), the tables of
all that, and the count of what is no image. Must not know how an index is kept.
Invariant: nothing here is held for each cell but numbers and the names in the tables.
"""

from __future__ import annotations

import os
import re
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from hffs.core.base64text import Refusal
from hffs.core.formats import NOUNS, Media, MediaFormat, name_format
from hffs.data.arrays import Stored
from hffs.data.arrow import NO_SLOT
from hffs.data.cells.batches import CellBatch
from hffs.data.cells.containers import (
    BAD_REFERENCE,
    MEMBER_EMPTY,
    OUT_OF_RANGE,
    TOO_LARGE,
    Archives,
    Dropped,
    Ranges,
    References,
    parse_tar_range,
)
from hffs.data.cells.index import (
    CELL_ARRAYS,
    CODED_ARRAYS,
    MOST_CODED_BYTES,
    SEGMENT_ARRAYS,
    SLOT_BITS,
    Coding,
    SegmentKind,
    make_identity,
)
from hffs.data.cells.listing import Listed, Listing, load_listing
from hffs.data.cells.paths import PathResolver
from hffs.data.cells.tables import Cells, FarFiles, Names, Pages, pin_arrays
from hffs.data.mediacolumn import MediaColumn
from hffs.data.shards import Located, identify

NULL = "null image"
NO_ITEMS = "null or empty list"
EMPTY_BYTES = "image of no bytes"
NOT_BASE64 = "text that is not base64"
BLANKS = "base64 text with blanks or line breaks"
BAD_URL = "malformed URL"
STRANGE = "bytes in no known format of an image"
UNTOLD = "name that tells no format of an image"
"""Of videos and sounds, which nothing here decodes: they would be files without an extension."""

_REFUSALS = {
    Refusal.NOT_BASE64: NOT_BASE64,
    Refusal.BLANKS: BLANKS,
    Refusal.EMPTY: EMPTY_BYTES,
}
_PATHS = 1 << 14
"""Paths that are Python objects at a time."""

_TAR = b"tar://"
_CONTAINED = (b"zip://", _TAR)
_HTTP = re.compile(rb"https?://", re.IGNORECASE)
_URL = re.compile(rb"https?://[^/\x00-\x20\x7f][^\x00-\x1f\x7f]*", re.IGNORECASE)
_MOST_URL_BYTES = 8192


class Collector:
    """Collects batches of cells; closing it closes the archives that they name."""

    def __init__(self, located: Located, column: MediaColumn) -> None:
        self._located, self._column = located, column
        self._media = column.media
        self._resolver = PathResolver(located.root, located.base, column.media)
        self._archives = Archives(self._resolver, column.media)
        kinds = CELL_ARRAYS | CODED_ARRAYS
        self._pieces: dict[str, list[NDArray[Any]]] = {name: [] for name in kinds}
        self._segments: dict[tuple[int, ...], int] = {}
        self._files, self._urls = Names(), Names()
        self._pages = Pages()
        self._listing = None if located.listing is None else load_listing(located.listing)
        self._far = FarFiles()
        self._file_pins = array("q")
        self._dropped: Counter[str] = Counter()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._archives.close()

    def add(self, shard: int, first_row: int, batch: CellBatch) -> None:
        """Take over the batch's cells; its first row is `first_row` of the source."""
        cells, keep = self._take_present(shard, first_row, batch)
        unset = np.flatnonzero((batch.offsets == NO_SLOT) & ~batch.vacant)
        if len(unset):
            paths = batch.read_paths(unset)
            for at in range(0, len(unset), _PATHS):
                some = paths.slice(at, _PATHS).to_pylist()
                self._add_paths(cells, keep, unset[at : at + _PATHS], some)
        for name, piece in cells.items():
            self._pieces[name].append(piece[keep])

    def finish(self) -> Stored:
        """Everything as it is kept."""
        arrays: Cells = {
            name: np.concatenate([np.empty(0, kind), *self._pieces.pop(name)])
            for name, kind in (CELL_ARRAYS | CODED_ARRAYS).items()
        }
        table = np.array(list(self._segments), np.int64).reshape(-1, len(SEGMENT_ARRAYS))
        for number, (name, kind) in enumerate(SEGMENT_ARRAYS.items()):
            arrays[f"segments.{name}"] = table[:, number].astype(kind)
        if not arrays["segments.coding"].any():
            arrays |= {name: arrays[name][:0] for name in CODED_ARRAYS}
        arrays |= self._files.arrays("files") | pin_arrays("files", self._file_pins)
        archives, pins = Names(), array("q")
        for archive, pin in zip(self._archives.names, self._archives.pins, strict=True):
            archives.add(archive)
            pins.extend(pin)
        arrays |= archives.arrays("containers") | pin_arrays("containers", pins)
        arrays |= self._urls.arrays("urls") | self._pages.arrays()
        arrays |= self._far.arrays()
        column, of_commit = self._column, bool(self._located.commit)
        meta = {
            "column": asdict(column),
            "identity": make_identity(identify(self._located), column, arrays, of_commit=of_commit),
            "dropped": {
                _name_reason(reason, self._media): count
                for reason, count in self._dropped.items()
                if count
            },
        }
        return Stored(arrays, meta)

    def _take_present(
        self, shard: int, first_row: int, batch: CellBatch
    ) -> tuple[Cells, NDArray[np.bool_]]:
        """All slots of a batch as cells, and which of them have bytes."""
        present = batch.offsets != NO_SLOT
        keep = present & (batch.lengths > 0)
        offsets = batch.offsets.copy()
        formats = batch.formats.copy()
        if batch.pages is not None:  # what it holds is seen when it is fetched
            keep = present
            offsets[present] += self._pages.add(shard, batch.pages) << SLOT_BITS
            if self._media != "image":
                formats[present] = self._name_formats(batch, np.flatnonzero(present))
        elif batch.coded is not None:
            large = keep & (batch.lengths > MOST_CODED_BYTES)
            keep &= ~large
            self._dropped[TOO_LARGE] += int(large.sum())
            for refusal, reason in _REFUSALS.items():
                self._dropped[reason] += int((batch.coded.refused == refusal).sum())
        else:
            self._dropped[EMPTY_BYTES] += int((present & ~keep).sum())
        if batch.pages is None:
            keep[keep] = self._are_known(batch.formats[keep])
        self._dropped[NO_ITEMS] += int(batch.vacant.sum())
        count = len(keep)
        return {
            "row": batch.rows + first_row,
            "item": batch.items,
            "segment": np.full(count, self._number_shard(shard, batch), np.uint32),
            "offset": offsets,
            "length": batch.lengths.copy(),
            "format": formats,
            "stored": (batch.lengths if batch.coded is None else batch.coded.stored).copy(),
            "crc": np.zeros(count, np.uint32),
        }, keep

    def _add_paths(
        self,
        cells: Cells,
        keep: NDArray[np.bool_],
        slots: NDArray[np.int64],
        paths: Sequence[bytes | None],
    ) -> None:
        """Make slots without bytes cells of what they name, those that name anything."""
        references = References()
        for slot, path in zip(slots.tolist(), paths, strict=True):
            if not path:
                self._dropped[NULL] += 1
            elif self._listing is not None and path.startswith(_TAR):
                keep[slot] = self._add_far_member(cells, slot, path, self._listing)
            elif path.startswith(_CONTAINED):
                references.add(slot, path)
            elif _HTTP.match(path):
                keep[slot] = self._add_url(cells, slot, path)
            else:
                keep[slot] = self._add_file(cells, slot, path)
        for found in self._archives.find(references):
            if isinstance(found, Dropped):
                self._dropped[found.reason] += found.count
            else:
                self._put_ranges(cells, found)
                keep[found.slots] = self._are_known(found.formats)

    def _put_ranges(self, cells: Cells, found: Ranges) -> None:
        cells["segment"][found.slots] = self._number(
            SegmentKind.CONTAINER, shard=found.container, coding=found.coding
        )
        cells["offset"][found.slots] = found.offsets
        cells["stored"][found.slots] = found.stored
        cells["length"][found.slots] = found.lengths
        cells["format"][found.slots] = found.formats
        cells["crc"][found.slots] = found.crcs

    def _add_url(self, cells: Cells, slot: int, url: bytes) -> bool:
        if not is_fetchable(url):
            self._dropped[BAD_URL] += 1
            return False
        kind = MediaFormat.UNKNOWN
        if self._media != "image":
            path = url.partition(b"?")[0].partition(b"#")[0]
            kind = self._name_format(path)
            if not kind:
                self._dropped[UNTOLD] += 1
                return False
        cells["format"][slot] = kind
        cells["segment"][slot] = self._number(SegmentKind.URLS)
        cells["offset"][slot] = self._urls.add(url)
        cells["length"][slot] = cells["stored"][slot] = -1
        return True

    def _add_file(self, cells: Cells, slot: int, path: bytes) -> bool:
        """Make a slot without bytes a cell that names a file; False if it is none."""
        if self._listing is not None:
            return self._add_far_file(cells, slot, self._listing.find(path))
        found = self._resolver.find(path)
        if isinstance(found, str):
            self._dropped[found] += 1
            return False
        if not self._are_known(np.array([found.kind]))[0]:
            return False
        cells["segment"][slot] = self._number(SegmentKind.FILES)
        cells["offset"][slot] = self._files.add(found.name)
        cells["length"][slot] = cells["stored"][slot] = found.size_bytes
        cells["format"][slot] = found.kind
        self._file_pins.extend((found.size_bytes, found.mtime_ns))
        return True

    def _add_far_file(self, cells: Cells, slot: int, found: Listed | str) -> bool:
        if isinstance(found, str):
            self._dropped[found] += 1
            return False
        kind = self._name_format(found.name)
        if not (kind or self._media == "image"):
            self._dropped[UNTOLD] += 1
            return False
        self._put_far(cells, slot, self._far.add(found, 0, found.size_bytes), kind or None)
        return True

    def _name_formats(self, batch: CellBatch, slots: NDArray[np.int64]) -> list[MediaFormat]:
        """Formats of cells that have bytes, by the paths that stand beside these."""
        paths = batch.read_paths(slots).to_pylist()
        return [self._name_format(path or b"") for path in paths]

    def _name_format(self, path: bytes) -> MediaFormat:
        extension = os.path.splitext(path)[1][1:].decode("ascii", "replace")
        return name_format(extension, self._media)

    def _are_known(self, formats: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Which cells are kept, by their formats; the others are counted."""
        known: NDArray[np.bool_] = (formats != MediaFormat.UNKNOWN) | (self._media == "image")
        self._dropped[STRANGE] += int((~known).sum())
        return known

    def _add_far_member(self, cells: Cells, slot: int, path: bytes, listing: Listing) -> bool:
        """Make a slot a cell that is a range of an archive; False if there is none."""
        member = parse_tar_range(path, self._media)
        found = BAD_REFERENCE if member is None else listing.find(member.archive)
        if member is None or isinstance(found, str):
            self._dropped[str(found)] += 1
        elif member.offset > found.size_bytes - member.length:
            self._dropped[OUT_OF_RANGE] += 1
        elif not member.length:
            self._dropped[MEMBER_EMPTY] += 1
        elif self._media != "image" and not member.format:
            self._dropped[STRANGE] += 1
        else:
            number = self._far.add(found, member.offset, member.length)
            self._put_far(cells, slot, number, member.format)
            return True
        return False

    def _put_far(self, cells: Cells, slot: int, number: int, kind: MediaFormat | None) -> None:
        """Fill in a cell that is a far range; `kind` is None where only its bytes tell."""
        length = -1 if kind is None else self._far.sizes[number]
        cells["segment"][slot] = self._number(SegmentKind.FAR_FILES)
        cells["offset"][slot] = number
        cells["length"][slot] = cells["stored"][slot] = length
        cells["format"][slot] = kind or MediaFormat.UNKNOWN

    def _number_shard(self, shard: int, batch: CellBatch) -> int:
        coding = Coding.RAW if batch.coded is None else Coding.BASE64
        part = batch.part
        if batch.pages is not None:
            coding = Coding.BASE64 if batch.pages.is_text else Coding.RAW
            return self._number(SegmentKind.PAGES, coding=coding)
        if part is None:
            return self._number(SegmentKind.MAP, shard=shard, coding=coding)
        place = (SegmentKind.PART, shard, part.group, part.number, part.size_bytes, coding)
        return self._segments.setdefault(place, len(self._segments))

    def _number(self, kind: SegmentKind, shard: int = -1, coding: Coding = Coding.RAW) -> int:
        place = (kind, shard, -1, -1, -1, coding)
        return self._segments.setdefault(place, len(self._segments))


def find_named(batch: CellBatch, media: Media) -> NDArray[np.int64]:
    """Of which slots of a batch the paths are read: of those without bytes, and of videos and
    sounds that are read where they lie.
    """
    named = (batch.offsets == NO_SLOT) & ~batch.vacant
    if batch.pages is not None and media != "image":
        named |= batch.offsets != NO_SLOT
    return np.flatnonzero(named)


def _name_reason(reason: str, media: Media) -> str:
    """A reason in the words of a medium."""
    noun = NOUNS[media][0]
    return (
        reason if media == "image" else reason.replace("an image", "a image").replace("image", noun)
    )


def is_fetchable(url: bytes) -> bool:
    """Whether bytes are a URL that may be asked for."""
    if len(url) > _MOST_URL_BYTES or not _URL.fullmatch(url):
        return False
    try:
        url.decode()
    except UnicodeDecodeError:
        return False
    return True
