"""What is to be made of which files; light, so that whoever hands it on needs no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hffs.data.prepare.tars import Tar


@dataclass(frozen=True, slots=True)
class Job:
    """One split of a data set, all of whose files are on this host, but tars that lie elsewhere.

    `name` is what messages call the data set; `format` and `options` are those of
    `hffs.data.hub.resolution.Resolution`. `files` are absolute paths in row order; `root` is the
    folder that every path in a cell is confined to. The outcome goes into `folder`, which exists,
    is empty and private; whoever asked makes it whole or not at all.
    """

    name: str
    format: str
    options: Mapping[str, Any]
    split: str
    files: tuple[Path, ...]
    root: Path
    folder: Path
    progress: Callable[[str, int, int], None]
    """Told what is done, how far, of how much (0 where that is not known)."""
    notice: Callable[[str], None]
    """Told what a person should know of the outcome: what of the files is not in it."""
    far_tars: Sequence[Tar] | None = None
    """What is read in the place of `files` where these are not here."""
