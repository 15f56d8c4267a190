"""One entry: whether it can be mounted, and its keys, flat and each once.

Owns the blocks: which keys may stand in which, and that two places must not disagree. It must not
know files, flags, nor whether a value is right for its key (`hffs.config.model`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from hffs.config.blocks import BLOCKS, VideoConfig
from hffs.config.keys import all_keys
from hffs.config.problems import show, show_name, unknown_key
from hffs.config.trainer_keys import BLOCK_KEYS, ENTRY_KEYS, SIDE_TYPES, STORAGE_TYPES
from hffs.errors import ConfigError

Values = dict[str, object]
"""Values by the dotted names of their keys; what is null, or not set, is absent."""

_MERGED_BLOCKS = ("huggingface", "config")
_MOVED = {name: f"video.{name}" for name in VideoConfig.model_fields}
_MOVED |= {name: f"filter_func.{name}" for name in ("min_duration_s", "max_duration_s")}
_MOVED["dataset_config"] = "config_name"  # as SimpleTuner's web interface has it
_DISABLING = ("disabled", "disable")
_ID_CHARS_MAX = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of a file; `skipped` says why it cannot be mounted, "" where it can.

    `is_folder` is one that cannot, since it is a folder already, of samples to train on.
    """

    id: str
    skipped: str
    is_folder: bool
    raw: Mapping[str, object]

    def is_used(self, *, folders: bool) -> bool:
        """Whether it can be mounted, or, with `folders`, is one."""
        return not self.skipped or (folders and self.is_folder)


def classify(raw: Mapping[str, object]) -> Entry:
    """Say what an entry is, looking at no more of it than that takes."""
    name, given = _find(raw, "dataset_name"), _find(raw, "id")
    if not given and name:
        given = make_id(name)
    why = _why_unused(raw)
    kind = "" if why else _find_type(raw)
    if not given and kind == "local":
        given = make_id(_find(raw, "instance_data_dir"))
    if kind in STORAGE_TYPES:
        why = f"its type is {kind}"
    return Entry(given, why, kind == "local", raw)


def _why_unused(raw: Mapping[str, object]) -> str:
    """Why an entry has no samples to train on, "" where it has."""
    if any(raw.get(key) is True for key in _DISABLING):
        return "it is disabled"
    side = _find(raw, "dataset_type")
    return f"its dataset_type is {side}" if side in SIDE_TYPES else ""


def _find_type(raw: Mapping[str, object]) -> str:
    kind = _find(raw, "type")
    if not kind and not _find(raw, "dataset_name") and "instance_data_dir" in raw:
        return "local"  # as the trainer reads it
    return kind


def _find(raw: Mapping[str, object], key: str) -> str:
    """A text at the top or in the huggingface block; "" if there is none."""
    block = raw.get("huggingface")
    places = (raw, block) if isinstance(block, Mapping) else (raw,)
    found = (place.get(key) for place in places)
    return next((value for value in found if isinstance(value, str)), "")


def make_id(dataset_name: str) -> str:
    """An id from a data set's name: `org/set` is `org-set`, of a path the last part counts.

    Nothing of what signs an address is in it.
    """
    if dataset_name.startswith(("http://", "https://")):
        dataset_name = dataset_name.partition("?")[0]
    is_hub_id = re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", dataset_name, re.ASCII)
    part = dataset_name if is_hub_id else dataset_name.rstrip("/").rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", part).strip(".-")[:_ID_CHARS_MAX] or "dataset"


def flatten(raw: Mapping[str, object], origin: str) -> tuple[Values, list[str]]:
    """The values of an entry, and the names of its keys that only a trainer reads.

    Raises ConfigError for a key that nobody knows, a block that is none, and two places that
    disagree.
    """
    _check_disabling(raw, origin)
    values: Values = {}
    ignored = []
    for place, key, value in _walk(raw, origin):
        shown = f"{place}.{show_name(key)}" if place else show_name(key)
        block = place.rpartition(".")[2]
        name = _name_of(block, key)
        if name is None:
            if key not in BLOCK_KEYS.get(block, ENTRY_KEYS):
                raise unknown_key(origin, place, key, [*all_keys(), *ENTRY_KEYS])
            ignored.append(shown)
        elif value is not None:
            if name in values and not _same(values[name], value):
                why = f"{name} is {show(values[name])} in one place and {show(value)} in {shown}"
                raise ConfigError("cannot use", origin, why=why, fix="leave one of them out")
            values[name] = value
    return values, ignored


def _check_disabling(raw: Mapping[str, object], origin: str) -> None:
    # "true" would otherwise mount what somebody meant to leave out.
    for key in _DISABLING:
        if not isinstance(raw.get(key), bool | None):
            why = f"{key}: {show(raw[key])} is not true or false"
            raise ConfigError("cannot use", origin, why=why)


def _walk(raw: Mapping[str, object], origin: str) -> Iterator[tuple[str, str, object]]:
    """Block (dotted, as the file has it), key and value of everything that is no block."""
    for key, value in raw.items():
        if key in _MERGED_BLOCKS:
            for inner, inner_value in _block(key, value, origin).items():
                if inner in BLOCKS:
                    yield from _walk_block(f"{key}.{inner}", inner_value, origin)
                else:
                    yield key, inner, inner_value
        elif key in BLOCKS:
            yield from _walk_block(key, value, origin)
        else:
            yield "", key, value


def _walk_block(place: str, value: object, origin: str) -> Iterator[tuple[str, str, object]]:
    for key, inner in _block(place, value, origin).items():
        yield place, key, inner


def _block(name: str, value: object, origin: str) -> Mapping[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigError("cannot use", origin, why=f"{name}: {show(value)} is not a block of keys")
    return value


def _name_of(block: str, key: str) -> str | None:
    """The dotted name of a key where it stands; None if it is none of ours."""
    name = f"{block}.{key}" if block in BLOCKS else _MOVED.get(key, key)
    return name if name in all_keys() else None


def _same(one: object, other: object) -> bool:
    """Whether two values are one: a list of one may be without its list, 512.0 is 512."""
    one, other = _plain(one), _plain(other)
    return type(one) is type(other) and one == other


def _plain(value: object) -> object:
    if isinstance(value, list) and len(value) == 1:
        return _plain(value[0])
    return int(value) if isinstance(value, float) and value.is_integer() else value
