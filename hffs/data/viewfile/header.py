"""What a view file says of itself: a Parquet file with `hffs.view` among its key-value metadata.

Owns telling such a file from others, and the form of its header, which is JSON under a seal. What a
header means is for who reads it. It is asked before a daemon forks, so it imports nothing slow.

Invariants, whatever the bytes: the outcome is a header of the right form, None for another file, or
a FormatError; memory is bounded by that of the largest footer and header.
"""

from __future__ import annotations

import json
import os
import stat
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from hffs.core.tails import TAIL_BYTES, find_footer, parse_key_values
from hffs.errors import FormatError, StaleError

VIEW_KEY, SEAL_KEY = b"hffs.view", b"hffs.view.seal"
VERSION = 2
SUFFIX = ".parquet"

FIX = "make it again with hffs view"
CHOOSE = f"mount the source that was recorded, or {FIX}"
COPY = "copy it with its times (cp -p, rsync -a), or make the view again without --no-digest"
"""What to do about a file with another time, of whose content nothing was recorded."""

_MOST_FOOTER_BYTES, _MOST_HEADER_BYTES = 32 << 20, 4 << 20
_MOST_ARRAYS = 100

Whole = Annotated[int, Field(ge=0, le=2**62)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Name = Annotated[str, Field(max_length=10_000)]


class Part(BaseModel):
    """A part of a header; nothing else may be in it."""

    # Built when one is read: each mount asks whether its source is a view, few times it is.
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid", defer_build=True)


class PackedArray(Part):
    """Where a packed array lies (`hffs.data.viewfile.packing`): of each block the size and coding,
    one after the other from `offset` on. `digest` is that of all blocks.
    """

    dtype: Literal["|u1", "|b1", "<u2", "<u4", "<i4", "<i8"]
    count: Whole
    offset: Whole
    blocks: tuple[tuple[Whole, Whole], ...]
    digest: Digest


class Column(Part):
    """The column of the files; see `hffs.data.source.MediaColumn`."""

    name: Name
    kind: Literal["struct", "binary", "path", "base64", "samples"]
    is_list: bool
    media: Literal["image", "video", "audio"] = "image"


class Origin(Part):
    """Where a view's images are: on a host, on the Hub at a commit, or anywhere else by a URL.

    Below what `dataset_name` names, files lie in the folder `inner`; it may be `is_file` itself.
    """

    kind: Literal["local", "hub", "elsewhere"]
    commit: Annotated[str, Field(pattern=r"^(?:[0-9a-f]{40})?$")] = ""
    inner: str = ""
    is_file: bool = False


class Header(Part):
    """All that is plain about a view. `config` are values by dotted names of keys, `info` and
    `encoder` what the view was, and `images` how many cells of the source it shows.
    """

    version: Literal[2]
    made_by: Name
    origin: Origin
    config: dict[str, JsonValue]
    info: dict[str, JsonValue]
    encoder: str
    column: Column
    images: Whole
    arrays: Annotated[dict[str, PackedArray], Field(max_length=_MOST_ARRAYS)]

    def seal(self) -> tuple[bytes, str]:
        """The header as it is written, and what seals it."""
        text = self.model_dump_json().encode()
        return text, make_seal(text)


def is_view(path: Path) -> bool:
    """Whether a file is that of a view, be it damaged or of a release to come."""
    try:
        return read_header(path) is not None
    except FormatError:
        return True


def read_header(path: Path) -> tuple[Header, str] | None:
    """The header of a view file and its seal; None for any other file, or none.

    Raises FormatError for one that is damaged, or of a release to come.
    """
    try:
        pairs = _read_pairs(path)
    except (OSError, FormatError):
        return None  # whoever opens it as another file says what is wrong with it
    text = pairs.get(VIEW_KEY)
    if text is None:
        return None
    if len(text) > _MOST_HEADER_BYTES:
        raise refuse(path, f"its header has {len(text)} bytes")
    return _parse(path, bytes(text), bytes(pairs.get(SEAL_KEY, b"")))


def refuse(path: Path, why: str, fix: str = FIX) -> FormatError:
    """The error that says why a view file cannot be used."""
    return FormatError("cannot use view", str(path), why=why, fix=fix)


def differs(path: Path, name: str, why: str, fix: str = CHOOSE) -> StaleError:
    """The error for a file of a view's source, by its name, that is not what was recorded."""
    return StaleError("cannot use view", str(path), why=f"{name} {why}", fix=fix)


def _read_pairs(path: Path) -> dict[bytes, memoryview]:
    # O_NONBLOCK: opening a pipe must not wait for its writer
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            return {}
        tail = os.pread(file.fileno(), TAIL_BYTES, max(found.st_size - TAIL_BYTES, 0))
        span = find_footer(memoryview(tail), found.st_size)
        if span.size_bytes > _MOST_FOOTER_BYTES:
            return {}
        footer = os.pread(file.fileno(), span.size_bytes, span.offset)
    # Footers of large data sets take seconds to parse: most can be told at a glance.
    return parse_key_values(memoryview(footer)) if VIEW_KEY in footer else {}


def _parse(path: Path, text: bytes, seal: bytes) -> tuple[Header, str]:
    try:
        version = json.loads(text)["version"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise refuse(path, "its header is damaged") from error
    if isinstance(version, int) and version > VERSION:
        why = f"it is of version {version}, and this hffs reads up to {VERSION}"
        raise refuse(path, why, "update hffs")
    if isinstance(version, int) and version < VERSION:
        why = f"it is of version {version}, and this hffs reads version {VERSION}"
        raise refuse(path, why, "make it again with hffs view")
    if make_seal(text).encode() != seal:
        raise refuse(path, "its header is not what was written")
    try:
        return Header.model_validate_json(text), seal.decode()
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False)[0]["loc"]))[:100]
        raise refuse(path, f"{where or 'its header'} is wrong") from error


def make_seal(text: bytes) -> str:
    """What seals a header, so that one that was damaged is seen."""
    return blake2b(text, digest_size=16).hexdigest()
