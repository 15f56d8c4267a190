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
_MOST_YAML_CHARACTERS = 4 << 20
_MOST_VALUES = 1_000_000
_DEEPEST = 100
"""Values in values; what each level costs grows with their number."""
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
"""Without slashes too: `file:x` is a path of this host to fsspec."""
_LONG_NUMBER = re.compile(r"[-+.:_0-9]{1000,}")
"""In base 60 (`1:59:59`) one of a few megabytes takes hours."""


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

    if len(text) > _MOST_YAML_CHARACTERS or _describes_too_much(text):
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


def _describes_too_much(text: str) -> bool:
    """Whether a document stands for too many values once its aliases are followed.

    Told by its events, one after the other: a tree of them would take 700 bytes a value.
    """
    import yaml

    total = 0
    counts: dict[str | None, int] = {}
    open_values: list[tuple[str | None, int]] = []
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            open_values.append((event.anchor, total))
            counts[event.anchor] = _MOST_VALUES  # until it ends: a value may hold itself
            total += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = open_values.pop()
            counts[anchor] = total - before
        elif isinstance(event, yaml.ScalarEvent):
            counts[event.anchor] = 1
            total += 1
            if _LONG_NUMBER.fullmatch(event.value):
                return True
        elif isinstance(event, yaml.AliasEvent):
            total += counts.get(event.anchor, 0)
        if total > _MOST_VALUES or len(open_values) > _DEEPEST:
            return True
    return False
