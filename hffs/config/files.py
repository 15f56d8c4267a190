"""Config files: from bytes to the entries that they hold, as plain values.

Owns what a file of JSON or TOML may look like, and telling a config file from a data set. It must
not know what any key means beyond the few by which a file is recognised.
Invariant: whatever is in a file, the outcome is a list of entries or one ConfigError that says
where in the file it went wrong.
"""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from hffs.config.problems import show_name
from hffs.errors import ConfigError

RawEntry = dict[str, object]
"""One entry as the file has it."""

_CONFIG_BYTES_MAX = 4 * 2**20
"""A longer JSON file is taken for data without parsing it."""

_TELLING_KEYS = ("dataset_name", "dataset_type", "huggingface", "instance_data_dir")
_TELLING_TYPE = "huggingface"
_TELLING = re.compile(
    rf'"(?:{"|".join(_TELLING_KEYS)})"\s*:|"type"\s*:\s*"{_TELLING_TYPE}"'.encode()
)


class _NotJsonError(ValueError):
    """Something that Python's parser takes, and JSON or hffs does not."""


def is_config_file(source: str) -> bool:
    """Whether a source names a config file: any `.toml`, a `.json` that reads like entries."""
    path = Path(source)
    if path.suffix.lower() == ".toml":
        return not os.path.isdir(path)  # a folder that is closed is told of by who reads the file
    if path.suffix.lower() != ".json" or not os.path.isfile(path):
        return False
    return path.stat().st_size <= _CONFIG_BYTES_MAX and _reads_like_entries(path)


def _reads_like_entries(path: Path) -> bool:
    data = _read_bytes(path)
    if not _TELLING.search(data):
        return False
    try:
        document = _parse_json(data, str(path))
    except ConfigError:  # a config with a mistake in it: reading it again will say which
        return True
    entries = document if isinstance(document, list) else [document]
    return any(isinstance(entry, dict) and _is_telling(entry) for entry in entries)


def _is_telling(entry: RawEntry) -> bool:
    return entry.get("type") == _TELLING_TYPE or any(key in entry for key in _TELLING_KEYS)


def read_entries(path: Path) -> Sequence[RawEntry]:
    """All entries of a file, in its order. Raises ConfigError."""
    parse = _parse_toml if path.suffix.lower() == ".toml" else _parse_json
    name = str(path)
    document = parse(_read_bytes(path), name)
    entries: list[RawEntry] = []
    for entry in document if isinstance(document, list) else [document]:
        if not isinstance(entry, dict):
            _fail(name, f"entry {len(entries) + 1} is not an object with keys")
        entries.append(entry)
    if not entries:
        _fail(name, "it has no entry")
    return entries


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        why = (error.strerror or "unreadable").lower()
        raise ConfigError("cannot read config", str(path), why=why) from error


def _decode(data: bytes, name: str) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        _fail(name, "line 1, column 1: a byte order mark", "save it as UTF-8 without one")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        before = data[: error.start].decode()
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        why = f"line {line}, column {column}: byte 0x{data[error.start]:02x} is not UTF-8"
        _fail(name, why, "save it as UTF-8")


def _parse_json(data: bytes, name: str) -> object:
    text = _decode(data, name)
    try:
        return json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        _fail(name, _describe_json_error(error))
    except _NotJsonError as error:
        _fail(name, str(error))
    except ValueError:  # Python's limit on the digits of a number
        _fail(name, "a number has too many digits")
    except RecursionError:
        _fail(name, "it is nested too deep")


def _describe_json_error(error: json.JSONDecodeError) -> str:
    before = error.doc[: error.pos].rstrip()
    # Python says so from 3.13 on; before, it expects something in place of the bracket.
    if before.endswith(",") and error.doc[error.pos : error.pos + 1] in ("]", "}"):
        error = json.JSONDecodeError("Illegal trailing comma", error.doc, len(before) - 1)
    what = "a comma with nothing behind it" if "trailing comma" in error.msg else error.msg
    return f"line {error.lineno}, column {error.colno}: {what[:1].lower()}{what[1:]}"


def _unique_keys(pairs: list[tuple[str, object]]) -> RawEntry:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise _NotJsonError(f"{show_name(twice)} stands twice in one object")
    return found


def _refuse_constant(word: str) -> NoReturn:
    raise _NotJsonError(f"{word} is no number of JSON")


def _parse_toml(data: bytes, name: str) -> object:
    text = _decode(data, name)
    try:
        document = tomllib.loads(text)
    except RecursionError:
        _fail(name, "it is nested too deep")
    except ValueError as error:  # TOMLDecodeError, or Python's limit on the digits of a number
        _fail(name, _place_first(str(error)))
    if "dataset" not in document:
        return document
    entries = document.pop("dataset")
    if document:
        outside = ", ".join(map(show_name, document))
        _fail(name, f"beside [[dataset]] stands {outside}", "move it into an entry")
    return entries


def _place_first(message: str) -> str:
    """`What (at PLACE)` of tomllib as `PLACE: what`, as for JSON."""
    what, _, place = message.rpartition(" (at ")
    if not what:
        return message[:1].lower() + message[1:]
    return f"{place.rstrip(')')}: {what[:1].lower()}{what[1:]}"


def _fail(name: str, why: str, fix: str = "") -> NoReturn:
    raise ConfigError("cannot use config", name, why=why, fix=fix)
