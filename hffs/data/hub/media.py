"""Folders of images, videos or sounds: which builder of `datasets` reads one, and which files.

`datasets` chooses the builder by what most files of a folder are, and takes `webm` for a sound.
Here the medium that is asked for chooses among these builders, if the folder has any of it.
Invariant: where images are asked for, and most files are images, all is as `datasets` has it.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from hffs.core.formats import NOUNS, Media, list_extensions
from hffs.data.hub.listing import replaced
from hffs.errors import DataError

FOLDERS: dict[str, Media] = {"imagefolder": "image", "videofolder": "video", "audiofolder": "audio"}
"""Builders of `datasets`, and of which medium they read the files of a folder."""

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
"""Files that say of the files of a folder what they are, unless a data set names others."""

_BUILDERS = {media: name for name, media in FOLDERS.items()}
_ZIP = ".zip"
_TEXT = "text"
"""What a folder is taken for that has a caption of its own name beside each file."""


def find_extensions(media: Media) -> frozenset[str]:
    """How names of files end that are rows of a folder, in lower case, with the dot.

    Those of `datasets`, and what else hffs knows; what may be a video is no sound.
    """
    name = _BUILDERS[media]
    module = importlib.import_module(f"datasets.packaged_modules.{name}.{name}")
    theirs = frozenset(getattr(module, f"{media.upper()}_EXTENSIONS"))
    if media == "image":
        return theirs
    if media == "audio":
        theirs -= find_extensions("video")
    return theirs | {f".{extension}" for extension in list_extensions(media)}


@contextmanager
def choosing_builder(media: Media) -> Iterator[None]:
    """While this lasts, `datasets` reads a folder for the medium that is asked for, if it can."""
    import datasets.load

    load: Any = datasets.load
    own, extensions = _BUILDERS[media], find_extensions(media)
    infer = load.infer_module_for_data_files

    def infer_own(
        data_files: Mapping[str, list[str]], path: str | None = None, download_config: Any = None
    ) -> tuple[str, dict[str, Any]]:
        """Name and options of the builder of some files, by split."""
        try:
            found = infer(data_files, path, download_config)
            kinds = {found[0]}
        except ValueError:  # splits differ
            lists = data_files.values()
            kinds = {load.infer_module_for_data_files_list(each)[0] for each in lists}
            if not kinds <= FOLDERS.keys():
                raise
            found = (own, {})
        may_be = FOLDERS.keys() if media == "image" else {*FOLDERS, _TEXT}
        files = (file for each in data_files.values() for file in each)
        return (own, {}) if kinds <= may_be and _has_any(files, media, extensions) else found

    with ExitStack() as stack:
        stack.enter_context(replaced(load, "infer_module_for_data_files", infer_own))
        if media != "image":
            both = sorted(form for each in extensions for form in (each, each.upper()))
            modules = load._EXTENSION_TO_MODULE | dict.fromkeys(both, (own, {}))
            allowed = sorted({*load._ALL_ALLOWED_EXTENSIONS, *both})
            by_module = load._MODULE_TO_EXTENSIONS | {own: [*both, _ZIP]}
            stack.enter_context(replaced(load, "_EXTENSION_TO_MODULE", modules))
            stack.enter_context(replaced(load, "_ALL_ALLOWED_EXTENSIONS", allowed))
            stack.enter_context(replaced(load, "_MODULE_TO_EXTENSIONS", by_module))
        yield


def _has_any(files: Iterable[str], media: Media, extensions: frozenset[str]) -> bool:
    """Whether there is a file of a medium, or what may hold some (what images a zip holds is seen
    where the builder is inferred).
    """
    ends = extensions if media == "image" else extensions | {_ZIP}
    others = find_extensions("video") if media == "image" else frozenset()  # mpg is among both
    return any(_suffix(file) in ends - others for file in files)


def _suffix(path: str) -> str:
    return os.path.splitext(str(path).partition("::")[0])[1].lower()


def require_medium(name: str, kind: str, media: Media) -> None:
    """Raise DataError where a folder has files of another medium alone."""
    other = FOLDERS.get(kind, media)
    if other != media:
        why = f"it holds {NOUNS[other][1]}, no {NOUNS[media][1]}"
        raise DataError("cannot use", name, why=why, fix=f"mount these by --dataset-type {other}")


def keep_own(builder: Any, kind: str, files: list[str]) -> list[str]:
    """Files of a folder that rows may be made of: none of the other media, which a README.md names
    along with them. Of images all, which their builder passes over.
    """
    media = FOLDERS.get(kind, "image")
    if media == "image":
        return files
    extensions = find_extensions(media) | {_ZIP}
    told = builder.config.metadata_filenames or METADATA_NAMES
    return [file for file in files if _suffix(file) in extensions or os.path.basename(file) in told]
