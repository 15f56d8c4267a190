"""What each file of the view of a soak must hold: an ordinary folder, which any process reads.

It imports next to nothing, so that a reader which is killed every few seconds is there at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Model:
    """What names hold; `broken` ones answer EIO."""

    files: dict[str, bytes] = field(repr=False)
    broken: frozenset[str]

    @classmethod
    def load(cls, folder: Path) -> Model:
        """The model that `tests.soak.source` left in a folder."""
        files = {path.name: path.read_bytes() for path in (folder / "files").iterdir()}
        return cls(files, frozenset((folder / "broken").read_text().split()))

    def names(self) -> list[str]:
        """Every name of the listing."""
        return [*self.files, *self.broken]
