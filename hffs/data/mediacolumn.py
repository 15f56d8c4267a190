"""The column that holds what a view shows, and what its cells hold.

Must not know how cells are read, nor import what that takes: it is known at every mount.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hffs.core.formats import Media

CellKind = Literal["struct", "binary", "path", "base64", "samples"]
"""What a cell holds: `{bytes, path}`, the bytes themselves, the path of a file (or what else names
an image, see `hffs.data.cells.collecting`), the bytes as base64 text, or a sound as
`{array, sampling_rate}`.
"""


@dataclass(frozen=True, slots=True)
class MediaColumn:
    """A column whose cells are images, or videos, or sounds; with `is_list` a cell is any number of
    them.
    """

    name: str
    kind: CellKind
    is_list: bool = False
    media: Media = "image"
