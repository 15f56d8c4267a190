"""Whether a column of texts holds images as base64, or names them: told by its first values.

Owns how many values are looked at. Reads nothing else of the column.
"""

from __future__ import annotations

import numpy as np

from hffs.core.base64text import Refusal, find_texts
from hffs.core.formats import MediaFormat
from hffs.data.arrow import NO_SLOT
from hffs.data.cells.decode import make_part, open_decoder
from hffs.data.mediacolumn import MediaColumn
from hffs.data.source import Source, open_shards

_ROWS = 16
_MEDIA_ROWS = 2
"""The same of videos and sounds, of which each may be as large as all those images."""

_SHARDS = 4
"""Shards that are looked at until one has any value among its first rows."""


def holds_base64(source: Source, column: MediaColumn) -> bool:
    """Whether at least half of the first values are images as base64; raises FormatError.

    Half: one that is broken should not turn all others into names of files.
    """
    looked_at = range(min(len(source.shards), _SHARDS))
    for number, file in open_shards(source, source.reader, looked_at):
        decoder = open_decoder(file, source.shards[number].layout, column)
        cells = decoder.read_first(_ROWS if column.media == "image" else _MEDIA_ROWS)
        if cells is None:
            continue
        part = make_part(decoder.which, cells, column)
        filled = np.flatnonzero((part.offsets != NO_SLOT) & (part.lengths > 0))
        if not len(filled):
            continue
        texts = find_texts(part.blob, part.offsets[filled], part.lengths[filled], column.media)
        images = (texts.refused == Refusal.NONE) & (texts.formats != MediaFormat.UNKNOWN)
        return bool(2 * images.sum() >= len(filled))
    return False
