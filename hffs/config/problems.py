"""What is wrong with a configuration, as one line that names the key and shows the value.

Owns the wording. The errors of pydantic go in, and none of its words come out.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Mapping, Sequence

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from hffs.errors import ConfigError

_SHOWN_CHARS = 60
_SHOWN_ERRORS = 5

_WORDS = {
    "int_type": "is not a whole number",
    "float_type": "is not a number",
    "finite_number": "is not a finite number",
    "bool_type": "is not true or false",
    "string_type": "is not text",
    "string_unicode": "is not text in valid Unicode",
    "path_type": "is not a path",
    "is_instance_of": "is not a path",
    "greater_than": "is not above {gt}",
    "greater_than_equal": "is below {ge}",
    "less_than_equal": "is above {le}",
    "literal_error": "is not one of {expected}",
    "value_error": "{error}",
    "model_type": "is not a block of keys",
    "mapping_type": "is not a map of names to numbers",
    "dict_type": "is not a map of names to numbers",
}


def show(value: object) -> str:
    """A value as JSON, printable and short."""
    try:
        text = json.dumps(value, default=str)
    except (ValueError, TypeError, RecursionError):  # a loop, keys that are no text, too deep
        text = type(value).__name__
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


def show_name(name: str) -> str:
    """A key as it stands in a line: bare if it reads as a name, else quoted."""
    return name if re.fullmatch(r"[\w.-]{1,60}", name) else show(name)


def describe(error: ValidationError, names: Mapping[str, str]) -> str:
    """Every wrong key once, with its value and what is wrong with it.

    `names` says how each key, by its dotted name, is called.
    """
    lines: dict[str, str] = {}
    for detail in error.errors(include_url=False):
        name = _name([part for part in detail["loc"] if isinstance(part, str)], names)
        lines.setdefault(name, _describe(name, detail))
    return _join(lines.values())


def _name(parts: Sequence[str], names: Mapping[str, str]) -> str:
    """The key that an error is in, and the name inside its map if it has one."""
    depth = 2 if ".".join(parts[:2]) in names else 1
    key = ".".join(parts[:depth])
    inside = [show_name(part) for part in parts[depth:] if part != "[key]"]
    return ".".join([names.get(key, key), *inside])


def _join(lines: Iterable[str]) -> str:
    shown = list(lines)
    more = len(shown) - _SHOWN_ERRORS
    return "; ".join(shown[:_SHOWN_ERRORS]) + (f"; and {more} more" if more > 0 else "")


def _describe(name: str, detail: ErrorDetails) -> str:
    if detail["type"] == "value_error" and not name:  # a check of several keys, which says which
        return str(detail["ctx"]["error"])
    words = _WORDS.get(detail["type"], "cannot be used")
    context = detail.get("ctx", {})
    if "expected" in context:
        context["expected"] = context["expected"].replace("'", "").replace(" or ", ", ")
    return f"{name}: {show(detail['input'])} {words.format(**context)}"


def unknown_key(origin: str, block: str, key: str, known: Iterable[str]) -> ConfigError:
    """The refusal of a key that is nowhere known, with the nearest one that is.

    `known` are dotted names; a key in the wrong block is found by its last part.
    """
    by_leaf = {name.rpartition(".")[2]: name for name in known}
    near = difflib.get_close_matches(key[:_SHOWN_CHARS], by_leaf, 1)
    fix = f"did you mean {by_leaf[near[0]]}?" if near else ""
    shown = f"{block}.{show_name(key)}" if block else show_name(key)
    return ConfigError("cannot use", origin, why=f"{shown}: there is no such key", fix=fix)
