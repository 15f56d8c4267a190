"""Names of the classes of a folder: those of all of its splits, as `datasets` has them.

Owns reading them off paths. Each split is prepared by itself, and would number the classes that it
has itself; one of a single class would have none.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from hffs.core.formats import Media
from hffs.data.hub.media import METADATA_NAMES, find_extensions


def class_options(builder: Any, media: Media) -> Mapping[str, Any]:
    """Options for the builder of any one split; none where `datasets` finds no classes by paths.

    None also where classes are folders in a zip archive, which is looked into when it is here.
    """
    config = builder.config
    told = config.metadata_filenames or METADATA_NAMES
    paths = [str(path) for files in config.data_files.values() for path in files]
    names = [os.path.basename(path) for path in paths]
    has_zip = any(name.lower().endswith(".zip") for name in names)
    is_asked = config.drop_labels is not None or config.features is not None
    if is_asked or has_zip or not set(told).isdisjoint(names):
        return {}
    classes = _find_classes(paths, find_extensions(media))
    if not classes:
        return {}
    label = {"_type": "ClassLabel", "names": classes}
    return {"drop_labels": False, "features": {media: {"_type": media.title()}, "label": label}}


def _find_classes(paths: Iterable[str], extensions: frozenset[str]) -> list[str]:
    """Names of the folders that files lie in, if all lie equally deep and in several."""
    own = [path for path in paths if os.path.splitext(path)[1].lower() in extensions]
    names = {os.path.basename(os.path.dirname(path)) for path in own}
    depths = {path.count("/") for path in own}
    return sorted(names) if len(names) > 1 and len(depths) == 1 else []
