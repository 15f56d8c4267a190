"""Resolving the patterns of `datasets` in a local folder that is listed once, not 45 times.

Owns standing in for its `resolve_pattern`, which lists the folder anew for each pattern and makes a
dozen objects of each file: a minute for 100,000 images. What is not a plain pattern below a local
folder is left to it. Invariant: the files, and their order, are those that it would give.
"""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

_LEFT_ALONE = re.compile(r"://|::|//|(?:^|/)(?:\.|__)")
"""Patterns that name hosts, archives, hidden or special files are left to `datasets`."""


@contextmanager
def listing_once() -> Iterator[None]:
    """While this lasts, `datasets` lists each local folder once; nothing may change in it."""
    import datasets.data_files
    import datasets.load

    listings = _Listings(datasets.data_files.resolve_pattern, datasets.data_files.FILES_TO_IGNORE)
    with ExitStack() as stack:
        for module, name, value in (
            (datasets.data_files, "resolve_pattern", listings.resolve_pattern),
            # times of files, for the name of a cache folder that nobody looks at again
            (datasets.data_files, "_get_origin_metadata", lambda files, **options: []),
            (datasets.load, "xbasename", _find_basename),
        ):
            stack.enter_context(replaced(module, name, value))
        yield


@contextmanager
def replaced(owner: object, name: str, value: object) -> Iterator[None]:
    """While this lasts, a module or a class has something else under a name."""
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)


def _find_basename(path: object) -> str:
    """The name of the first file of a chain, as `datasets` finds it in 20 us."""
    return posixpath.basename(str(path).partition("::")[0])


class _Listings:
    """Files below folders, each listed once, and those of them that have some extension."""

    def __init__(self, resolve: Callable[..., list[str]], ignored: list[str]) -> None:
        self._resolve, self._ignored = resolve, frozenset(ignored)
        self._files: dict[str, list[str]] = {}
        self._allowed: dict[tuple[str, frozenset[str]], list[str]] = {}

    def resolve_pattern(
        self,
        pattern: str,
        base_path: str,
        allowed_extensions: list[str] | None = None,
        download_config: Any = None,
    ) -> list[str]:
        """What `datasets.data_files.resolve_pattern` returns; FileNotFoundError for nothing."""
        is_plain = "**" in pattern and not _LEFT_ALONE.search(pattern)
        if (
            not (is_plain and os.path.isabs(base_path))
            or os.path.basename(pattern) in self._ignored
        ):
            return self._resolve(pattern, base_path, allowed_extensions, download_config)
        from fsspec.utils import glob_translate

        matches = re.compile(glob_translate(pattern)).match
        files = self._list(base_path, allowed_extensions)
        found = [os.path.join(base_path, name) for name in files if matches(name)]
        if not found:
            raise FileNotFoundError(f"Unable to find '{pattern}'")
        return found

    def _list(self, base: str, extensions: list[str] | None) -> list[str]:
        """Names of files below a folder, relative and sorted."""
        if base not in self._files:
            self._files[base] = sorted(self._walk(base, ""))
        if extensions is None:
            return self._files[base]
        allowed = frozenset(extensions)
        if (base, allowed) not in self._allowed:
            self._allowed[base, allowed] = [
                name
                for name in self._files[base]
                if any("." + part in allowed for part in os.path.basename(name).split(".")[1:])
            ]
        return self._allowed[base, allowed]

    def _walk(self, base: str, below: str) -> Iterator[str]:
        """Files that `**` means: none in hidden or special folders; linked folders are left out."""
        with os.scandir(os.path.join(base, below)) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                name = below + entry.name
                if entry.is_dir(follow_symlinks=False):
                    if not entry.name.startswith("__"):
                        yield from self._walk(base, name + "/")
                elif entry.is_file() and entry.name not in self._ignored:
                    yield name
