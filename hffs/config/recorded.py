"""Configurations that a view file holds: what of one is recorded, and what a host may add to it.

Owns which keys decide a view or name its source, and so are recorded; all others are the host's
own: its caches, its credentials, what it may ask of other hosts. A key that was recorded cannot be
given another value: the view would be another one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter, ValidationError

from hffs.config.keys import all_keys
from hffs.config.model import Config
from hffs.config.problems import describe
from hffs.config.values import Folder
from hffs.errors import ConfigError

_OF_HOST = frozenset(
    [
        "id", "type", "cache_dir", "cache_size", "num_proc", "offline", "token_file",
        "allow_http_urls", "allow_private_urls", "shard", "scratch",
    ]
)  # fmt: skip
"""Never recorded: a file of somebody else's must not say where a host writes, what it trusts, or
which part of the view it takes.
"""

_OF_SOURCE = ("dataset_name", "streaming")
"""Recorded, and a host may say otherwise: where the source is there, and whether to download it."""


_JSON = TypeAdapter[object](object, config=ConfigDict(defer_build=True))


class RecordedConfig(Config):
    """The configuration of a view that is decided: the file that it is in, and what seals that.

    One that `is_placed` has its `dataset_name` from the user, and not from the file.
    """

    model_config = ConfigDict(defer_build=True)  # few mounts are of one, all import this

    view_file: Folder
    seal: str
    is_placed: bool


def record_config(config: Config, dataset_name: str) -> dict[str, object]:
    """What a view file says of a configuration: values by dotted names, as JSON has them."""
    values = _flatten(config.model_dump(mode="json", exclude_unset=True))
    kept = _list_recorded()
    return {name: value for name, value in values if name in kept} | {"dataset_name": dataset_name}


def restore_config(
    recorded: Mapping[str, object], given: Config, dataset_name: str | None, seal: str
) -> RecordedConfig:
    """The configuration of a view file, with what was given beside it.

    `given` has the path of that file in place of its source, `dataset_name` where the source is
    here, None where it is as recorded. Raises ConfigError for a key that would change the view, and
    for a file that holds no configuration.
    """
    path = Path(given.dataset_name)
    asked = dict(_flatten(given.model_dump(mode="json", exclude_unset=True)))
    asked.pop("dataset_name")
    host = {name: value for name, value in asked.items() if _is_of_host(name)}
    for name in asked.keys() - host.keys():
        key = all_keys()[name]
        default = _JSON.dump_python(key.default, mode="json")
        if asked[name] != recorded.get(name, default):
            why = f"{path} is a view that is recorded"
            fix = "make another one with hffs view"
            raise ConfigError("cannot use", key.flag, why=why, fix=fix)
    if recorded.get("streaming") and not host.get("streaming", True):
        why = f"{path} was recorded of a source that is read where it lies"
        raise ConfigError("cannot use", "--no-streaming", why=why, fix="leave it out")
    _require_recorded(path, recorded)
    values = dict(recorded) | host
    if dataset_name is not None:
        values["dataset_name"] = dataset_name
    own = {"view_file": str(path), "seal": seal, "is_placed": dataset_name is not None}
    return _validate(path, values | own)


def _is_of_host(name: str) -> bool:
    """Whether a key is the host's to say, or the bundled tool's, which changes no view."""
    return name in (*_OF_HOST, *_OF_SOURCE) or all_keys()[name].for_tool


def _require_recorded(path: Path, recorded: Mapping[str, object]) -> None:
    """Refuse what no view is recorded with: the file is somebody else's."""
    others = sorted(recorded.keys() - _list_recorded())
    if others:
        raise ConfigError("cannot use view", str(path), why=f"it sets {others[0]!r}")
    if not str(recorded.get("dataset_name", "")).isprintable():
        why = "the name of its source has characters that cannot be shown"
        raise ConfigError("cannot use view", str(path), why=why)


def _validate(path: Path, values: Mapping[str, object]) -> RecordedConfig:
    nested: dict[str, object] = {}
    for name, value in values.items():
        block, _, leaf = name.rpartition(".")
        inside = nested.setdefault(block, {}) if block else nested
        if not isinstance(inside, dict):
            raise ConfigError("cannot use view", str(path), why=f"{block} is no block of keys")
        inside[leaf] = value
    try:
        return RecordedConfig.model_validate(nested)
    except ValidationError as error:
        names = {name: name for name in all_keys()}
        raise ConfigError("cannot use view", str(path), why=describe(error, names)) from error


def _list_recorded() -> set[str]:
    """The keys that decide a view or name its source."""
    keys = all_keys().values()
    return {key.name for key in keys if key.name not in _OF_HOST and not key.for_tool}


def _flatten(values: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Values by dotted names."""
    for name, value in values.items():
        if name not in all_keys() and isinstance(value, Mapping):
            yield from ((f"{name}.{inner}", inside) for inner, inside in value.items())
        else:
            yield name, value
