"""The space of a file system, and what is left free of it.

Must not know what it is taken for.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import NamedTuple

_FLOOR_BYTES, _FLOOR_FRACTION = 2_000_000_000, 0.05


class Space(NamedTuple):
    """Free space of a file system, and all of it."""

    free_bytes: int
    total_bytes: int


def read_space(folder: Path) -> Space:
    """Space of the file system of a folder; unbounded where it does not tell."""
    status = os.statvfs(folder)
    if not status.f_blocks:
        return Space(sys.maxsize, 0)
    return Space(status.f_bavail * status.f_frsize, status.f_blocks * status.f_frsize)


def find_floor(total_bytes: int) -> int:
    """What is left free of a file system of some size."""
    return min(_FLOOR_BYTES, int(total_bytes * _FLOOR_FRACTION))
