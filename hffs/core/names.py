"""File names and back: `17.jpg` is number 17 with the extension `jpg`.

Strict on purpose: every file has exactly one name, so `-1.jpg`, `1_0.jpg`, digits other than
ASCII's, and any other padding than the view's (`01.jpg` without one) name nothing. Names are bytes,
as the kernel hands them over.
"""

from __future__ import annotations

import re
from functools import cache

_DIGITS_MAX = 19
"""Of the numbers themselves: what an int64 may have."""


def format_name(number: int, extension: str, width: int = 0) -> bytes:
    """Name of a file; a number of fewer digits than `width` is padded with zeros."""
    return b"%0*d.%s" % (width, number, extension.encode("ascii"))


def parse_name(name: bytes, width: int = 0) -> tuple[int, str] | None:
    """Number and extension of a name, None where no file can have it."""
    match = _pattern(width).fullmatch(name)
    return (int(match[1]), match[2].decode("ascii")) if match else None


@cache
def _pattern(width: int) -> re.Pattern[bytes]:
    longer = rb"[1-9][0-9]{%d,%d}" % (width, max(width, _DIGITS_MAX - 1))
    padded = rb"[0-9]{%d}" % width if width > 1 else rb"0|[1-9]"
    return re.compile(rb"(%b|%b)\.([a-z0-9]{1,12})" % (padded, longer))
