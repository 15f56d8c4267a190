"""From what a user gave, a source and flags, to one Config, or one for each entry of a file.

Owns precedence (flags over the file over defaults) and what depends on the host: `~`, relative
paths, the default of `cache_dir`. The environment comes in as a mapping.
Invariants: every path of a Config is absolute, so that a daemon may change its folder; whatever
was given, the outcome is a Config (of several entries: each one) or one ConfigError.
"""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from pydantic import ValidationError

from hffs.config.entries import Entry, Values, classify, flatten, make_id
from hffs.config.files import is_config_file, read_entries
from hffs.config.idle import is_of_mounts
from hffs.config.keys import Kind, all_keys
from hffs.config.model import Config
from hffs.config.problems import describe, show, show_name, unknown_key
from hffs.errors import ConfigError

log = logging.getLogger(__name__)

_NO_PATH = re.compile(r"[\w-][\w.-]*(?:/[\w-][\w.-]*)?|[A-Za-z][A-Za-z0-9+.-]*://.*", re.ASCII)
"""What may be an id on the Hub, or is a URL."""

_TRUE = ("1", "ON", "YES", "TRUE")
"""What huggingface_hub takes for yes."""

_OF_ONE_ENTRY = ("id", "dataset_name")
"""Keys whose flag would make all entries of a file the same one."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is mounted of a source, in its order; `skipped` says why each other entry is not."""

    configs: tuple[Config, ...]
    skipped: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Given:
    """What the user gave: `origin` names it in messages."""

    origin: str
    values: Values
    flags: Mapping[str, object]
    notice: str = ""


def load_file(path: Path) -> tuple[Entry, ...]:
    """All entries of a config file; of those that cannot be mounted, only why. Raises ConfigError.

    The values of an entry are checked by `build_config`, when it is the one that is asked for.
    """
    return tuple(classify(raw) for raw in read_entries(path))


def has_several_mounts(path: Path) -> bool:
    """Whether mounting a config file makes a folder for each of its entries. Raises ConfigError."""
    return sum(not entry.skipped for entry in load_file(path)) > 1


def find_mount_folder(config: Config, mounted: Path, *, several: bool) -> Path:
    """Where the files of a data set are, of a file that is mounted on a folder."""
    return mounted / config.id if several else mounted


def build_config(
    source: str, flags: Mapping[str, object], entry: str | None, environ: Mapping[str, str]
) -> Config:
    """The configuration for a source: a data set (path or Hub id) or a config file.

    `flags` are values by dotted key names, as JSON would have them; `entry` is the id of the entry
    to take of a file with several, which otherwise are an error. Raises ConfigError.
    """
    if not is_config_file(source):
        return _build(_give_data_set(source, flags, entry), environ)
    chosen = _choose(load_file(Path(source)), entry, source)
    if len(chosen) > 1:
        ids = _list_ids(chosen)
        _fail(source, f"it has several entries: {ids}", "choose one by --entry ID")
    return _build(_give_entry(chosen[0], source, flags), environ)


def build_configs(
    source: str,
    flags: Mapping[str, object],
    entry: str | None,
    environ: Mapping[str, str],
    *,
    folders: bool = False,
) -> Chosen:
    """The configurations of all entries of a source that are mounted, each with an id of its own.

    Arguments as for `build_config`; `flags` go over every entry. With `folders`, entries of type
    `local` are among them. Raises ConfigError; where there are several entries it names the one
    that is wrong.
    """
    entries = load_file(Path(source)) if is_config_file(source) else ()
    chosen = _choose(entries, entry, source, folders=folders) if entries else ()
    if len(chosen) < 2:
        if chosen:
            config = _build(_give_entry(chosen[0], source, flags), environ)
        else:
            config = _build(_give_data_set(source, flags, entry), environ)
        _refuse_folders((config,), source, folders=folders)
        return Chosen((config,))
    _refuse_flags_of_one(source, flags, chosen)
    configs = tuple(_build_one_of_several(one, source, flags, environ) for one in chosen)
    _check_ids(source, Counter(config.id for config in configs))
    _refuse_folders(configs, source, folders=folders)
    used = set(map(id, chosen))
    skipped = (_describe_skipped(one) for one in entries if id(one) not in used)
    return Chosen(configs, tuple(skipped))


def build_folder(folder: str, flags: Mapping[str, object], environ: Mapping[str, str]) -> Config:
    """The configuration of a folder, as of an entry of type `local`.

    Raises ConfigError, also for a flag that only a mount could heed.
    """
    keys = all_keys()
    idle = next((name for name in flags if name in keys and is_of_mounts(keys[name])), None)
    if idle is not None:
        why = f"{folder} is a folder, and a folder has all of its files"
        fix = "mount the data set with it"
        raise ConfigError("cannot use", keys[idle].flag, why=why, fix=fix)
    name = make_id(os.path.abspath(folder))
    values: Values = {"type": "local", "instance_data_dir": folder, "id": name}
    return _build(_Given(f"the flags for {folder}", values, flags), environ)


def _refuse_folders(configs: Sequence[Config], source: str, *, folders: bool) -> None:
    if not folders and any(config.type == "local" for config in configs):
        why, fix = "type local is a folder already", "give it to hffs bucket"
        raise ConfigError("cannot mount", source, why=why, fix=fix)


def _give_data_set(source: str, flags: Mapping[str, object], entry: str | None) -> _Given:
    if entry is not None:
        why = f"{source} is a data set, not a file with entries"
        raise ConfigError("cannot use", f"--entry {entry}", why=why)
    if "dataset_name" in flags:
        why = f"{source} is a data set already"
        raise ConfigError("cannot use", "--dataset-name", why=why, fix="leave one of them out")
    return _Given(f"the flags for {source}", {"dataset_name": source}, flags)


def _give_entry(entry: Entry, source: str, flags: Mapping[str, object]) -> _Given:
    origin = f"config {source}"
    values, ignored = flatten(entry.raw, origin)
    if entry.is_folder:
        values = {"type": "local", "id": entry.id} | values
    where = f"entry {show_name(entry.id)} of {source}" if entry.id else source
    words = f"ignored in {where}, only a trainer reads it: {', '.join(sorted(ignored))}"
    return _Given(origin, values, flags, words if ignored else "")


def _build(given: _Given, environ: Mapping[str, str]) -> Config:
    for name in given.flags:
        if name not in all_keys():
            raise unknown_key(given.origin, "", name, all_keys())
    values = _place(given.values | dict(given.flags), environ, given.origin)
    values.setdefault("id", make_id(str(values.get("dataset_name", ""))))
    try:
        config = Config.model_validate(_nest(values))
    except ValidationError as error:
        flags = given.flags
        names = {name: key.flag if name in flags else name for name, key in all_keys().items()}
        why = describe(error, names)
        raise ConfigError("cannot use", given.origin, why=why) from error
    if given.notice:  # not above a line that says what is wrong
        log.info("%s", given.notice)
    return config


def _build_one_of_several(
    entry: Entry, source: str, flags: Mapping[str, object], environ: Mapping[str, str]
) -> Config:
    try:
        return _build(_give_entry(entry, source, flags), environ)
    except ConfigError as error:
        raise error.within(f"entry {show_name(entry.id)}") from error


def _refuse_flags_of_one(source: str, flags: Mapping[str, object], chosen: Sequence[Entry]) -> None:
    for name in _OF_ONE_ENTRY:
        if name in flags:
            why = f"{source} has several entries: {_list_ids(chosen)}"
            flag = all_keys()[name].flag
            raise ConfigError("cannot use", flag, why=why, fix="choose one by --entry ID")


def _check_ids(source: str, counts: Counter[str]) -> None:
    twice = next((name for name, count in counts.items() if count > 1), None)
    if twice is not None:
        why = f"it has several entries with the id {show_name(twice)}"
        _fail(source, why, "give each an id of its own")


def _describe_skipped(entry: Entry) -> str:
    return f"{show_name(entry.id)} ({entry.skipped})"


def _list_ids(entries: Sequence[Entry]) -> str:
    return ", ".join(show_name(entry.id) for entry in entries)


def _choose(
    entries: Sequence[Entry], wanted: str | None, source: str, *, folders: bool = False
) -> Sequence[Entry]:
    if wanted is not None:
        return [_choose_by_id(entries, wanted, source, folders=folders)]
    chosen = [entry for entry in entries if entry.is_used(folders=folders)]
    if not chosen:
        _fail(source, "; ".join(f"{entry.id}: {entry.skipped}" for entry in entries))
    return chosen


def _choose_by_id(entries: Sequence[Entry], wanted: str, source: str, *, folders: bool) -> Entry:
    found = [entry for entry in entries if entry.id == wanted]
    if not found:
        ids = ", ".join(entry.id for entry in entries if entry.is_used(folders=folders))
        _fail(source, f"it has no entry {wanted}", f"it has {ids}" if ids else "")
    if len(found) > 1:
        _fail(source, f"it has several entries with the id {wanted}")
    if not found[0].is_used(folders=folders):
        _fail(source, f"entry {wanted} cannot be mounted: {found[0].skipped}")
    return found[0]


def _fail(source: str, why: str, fix: str = "") -> NoReturn:
    raise ConfigError("cannot use config", source, why=why, fix=fix)


def _place(values: Values, environ: Mapping[str, str], origin: str) -> Values:
    """Make every path absolute, and say where the cache is."""
    home = environ.get("HOME", "")
    placed = {"cache_dir": _cache_dir(environ)} | values
    for name, value in placed.items():
        is_path = all_keys()[name].kind is Kind.PATH
        if not value or not isinstance(value, str) or not (is_path or name == "dataset_name"):
            continue
        if value == "~" or value.startswith("~/"):
            if not home:
                why = f"{name}: {show(value)} means a home, and HOME is not set"
                raise ConfigError("cannot use", origin, why=why)
            value = home + value[1:]
        if is_path or not _NO_PATH.fullmatch(value) or os.path.lexists(value):
            value = os.path.abspath(value)
        placed[name] = value
    if _is_offline(environ):
        placed["offline"] = True
    return placed


def _is_offline(environ: Mapping[str, str]) -> bool:
    """Whether the libraries of Hugging Face are told to ask nobody: with it nothing could be."""
    hub = environ.get("HF_HUB_OFFLINE") or environ.get("TRANSFORMERS_OFFLINE", "")
    return any(text.upper() in _TRUE for text in (hub, environ.get("HF_DATASETS_OFFLINE", "")))


def _cache_dir(environ: Mapping[str, str]) -> str:
    """As the XDG base directory specification has it: a relative path there does not count."""
    base = environ.get("XDG_CACHE_HOME", "")
    return f"{base if base.startswith('/') else '~/.cache'}/hffs"


def _nest(values: Values) -> Values:
    """Dotted names as blocks again."""
    blocks: dict[str, Values] = {}
    for name, value in values.items():
        block, _, leaf = name.rpartition(".")
        blocks.setdefault(block, {})[leaf] = value
    return blocks.pop("", {}) | blocks
