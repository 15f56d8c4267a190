"""What a view file says of the files that its images lie in.

Owns the form of that: a list as JSON, packed as one of the file's arrays, since a data set may have
thousands of them. What is said is checked for its form alone.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, TypeAdapter, ValidationError

from hffs.data.hub.cached import is_plain
from hffs.data.viewfile.file import ViewFile
from hffs.data.viewfile.header import Name, Part, Whole, refuse

SHARDS = "shards"
"""The array that the list is in."""

DIGESTS = "digests"
"""Beside the names of files on a host: the first 8 bytes of the digest of each (int64)."""

ETAGS = "etags"
"""Beside the names of files of the Hub: a table of their ETags."""

_MOST_BYTES = 256 << 20
_Digest = Annotated[str, Field(pattern=r"^(?:[0-9a-f]{32})?$")]


class RecordedShard(Part):
    """A file of rows, as it was when a view of it was recorded.

    `name` is its path below where the source lies. What pins its content is the `etag` of one that
    is elsewhere; of one on a host its time, the digest of both `ends`, and that of all of it, each
    empty where nobody read it. One `is_made` where it is a table that hffs made of other files.
    """

    name: Name
    size_bytes: Whole
    mtime_ns: Annotated[int, Field(ge=-(2**62), le=2**62)]
    layout: Literal["parquet", "arrow"]
    etag: Annotated[str, Field(max_length=1000)] = ""
    ends: _Digest = ""
    digest: _Digest = ""
    is_made: bool = False


_SHARDS = TypeAdapter(tuple[RecordedShard, ...])


def pack_shards(shards: tuple[RecordedShard, ...]) -> NDArray[Any]:
    """The list as it is kept."""
    return np.frombuffer(_SHARDS.dump_json(shards), np.uint8)


def read_shards(file: ViewFile) -> tuple[RecordedShard, ...]:
    """The list of a view file; FormatError where it is none."""
    if SHARDS in file.header.arrays and file.header.arrays[SHARDS].count > _MOST_BYTES:
        raise refuse(file.path, f"its {SHARDS} are too many")
    text = file.array(SHARDS, np.uint8).tobytes()
    try:
        shards = _SHARDS.validate_json(text)
    except ValidationError as error:
        raise refuse(file.path, f"its {SHARDS} are wrong") from error
    for shard in shards:
        if not is_plain(shard.name):
            raise refuse(file.path, f"it names a file outside its source, {shard.name!r}")
    return shards
