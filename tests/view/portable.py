"""Recording views and opening them, in this process: what tests of the portable view share."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hffs.cli.sources import choose_configs
from hffs.config import Config, build_config
from hffs.errors import FormatError
from hffs.view.opening import open_view
from hffs.view.portable.recording import Summary, record_view
from hffs.view.tree import Tree
from tests.view.conftest import Quiet
from tests.view.test_model import listing, read

Files = dict[str, tuple[Any, ...]]


def environ(cache: Path) -> dict[str, str]:
    return os.environ | {"XDG_CACHE_HOME": str(cache)}


def build(source: Path | str, cache: Path, keys: Mapping[str, Any]) -> Config:
    entry: dict[str, Any] = {"dataset_name": str(source)}
    for name, value in keys.items():
        block, _, leaf = name.rpartition(".")
        (entry.setdefault(block, {}) if block else entry)[leaf] = value
    path = cache / "entry.json"
    cache.mkdir(exist_ok=True)
    path.write_text(json.dumps(entry))
    return build_config(str(path), {}, None, environ(cache))


def record(
    source: Path | str, view: Path, cache: Path, keys: Mapping[str, Any] = {}, *, reads: bool = True
) -> Summary:
    with view.open("wb") as file:
        return record_view(build(source, cache, keys), file, Quiet(), 1, reads=reads)


@contextmanager
def opened(view: Path, cache: Path, **flags: object) -> Iterator[Tree]:
    (config,) = choose_configs(str(view), flags, None, environ(cache)).configs
    with open_view(config, Quiet(), 1) as tree:
        yield tree


def facts_of(tree: Tree) -> Files:
    """Of every file its inode, size, bytes (None where they cannot be had), row and time."""
    found: Files = {}
    for name, inode in listing(tree).items():
        try:
            data = read(tree, inode)
        except FormatError:
            data = None
        size = tree.size_bytes(inode)
        rows = tree.xattrs(inode).get("user.hffs.row")
        found[name] = (inode, data, size, rows, tree.mtime_ns)
    return found | {"": (tree.manifest.info.fingerprint,)}
