"""Repositories laid out as `push_to_hub` does it: resolved without importing `datasets`.

Most data sets of photos are Parquet shards whose names or whose README.md tell their splits. For
these the rules of `datasets` are a few lines, and following them here saves its import and half a
dozen requests. Whatever is not plainly of this kind is None: then `hffs.data.hub.resolve` decides.
Invariant: what is resolved here is what `datasets` would resolve, in the same order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from hffs.data.hub import card
from hffs.data.hub.failures import ask, hub_errors
from hffs.data.hub.fetch import fetch_files
from hffs.data.hub.libraries import set_up_hub
from hffs.data.hub.questions import list_files
from hffs.data.hub.resolution import HubFile, Request, Resolution
from hffs.data.splits import group_by_split

_ASIDE = re.compile(r"README\.md|\.gitattributes|\.gitignore|LICENSE")
# One suffix, since `datasets` counts every one; nothing that is special in a pattern.
_SHARD = re.compile(r"(?:[\w -][\w. -]*/)*[\w-][\w -]*\.parquet", re.ASCII)
_METADATA = "metadata.parquet"  # what an imagefolder says of images
_PATTERN = re.compile(r"[\w./-]*\*?[\w.-]*", re.ASCII)
_SPLIT = re.compile(r"\w+(\.\w+)*", re.ASCII)
_DEFAULT = "default"
_TAIL_BYTES = 8  # how long the footer is, and the magic bytes
_MOST_FOOTER_BYTES = 64 << 20


class Seekable(Protocol):
    """A file that is open for reading bytes."""

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """Go somewhere; returns where that is."""
        ...

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        ...


@dataclass(frozen=True, slots=True)
class Plain:
    """What was resolved; with `declares_features` README.md says more of columns than is read here.

    It matters only where the shards themselves do not (`has_features`).
    """

    resolution: Resolution
    declares_features: bool


def resolve_plain(request: Request, commit: str) -> Plain | None:
    """Which files a request means, if that is plain to see. Raises as `resolve` does."""
    if request.data_files is not None or request.config not in (None, _DEFAULT):
        return None
    with hub_errors(request):
        set_up_hub()
        listed = _list_files(request, commit)
        if listed is None:
            return None
        described = _read_card(request, commit, listed)
    shards = sorted((file for file in listed if _is_shard(file.name)), key=lambda file: file.name)
    if described is None or (splits := find_splits(described, shards)) is None:
        return None
    if not all(splits.get(split) for split in request.splits):
        return None
    files = {split: tuple(splits[split]) for split in request.splits}
    resolution = Resolution(request.name, commit, _DEFAULT, "parquet", {}, files)
    return Plain(resolution, declares_features="dataset_info" in described)


def _is_shard(name: str) -> bool:
    parts = name.split("/")
    return (
        _SHARD.fullmatch(name) is not None
        and parts[-1] != _METADATA
        and not any(part.startswith("__") for part in parts)
    )


def has_features(file: Seekable) -> bool:
    """Whether a Parquet file tells the features of its columns; else README.md has a say."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - _TAIL_BYTES, 0))
    footer_bytes = int.from_bytes(file.read(_TAIL_BYTES)[:4], "little")
    file.seek(max(size - footer_bytes - _TAIL_BYTES, 0))
    return b"huggingface" in file.read(min(footer_bytes, _MOST_FOOTER_BYTES))


def _list_files(request: Request, commit: str) -> list[HubFile] | None:
    """Every file of a repository; None at the first that is not plain: there may be a million."""

    def list_tree() -> list[HubFile] | None:
        listed = []
        for file in list_files(request, commit):
            if not _ASIDE.fullmatch(file.name) and not _is_shard(file.name):
                return None
            listed.append(file)
        return listed

    return ask(list_tree, request)


def _read_card(request: Request, commit: str, listed: Sequence[HubFile]) -> dict[str, Any] | None:
    files = [file for file in listed if file.name == "README.md"]
    if not files:
        return {}
    for file in files:
        card.check_size(request.name, file.name, file.size_bytes)
    path = fetch_files(request, commit, files, lambda done, total: None) / files[0].name
    return parse_card(request.name, path)


def parse_card(name: str, path: Path) -> dict[str, Any] | None:
    """The YAML that a README.md begins with, None if it is anything but a plain dictionary.

    Raises DataError where it names data outside of its own, yaml.YAMLError.
    """
    import yaml

    card.check(name, [path])
    try:
        text = card.front_matter(card.read_text(path))
    except UnicodeDecodeError:
        return None
    parsed = yaml.safe_load(text) if text.strip() else {}
    if not isinstance(parsed, dict) or not all(isinstance(key, str) for key in parsed):
        return None
    return parsed if _is_plain_info(parsed.get("dataset_info", {})) else None


def _is_plain_info(info: Any) -> bool:
    """Whether what is said of columns is of the only configuration there is, and not all wrong."""
    return (
        isinstance(info, dict)
        and info.get("config_name", _DEFAULT) == _DEFAULT
        and isinstance(info.get("features", []), list)
    )


def find_splits(
    described: dict[str, Any], shards: Sequence[HubFile]
) -> dict[str, list[HubFile]] | None:
    """Files of each split, by README.md (`parse_card`), else by names; None if that is unclear."""
    configs = described.get("configs")
    if configs is None:
        by_name = {file.name: file for file in shards}
        groups = group_by_split(list(by_name))
        if groups is None:
            return None
        return {split: [by_name[name] for name in own] for split, own in groups.items()}
    patterns = _read_patterns(configs)
    if not patterns:
        return None
    splits = {
        split: [file for file in shards if _fits(pattern, file.name)] for split, pattern in patterns
    }
    # A split twice, or without any file, is an error of `datasets`, whichever split is asked for.
    return splits if len(splits) == len(patterns) and all(splits.values()) else None


def _read_patterns(configs: Any) -> list[tuple[str, str]] | None:
    """Split and pattern of each line of the only configuration, if it has nothing else."""
    if not isinstance(configs, list) or len(configs) != 1 or not isinstance(configs[0], dict):
        return None
    config = configs[0]
    named = config.get("config_name") == _DEFAULT and set(config) <= {
        "config_name", "data_files", "default",
    }  # fmt: skip
    lines = config.get("data_files")
    if not named or not isinstance(lines, list):
        return None
    return list(_read_lines(lines)) if all(map(_is_plain_line, lines)) else None


def _read_lines(lines: list[dict[str, str]]) -> Iterator[tuple[str, str]]:
    for line in lines:
        yield line["split"], line["path"]


def _is_plain_line(line: Any) -> bool:
    if not isinstance(line, dict) or set(line) != {"split", "path"}:
        return False
    split, path = line["split"], line["path"]
    if not isinstance(split, str) or not isinstance(path, str):
        return False
    return bool(_SPLIT.fullmatch(split)) and bool(_PATTERN.fullmatch(path))


def _fits(pattern: str, name: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return name == pattern
    middle = name[len(before) : len(name) - len(after)]
    is_long_enough = len(name) >= len(before) + len(after)
    return is_long_enough and name.startswith(before) and name.endswith(after) and "/" not in middle
