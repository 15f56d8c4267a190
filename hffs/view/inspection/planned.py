"""A view that is decided for a look at it and not kept: its files, their names and captions."""

from __future__ import annotations

from dataclasses import dataclass

from hffs.config import Config
from hffs.core.types import Position
from hffs.view.deciding import Examined, make_path
from hffs.view.manifest import Files


@dataclass(frozen=True, slots=True, eq=False)
class Planned:
    """What a configuration makes of a source; there may be no file at all."""

    config: Config
    examined: Examined
    files: Files

    def name(self, position: int) -> str:
        """Path of a position's image below the root."""
        extensions = self.examined.rendering.extensions()
        return make_path(self.files, extensions, Position(position))

    def row(self, position: int) -> int:
        """The source row of a position."""
        return int(self.examined.inputs.index.row[self.files.cells[position]])

    def caption(self, position: int, most: int) -> str:
        """A position's caption, cut to `most` characters; empty where it has none."""
        captions = self.files.captions
        text = "" if captions is None else str(captions.read(Position(position)), "utf-8")
        return text if len(text) <= most else f"{text[: most - 1]}…"
