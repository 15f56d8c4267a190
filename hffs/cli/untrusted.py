"""Texts of a data set on their way to a person's eyes.

Owns what must not get there: whatever moves a terminal's cursor, changes its colours, hides text or
turns its direction around. Escaping for markup is the business of who writes the markup.
"""

from __future__ import annotations

import unicodedata

_REPLACEMENT = "\ufffd"
_HIDDEN = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_KEPT = "\u200c\u200d"
"""Joiners: Persian words and many emoji are spelled with them."""


def clean_text(text: str) -> str:
    """The text with everything replaced that is no visible character, but for line breaks."""
    if text.isprintable():
        return text
    return "".join(_clean(character) for character in text)


def clean_line(text: str) -> str:
    """The text on one line."""
    return " ".join(clean_text(text).split())


def _clean(character: str) -> str:
    if character == "\t":
        return " "
    if character == "\n" or character in _KEPT:
        return character
    hidden = unicodedata.category(character) in _HIDDEN
    return _REPLACEMENT if hidden else character
