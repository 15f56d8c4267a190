"""What a user asks of a data set that `datasets` has to look at, and what that turns out to be.

Owns the words only; it is imported before a daemon forks, so it must stay light. Asking the Hub is
`hffs.data.hub.resolve`, downloading is `hffs.data.hub.fetch`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from hffs.core.formats import Media

DataFiles = tuple[str, ...] | Mapping[str, tuple[str, ...]]
"""Files as in `load_dataset`: paths, or paths for each split."""


Kind = Literal["dataset", "model"]
"""What a repository of the Hub is of."""

MAIN = "main"
"""The revision where none is given."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a user asked for: a repository of the Hub, or an absolute local path.

    `splits` are plain names (`train`), without slices. The token is the one in `token_file`, else
    the one that huggingface_hub finds (HF_TOKEN, the login file). `mountable` is the commit that
    could be mounted offline, "" if none could, None if that is for the Hub's own cache to tell. Of
    a folder of several media the files of `media` are meant. A repository of a model is asked for
    its files alone.
    """

    name: str
    splits: tuple[str, ...] = ("train",)
    config: str | None = None
    revision: str = MAIN
    data_files: DataFiles | None = None
    offline: bool = False
    token_file: Path | None = None
    mountable: str | None = None
    media: Media = "image"
    kind: Kind = "dataset"


@dataclass(frozen=True, slots=True)
class HubFile:
    """A file of a repository at a commit: its path there, and what pins its content."""

    name: str
    size_bytes: int
    etag: str


@dataclass(frozen=True, slots=True)
class Resolution:
    """Which files a request means, pinned.

    `format` is the packaged module of `datasets` that reads them (parquet, imagefolder, ...), with
    `options` for its builder where they are not its defaults (plain values). `files` has the
    requested splits alone, each in row order, metadata files of a folder included.
    `features` are those that the repository declares (`Features.to_dict`), None if it does not.
    Of a local path `commit` is empty and file names are absolute paths.
    """

    name: str
    commit: str
    config: str
    format: str
    options: Mapping[str, Any]
    files: Mapping[str, tuple[HubFile, ...]]
    features: Mapping[str, Any] | None = None
