"""The words of hffs as types; see docs/architecture.md for what each means."""

from __future__ import annotations

from typing import NamedTuple, NewType

Row = NewType("Row", int)
"""Index in the source, before any filter."""

Position = NewType("Position", int)
"""Index in the view, after every filter: the number in `17.jpg`."""

Inode = NewType("Inode", int)
"""What the kernel calls a file; arithmetic on the position (`hffs.core.inodes`)."""


class Size(NamedTuple):
    """Width and height of an image, in pixels."""

    width: int
    height: int

    def turned(self, orientation: int) -> Size:
        """Of what is turned as EXIF asks: from 5 on its edges change places."""
        return self if orientation < 5 else Size(self.height, self.width)
