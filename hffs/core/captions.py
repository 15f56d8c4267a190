"""What the text of a caption file is, whatever a data set's cell holds.

Pure: values in, text out. It knows nothing of columns, files, or of what a blank caption leads to.
Invariants: a text encodes to UTF-8; no line of it is blank, begins or ends with a blank, or holds
a control character; a caption is one line; cleaning a clean caption changes nothing. They hold for
captions that are joined if the joint is a line break, or has neither line breaks nor controls.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

UNCLEAN = r"[\x00-\x1f\x7f" + "-\u009f\u2028\u2029]"
"""Regular expression (Python's and RE2's) for all that cleaning changes in valid UTF-8, but for
blanks at the ends: a whole column is searched at once for the few captions that need more."""

DESCRIPTION_FIELDS = ("main_subject", "description", "text")
"""What a description that is an object is made of, in this order."""

_LONE_SURROGATES = re.compile("[\ud800-\udfff]")
_KEPT_CONTROLS = "\n\v\f\r\x85"
_CONTROLS: dict[int, str | None] = {
    code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in _KEPT_CONTROLS
} | {ord("\t"): " "}


def clean_caption(value: str | bytes | None) -> str:
    """One line of valid text; an empty result means that there is no caption.

    Line breaks, with the blanks around them, become one space; a tab becomes a space; other
    control characters go; what is no character (bad UTF-8, a lone surrogate) becomes U+FFFD.
    """
    if value is None:
        return ""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if text.isprintable():  # nothing but spaces at the ends is left to do: most captions
        return text.strip()
    text = _LONE_SURROGATES.sub("\ufffd", text).translate(_CONTROLS)
    # Without \x1c-\x1e, splitlines() splits at the line breaks that are named above, and no more.
    return " ".join(filter(None, map(str.strip, text.splitlines())))


def clean_lyrics(value: object) -> str:
    """Words that are sung, line by line as they came, UTF-8; empty where there are none.

    Blank lines between verses stay, those around all of it go; so do blanks at the ends of lines
    and control characters. A list is taken for lines; what is no text says nothing.

    >>> clean_lyrics("\\n[verse]\\r\\nLa la \\n\\n[chorus]\\nOh\\n")
    '[verse]\\nLa la\\n\\n[chorus]\\nOh'
    """
    if isinstance(value, (list, tuple)):
        return clean_lyrics("\n".join(map(_as_text, value)))
    text = _LONE_SURROGATES.sub("\ufffd", _as_text(value)).translate(_CONTROLS)
    return "\n".join(line.rstrip() for line in text.splitlines()).strip("\n")


def _as_text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value if isinstance(value, str) else ""


def render_caption(value: object, joint: str | None = "\n") -> str:
    """Text of a cell: strings cleaned, other scalars as `str()`, a list's captions joined.

    `joint` None takes the first caption of a list that is not blank. Anything else (an object, a
    list inside a list) is no caption.
    """
    if not isinstance(value, (list, tuple)):
        return _render_scalar(value)
    captions = filter(None, map(_render_scalar, value))
    return next(captions, "") if joint is None else joint.join(captions)


def find_description(value: object) -> object:
    """What a description says: an object, or JSON text of one, its `DESCRIPTION_FIELDS` in a row.

    They stand a blank apart, as SimpleTuner joins them. Whatever else it is, is left as it is: a
    plain text, or an object without any of these fields.
    """
    found = value
    if isinstance(value, (str, bytes)) and value.lstrip()[:1] in ("{", b"{"):
        found = _parse_json(value)
    if not isinstance(found, dict) or found.keys().isdisjoint(DESCRIPTION_FIELDS):
        return value
    return render_caption([render_caption(found.get(f), " ") for f in DESCRIPTION_FIELDS], " ")


def _render_scalar(value: object) -> str:
    if value is None or isinstance(value, (str, bytes)):
        return clean_caption(value)
    return str(value) if isinstance(value, (int, float)) else ""


def lookup(value: object, path: Sequence[str]) -> object:
    """What `path` names inside dicts and JSON strings; None where it leads to nothing.

    A key whose own name has dots goes before the keys that it would be a path of. A string is
    parsed only when the path goes on inside it; a broken one holds nothing.
    """
    if not path:
        return value
    if isinstance(value, (str, bytes)):
        value = _parse_json(value)
    if not isinstance(value, dict):
        return None
    ways = (lookup(value.get(".".join(path[:cut])), path[cut:]) for cut in range(len(path), 0, -1))
    return next((found for found in ways if found is not None), None)


def _parse_json(text: str | bytes) -> object:
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    try:
        parsed: object = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return parsed
