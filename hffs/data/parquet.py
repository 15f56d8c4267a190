"""Where the bytes of an image column lie in a Parquet file, so that rows are slices of its map.

Owns the passage from pyarrow's footer to `hffs.core.pages`. Knows nothing of views, captions or
what an image is beyond its format. Neither copies nor converts the image column, and never lets
pyarrow read it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from hffs.core.formats import Media
from hffs.core.levels import Levels
from hffs.core.pages import Chunk, Values, list_pages, locate_values
from hffs.data.mapped import MappedFile, sniff_values
from hffs.errors import DataError, FormatError

_READ_AHEAD_BYTES = 1 << 25
"""A leaf up to this size is asked for whole: 32 MB in order take less than chains of reads."""


@dataclass(frozen=True, slots=True, eq=False)
class LeafValues(Values):
    """`hffs.core.pages.Values` of a file, with the `MediaFormat` code of each slot (uint8).

    A slot without bytes has the code `UNKNOWN`.
    """

    formats: NDArray[np.uint8]


def read_leaf(
    file: MappedFile, metadata: pq.FileMetaData, leaf_path: str, media: Media = "image"
) -> LeafValues | None:
    """Locate all values of a leaf such as `image.bytes` or `images.list.element.bytes`.

    None when some of it is compressed or not PLAIN: then only decoding its row groups helps.
    Rows run through the file. Raises `FormatError` if the pages are broken.
    """
    index = _find_leaf(file, metadata, leaf_path)
    column = metadata.schema.column(index)
    levels = Levels(column.max_definition_level, column.max_repetition_level)
    chunks = _list_chunks(metadata, index)
    if chunks is None:
        return None
    if sum(chunk.size_bytes for chunk in chunks) <= _READ_AHEAD_BYTES:
        for chunk in chunks:
            file.advise(chunk.offset, chunk.size_bytes)
    try:
        pages = list_pages(file.view, chunks, levels, file.advise_pages)
        if not all(page.is_plain for page in pages):
            return None
        values = locate_values(file.view, chunks, pages, levels, file.advise_pages)
    except FormatError as error:
        which = f"column {leaf_path} of {file.path}"
        raise FormatError("cannot read", which, why=str(error), fix="fetch it again") from error
    # not advised: the walk has just read the 4 bytes before each head, mostly of the same page
    formats = sniff_values(file.view, values.offsets, values.lengths, media=media)
    return LeafValues(
        values.rows, values.items, values.definitions, values.offsets, values.lengths, formats
    )


def _find_leaf(file: MappedFile, metadata: pq.FileMetaData, leaf_path: str) -> int:
    for index in range(metadata.num_columns):
        column = metadata.schema.column(index)
        if column.path == leaf_path:
            if column.physical_type == "BYTE_ARRAY":
                return index
            raise DataError(
                f"cannot read column {leaf_path} of",
                str(file.path),
                why=f"it holds {column.physical_type}, not bytes",
            )
    raise DataError(f"cannot read column {leaf_path} of", str(file.path), why="no such column")


def _list_chunks(metadata: pq.FileMetaData, index: int) -> list[Chunk] | None:
    """Chunks of a leaf, or None if their footer entries already say that they are not plain."""
    chunks = []
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        column = group.column(index)
        elsewhere = bool(column.file_path)
        if column.compression != "UNCOMPRESSED" or column.has_dictionary_page or elsewhere:
            return None
        size = column.total_compressed_size
        chunks.append(Chunk(column.data_page_offset, size, column.num_values, group.num_rows))
    return chunks
