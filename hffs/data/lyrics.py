"""The words that are sung in a source's sounds, from its metadata columns.

Owns which columns are looked at; what a text looks like is `hffs.core.captions`. Must not know
positions, names or files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from hffs.core.captions import clean_lyrics, lookup
from hffs.data.metadata import ColumnPath, find_column, metadata_columns, read_rows
from hffs.data.source import Source
from hffs.errors import ConfigError

LYRICS, NORM_LYRICS = "lyrics", "norm_lyrics"
"""Where words are looked for if no column is named; the second where the first is null."""


@dataclass(frozen=True, slots=True, eq=False)
class Lyrics:
    """Texts of m rows as UTF-8: text i is `blob[offsets[i]:offsets[i + 1]]`, and may be empty.

    `column` says where they come from.
    """

    offsets: NDArray[np.int64]
    blob: NDArray[np.uint8]
    column: str


def find_lyrics(source: Source, named: str | None) -> list[ColumnPath]:
    """The columns of lyrics, the first before the second; none where there is no such column.

    Raises ConfigError for a name that leads to nothing, unless there is `norm_lyrics` (the usual
    name is often given for data sets that have the other one), or to what is no text.
    """
    known = metadata_columns(source)
    is_needed = named is not None and (named != LYRICS or NORM_LYRICS not in known)
    names = dict.fromkeys((named or LYRICS, NORM_LYRICS))
    wanted = [name for name in names if name in known or (is_needed and name == named)]
    columns = [find_column(source, name, "lyrics_column") for name in wanted]
    for column in columns:
        if str(column) == named and not _holds_text(column):
            fix = "name a column, field or JSON key of text"
            raise ConfigError(
                "cannot use lyrics_column", named, why=f"it leads to {column.type}", fix=fix
            )
    return list(filter(_holds_text, columns))


def _holds_text(column: ColumnPath) -> bool:
    """Whether a column has texts, or lists of them; of one that is JSON nobody knows before."""
    kind = column.type
    if pa.types.is_large_list(kind) and not column.inner:
        kind = kind.value_type
    return bool(pa.types.is_large_string(kind) or pa.types.is_null(kind))


def read_lyrics(source: Source, named: str | None, rows: NDArray[np.int64]) -> Lyrics | None:
    """Lyrics of these source rows (ascending, repeats allowed); None where there are no columns.

    Raises ConfigError as `find_lyrics`. A text that is empty stays so: nothing is sung.
    """
    columns = find_lyrics(source, named)
    if not columns:
        return None
    lengths = np.zeros(len(rows), np.int64)
    blob = bytearray()
    for start, batch in read_rows(source, sorted({path.column for path in columns}), rows):
        values = [_read_values(path, batch) for path in columns]
        for at, cells in enumerate(zip(*values, strict=True), start):
            first = next((cell for cell in cells if cell is not None), None)
            text = clean_lyrics(first).encode()
            lengths[at] = len(text)
            blob += text
    offsets = np.concatenate((np.zeros(1, np.int64), np.cumsum(lengths)))
    return Lyrics(offsets, np.frombuffer(bytes(blob), np.uint8), str(columns[0]))


def _read_values(path: ColumnPath, batch: pa.RecordBatch) -> list[object]:
    values = path.take_from(batch)
    if pa.types.is_large_string(values.type):
        values = values.cast(pa.large_binary())  # as bytes: a shard's text need not be UTF-8
    return [lookup(cell, path.inner) for cell in values.to_pylist()]
