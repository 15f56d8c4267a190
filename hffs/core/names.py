"""File names and back: `17.jpg` is position 17 with the extension `jpg`.

Strict on purpose: every file has exactly one name, so `01.jpg`, `-1.jpg`, `1_0.jpg` and digits
other than ASCII's name nothing. Names are bytes, as the kernel hands them over.
"""

from __future__ import annotations

import re

from hffs.core.types import Position

_NAME = re.compile(rb"(0|[1-9][0-9]{0,18})\.([a-z0-9]{1,12})")


def format_name(position: Position, extension: str) -> bytes:
    """Name of one file of a position."""
    return b"%d.%s" % (position, extension.encode("ascii"))


def parse_name(name: bytes) -> tuple[Position, str] | None:
    """Position and extension of a name, None where no file can have it."""
    match = _NAME.fullmatch(name)
    return (Position(int(match[1])), match[2].decode("ascii")) if match else None
