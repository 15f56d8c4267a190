"""Which split each file of a data set is of, where only names tell: the rules of `datasets`.

Owns what `datasets.data_files` does with its default patterns, for names alone: nothing is looked
at. Invariant: files of a split are in the order of `datasets`, pattern by pattern, so that a file
which fits two patterns is there twice.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

TRAIN = "train"
"""The split of files whose names tell none."""

_KEYWORDS = {
    TRAIN: ("train", "training"),
    "validation": ("validation", "valid", "dev", "val"),
    "test": ("test", "testing", "eval", "evaluation"),
}
_NEXT = r"[-._ 0-9]"
# KEYWORDS_IN_DIR_NAME_BASE_PATTERNS, then KEYWORDS_IN_FILENAME_BASE_PATTERNS
_FOLDERS = (
    r"(?:.+/)?{word}/.*",
    rf"(?:.+/)?{{word}}{_NEXT}[^/]*/.*",
    rf"(?:.+/)?[^/]*{_NEXT}{{word}}/.*",
    rf"(?:.+/)?[^/]*{_NEXT}{{word}}{_NEXT}[^/]*/.*",
)
_NAMES = (
    rf"(?:.+/)?{{word}}{_NEXT}[^/]*",
    rf"(?:.+/)?[^/]*{_NEXT}{{word}}{_NEXT}[^/]*",
)
_COUNT = r"-[0-9]{5}-of-[0-9]{5}"
# What push_to_hub writes; the only place where a split may have any name.
_PUSHED = re.compile(rf"data/[^/]*{_COUNT}[^/]*\.[^/]*", re.DOTALL)
_PUSHED_SPLIT = re.compile(r"(.+)-[0-9]{5}-of-[0-9]{4}")
SPLIT_NAME = re.compile(r"\w+(?:\.\w+)*")
_ALONE = {
    split: re.compile(rf"(?:^|{_NEXT})(?:{'|'.join(words)})(?:{_NEXT}|$)", re.IGNORECASE)
    for split, words in _KEYWORDS.items()
}


def group_by_split(names: Sequence[str]) -> dict[str, list[str]] | None:
    """Files of each split, by their paths below the data set; none of them is hidden.

    The first kind of name that any file has decides: shards of `push_to_hub`, folders that name
    splits, files that do; then every other file is of no split. Without any, all are of one split.
    None where `datasets` refuses a name.

    >>> group_by_split(["train-1.parquet", "a-train.parquet", "b.parquet", "val.parquet"])
    {'train': ['train-1.parquet', 'a-train.parquet'], 'validation': ['val.parquet']}
    """
    ordered = sorted(names)
    if pushed := [name for name in ordered if _PUSHED.fullmatch(name)]:
        return _group_pushed(pushed)
    for forms in (_FOLDERS, _NAMES):
        found = {split: _find(ordered, forms, words) for split, words in _KEYWORDS.items()}
        if any(found.values()):
            return {split: own for split, own in found.items() if own}
    return {TRAIN: ordered} if ordered else {}


def split_of(name: str) -> str:
    """Split that the name of one file tells by itself, whatever others there are.

    A file or a glob names its files one by one, so that none is left out for the names of others.

    >>> split_of("data/it-00000-of-00002.parquet"), split_of("val/0.parquet"), split_of("a.arrow")
    ('it', 'validation', 'train')
    """
    if _PUSHED.fullmatch(name) and (groups := _group_pushed([name])):
        return next(iter(groups))
    for part in name.split("/"):
        for split, pattern in _ALONE.items():
            if pattern.search(part):
                return split
    return TRAIN


def _group_pushed(names: Sequence[str]) -> dict[str, list[str]] | None:
    groups: dict[str, list[str]] = {}
    for name in names:
        found = _PUSHED_SPLIT.match(name.removeprefix("data/"))
        if found is None or not SPLIT_NAME.fullmatch(found[1]):
            return None
        groups.setdefault(found[1], []).append(name)
    return groups


def _find(names: Sequence[str], forms: Sequence[str], words: Sequence[str]) -> list[str]:
    """Names that fit the forms of a split's words, word by word and form by form."""
    found: list[str] = []
    for word in words:
        likely = [name for name in names if word in name]
        for form in forms:
            fits = re.compile(form.format(word=word), re.DOTALL).fullmatch
            found += filter(fits, likely)
    return found
