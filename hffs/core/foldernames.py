"""Folder names out of a column's values: any text becomes a name that every file system takes.

Pure. Invariants: names are valid UTF-8 of 1 to `NAME_BYTES` bytes, without `/`, control characters
or blanks at the ends, never hidden (`.cache`) nor reserved; different texts have different names.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

NAME_BYTES = 200
"""Below the 255 that Linux allows: trainers put suffixes behind folder names."""

_REPLACED = "_"
_SUFFIX_BYTES = 16
"""Room for any number: texts that are alike but for so many bytes at their end count together."""


def make_folder_names(texts: Iterable[str], reserved: Iterable[str] = ()) -> dict[str, str]:
    """A name for each of some different texts, in their order.

    Texts that would get one name are told apart by ` (2)`, ` (3)`, ... in the order that they come.
    """
    taken = set(reserved)
    names: dict[str, str] = {}
    # Counting from 2 each time, 65,536 texts that look alike would take half an hour.
    last: dict[str, int] = {}
    for text in texts:
        plain = name = _make_plain(text)
        alike = _cut(plain, NAME_BYTES - _SUFFIX_BYTES)
        while name in taken:
            number = last[alike] = last.get(alike, 1) + 1
            suffix = f" ({number})"
            name = _cut(plain, NAME_BYTES - len(suffix)) + suffix
        taken.add(name)
        names[text] = name
    return names


def _make_plain(text: str) -> str:
    text = text.encode("utf-8", "replace").decode()  # half a surrogate pair becomes ?
    safe = "".join(_REPLACED if _is_unsafe(character) else character for character in text)
    safe = _cut(safe.strip(), NAME_BYTES)
    if safe.startswith("."):
        safe = _REPLACED + safe[1:]
    return safe or _REPLACED


def _is_unsafe(character: str) -> bool:
    # Cc: controls, Cf: writing directions and other invisible ones, Zl and Zp: line breaks
    return character == "/" or unicodedata.category(character) in ("Cc", "Cf", "Zl", "Zp")


def _cut(text: str, size_bytes: int) -> str:
    return text.encode()[:size_bytes].decode("utf-8", "ignore").rstrip()
