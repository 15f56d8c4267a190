"""What a data set says about itself (README.md and two more), looked at before `datasets` does.

It is untrusted. `datasets` would follow `data_files` to any host, and to any file of this one; and
YAML may describe, in a few lines, more than any memory holds. What is looked at is the text that
`datasets` will look at, to the byte.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hffs.errors import DataError

NAMES = ("README.md", ".huggingface.yaml", "dataset_infos.json")

_MOST_BYTES = 32 << 20
_MOST_VALUES = 1_000_000
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""Without slashes too: `file:x` is a path of this host to fsspec."""


def check_size(name: str, file: str, size_bytes: int) -> None:
    """Refuse a description that is too long to be one."""
    if size_bytes > _MOST_BYTES:
        why = f"its {file} has {size_bytes >> 20} MB, at most {_MOST_BYTES >> 20} are read"
        raise DataError("cannot use", name, why=why)


def check(name: str, files: Sequence[Path]) -> None:
    """Refuse files that name data outside the data set. Raises DataError, yaml.YAMLError."""
    for file in files:
        if file.suffix == ".json":
            continue
        text = read_text(file, errors="replace")
        if file.suffix == ".md":
            text = front_matter(text)
        for pattern in _patterns(name, text):
            if _leaves(pattern):
                why = f"its {file.name} names data outside of it: {pattern[:200]!r}"
                raise DataError("cannot use", name, why=why)


def read_text(file: Path, errors: str = "strict") -> str:
    """Return a description as it is: to huggingface_hub a bare \\r ends no YAML, as a \\n does."""
    return file.read_bytes().decode("utf-8", errors)


def front_matter(text: str) -> str:
    """Return the YAML that a README.md begins with; empty if it has none."""
    from huggingface_hub.repocard import REGEX_YAML_BLOCK

    found = REGEX_YAML_BLOCK.search(text)
    return found[2] if found else ""


def _leaves(pattern: str) -> bool:
    outside = pattern.startswith(("/", "~")) or "\\" in pattern or "\0" in pattern
    is_url = _SCHEME.match(pattern) is not None or "://" in pattern or "::" in pattern
    return outside or is_url or ".." in pattern.split("/")


def _patterns(name: str, text: str) -> Iterator[str]:
    """Every string below a `data_files` or `data_dir`."""
    import yaml

    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if node is None:
        return
    if _count(node, {}) > _MOST_VALUES:
        raise DataError("cannot use", name, why="the YAML of its README.md describes too much")
    configs = yaml.safe_load(text)
    configs = configs.get("configs") if isinstance(configs, dict) else None
    for config in configs if isinstance(configs, list) else []:
        if isinstance(config, dict):
            yield from _strings(config.get("data_files"))
            yield from _strings(config.get("data_dir"))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)


def _count(node: Any, known: dict[int, int]) -> int:
    """How many values a document stands for once its aliases are followed; one in itself: many."""
    if id(node) not in known:
        known[id(node)] = _MOST_VALUES + 1  # until it is known: a value that holds itself
        inside = node.value if isinstance(node.value, list) else []
        parts = [part for item in inside for part in (item if isinstance(item, tuple) else (item,))]
        known[id(node)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(node)]
