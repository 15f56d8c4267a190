"""What a scan of a folder found: names, sizes, and what could not be read.

Owns the arrays. Must not know how they were found, nor what becomes of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Scan:
    """The images of a folder whose size is known, in natural order of names (2 before 10).

    `names`: (n,) large_string, relative to `folder`, with slashes.
    `stored`: (n, 2) int32, width and height in pixels as stored.
    `orientation`: (n,) uint8, as EXIF has it, 1 to 8; 1 is none too.
    `problems`: why each of the other images has no size. `others` counts files that are no images
    by their names (captions, and so on).
    `fingerprint` is of all of it: names, sizes, orientations and what was problematic; the same for
    the same files, wherever they lie.
    """

    folder: Path
    names: pa.LargeStringArray
    stored: NDArray[np.int32]
    orientation: NDArray[np.uint8]
    problems: Mapping[str, str]
    others: int
    fingerprint: str

    def sizes(self, *, upright: bool) -> NDArray[np.int32]:
        """Width and height, (n, 2) int32; if `upright`, after the rotation that EXIF asks for."""
        if not upright:
            return self.stored
        return np.where(self.orientation[:, None] >= 5, self.stored[:, ::-1], self.stored)
