"""Where a configuration's source is on this host, if it needs no asking, downloading or preparing.

Owns what is kept of a source that took any of these (`hffs.data.locating.acquiring`): one JSON file
that says which files it came to. It runs at every mount and imports nothing slow.
Invariant: a record that is returned holds: every shard is there, of the size and time it had.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from hffs.config import Config
from hffs.config.recorded import RecordedConfig
from hffs.core.formats import Media
from hffs.data.folders import is_sealed, prepare_private_folder, seal, write_json
from hffs.data.hub.cached import is_commit
from hffs.data.hub.resolution import MAIN, Request
from hffs.data.locating.local import MEDIA_EXTENSIONS, list_files, locate_plain
from hffs.data.remote.files import is_elsewhere, split_query
from hffs.data.remote.troubles import show
from hffs.data.shards import Located, Pin, Shard, Term, make_key, parse_terms
from hffs.errors import ConfigError, HffsError, MountError

_HUB_URL = "hf://datasets/"
_HUB_ID = re.compile(r"[\w][\w.-]*/[\w][\w.-]*", re.ASCII)
_FILES = re.compile(r"\.(?:parquet|arrow|jsonl?|csv|tsv|tar|zip|txt|toml)$", re.IGNORECASE)
"""Ends of names that are files: a path that was misspelt is not asked of the Hub."""


@dataclass(frozen=True, slots=True)
class ViewSeal:
    """The view file that a source is recorded in, and what seals it (`hffs.data.viewfile`); the
    user has said where the source is, if `is_placed`.
    """

    file: Path
    seal: str
    is_placed: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """A source as a configuration names it; `split` may have slices and several terms.

    With `streaming`, what is on the Hub is read where it lies, as it is anywhere else but here. One
    that is `recorded` is no other than it was then.
    """

    request: Request
    split: str = "train"
    column: str | None = None
    streaming: bool = False
    recorded: ViewSeal | None = None

    @property
    def media(self) -> Media:
        """What is to be shown of it."""
        return self.request.media

    @property
    def is_local(self) -> bool:
        """Whether it is on this host, if it is anywhere."""
        return not is_hub_id(self.request.name) and not self.is_elsewhere

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is in an object store, or at an address of the web."""
        return is_elsewhere(self.request.name)

    @property
    def is_far(self) -> bool:
        """Whether its files are to be read where they lie."""
        return self.is_elsewhere or (self.streaming and not self.is_local)

    @property
    def is_pinned(self) -> bool:
        """Whether nobody has to be asked what is meant today."""
        request = self.request
        return request.offline or is_commit(request.revision) or self.recorded is not None


@dataclass(frozen=True, slots=True)
class Record:
    """What a source came to, and the `pin_files` of where it was found, as they were before.

    That is empty of what the Hub told, which a commit pins. Of what was found offline files may be
    missing, which nobody can tell: it is for those who do not ask either, until a file is added.
    """

    located: Located
    pin: str = ""


def is_hub_id(name: str) -> bool:
    """Whether a name that is no path on this host may be a repository on the Hub."""
    return _HUB_ID.fullmatch(name) is not None and _FILES.search(name) is None


def parse_name(name: str, revision: str) -> tuple[str, str]:
    """The id and revision that a name means: `hf://datasets/owner/name@v1` is one too.

    >>> parse_name("hf://datasets/owner/name@v1", "main")
    ('owner/name', 'v1')

    Raises ConfigError where the two disagree.
    """
    if not name.startswith(_HUB_URL):
        return name, revision
    short, _, quoted = name.removeprefix(_HUB_URL).strip("/").partition("@")
    own = unquote(quoted)  # refs%2Fconvert%2Fparquet, as huggingface_hub spells it
    if own and revision not in (own, MAIN):
        why, fix = f"{name} means revision {own}", "leave one of them out"
        raise ConfigError("cannot use revision", revision, why=why, fix=fix)
    return short, own or revision


def find_store(config: Config) -> Path:
    """Folder of everything that hffs keeps; made if need be."""
    store = Path(config.cache_dir) / "store"
    prepare_private_folder(store)
    return store


def name_source(config: Config) -> Wanted:
    """The source that a configuration asks for."""
    name, revision = parse_name(config.dataset_name, config.revision)
    request = Request(
        name,
        splits=tuple(dict.fromkeys(term.split for term in parse_terms(config.split))),
        config=config.config_name,
        revision=revision,
        data_files=config.data_files,
        offline=config.offline,
        token_file=config.token_file,
        media=config.dataset_type,
    )
    if is_elsewhere(name):
        _refuse_hub_keys(config, name)
    recorded = None
    if isinstance(config, RecordedConfig):
        recorded = ViewSeal(config.view_file, config.seal, config.is_placed)
    return Wanted(request, config.split, config.media_column, config.streaming, recorded)


def _refuse_hub_keys(config: Config, name: str) -> None:
    for key, value in (("config_name", config.config_name), ("revision", config.revision)):
        if value not in (None, MAIN):
            why, fix = f"{show(name)} is not on the Hub, which alone has any", "leave it out"
            raise ConfigError(f"cannot use {key}", str(value), why=why, fix=fix)


def find_source(wanted: Wanted, store: Path) -> Located | None:
    """The source, unless something has to be asked, downloaded or prepared first.

    Raises SourceError, AccessError or DataError where a local path is none.
    """
    if not wanted.is_local or wanted.recorded:
        return load_acquired(wanted, store) if wanted.is_pinned else None
    request = wanted.request
    if request.config is None and request.data_files is None:
        located = locate_plain(request.name, wanted.split)
        if located is not None:
            return located
    return load_acquired(wanted, store)


def load_acquired(wanted: Wanted, store: Path) -> Located | None:
    """The source as it was acquired, if all of it is still what it was."""
    record = read_record(wanted, store)
    if record is None or any(find_missing(record.located)):
        return None
    return record.located if record.pin == _find_pin(wanted, record) else None


def _find_pin(wanted: Wanted, record: Record) -> str:
    """The pin that a record has if it holds for who wants it now."""
    if wanted.recorded and not record.pin:  # each of its files is looked at
        return ""
    if wanted.is_local:
        return pin_files(wanted.request.name)
    if record.pin and wanted.request.offline:
        return pin_files(str(record.located.base))
    return ""


def read_record(wanted: Wanted, store: Path) -> Record | None:
    """What was acquired last, whatever became of its files."""
    try:
        fields = json.loads(_record_path(wanted, store).read_bytes())
        if not is_sealed(fields):
            return None
        return Record(_restore(fields["located"]), str(fields["pin"]))
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        # None, or one of another release, or damaged.
        return None


def find_missing(located: Located) -> Iterator[str]:
    """Names of the shards, and of the files of a commit, that are not what they were."""
    shards = {shard.name for shard in located.shards}
    for shard in located.shards:
        if shard.is_remote:  # what pins it is asked where it is read
            continue
        try:
            found = shard.path.stat()
        except OSError:
            yield shard.name
        else:
            if (found.st_size, found.st_mtime_ns) != (shard.size_bytes, shard.mtime_ns):
                yield shard.name
    if located.listing is not None and not located.listing.is_dir():
        yield f"the listing of {located.name}"
    if located.commit and located.base is not None and not located.is_remote:
        # A table made of them outlives a cache that is cleared, and then names what is gone.
        files = (pin for pin in located.pins[1:] if pin.name not in shards)
        yield from (pin.name for pin in files if not _is_there(located.base, pin))


def _is_there(base: Path, pin: Pin) -> bool:
    try:
        if pin.name.endswith("/"):  # of many files, which are not looked at one by one
            return base.is_dir()
        return os.stat(os.path.join(base, pin.name)).st_size == pin.size_bytes
    except OSError:
        return False


def keep_acquired(wanted: Wanted, store: Path, record: Record) -> None:
    """Write the record, whole or not at all, in the place of the one before.

    Raises MountError where it cannot be written.
    """
    path = _record_path(wanted, store)
    try:
        write_json(path, seal(asdict(record)))
    except OSError as error:
        why, fix = error.strerror or str(error), "free or choose another cache_dir"
        raise MountError("cannot write", str(path), why=why, fix=fix) from error


def is_prepared(folder: Path, store: Path) -> bool:
    """Whether a shard's folder is one of tables that hffs made."""
    return folder.parent == store / "prepared"


def _record_path(wanted: Wanted, store: Path) -> Path:
    request = wanted.request
    files = request.data_files
    name, _ = split_query(request.name)  # a signature is new each day, and belongs into no cache
    asked: list[Any] = [name, request.config, wanted.split, wanted.column]
    if wanted.media != "image":
        asked.append(wanted.media)
    asked.append(sorted(files.items()) if isinstance(files, Mapping) else files)
    if wanted.is_far:
        asked.append("streaming")
    if wanted.recorded:
        asked.append(wanted.recorded.seal)
    return store / "sources" / f"{make_key(asked, request.revision)}.json"


def pin_files(name: str) -> str:
    """What changes when local files do, by a look at each folder rather than each of its images.

    One that is added, removed or renamed changes its folder; one that is overwritten is seen
    where its bytes are indexed. So with videos and sounds. Empty where there are none.
    """
    try:
        listed = list_files(name)
    except HffsError:
        return ""
    others = (path for path in listed if os.path.splitext(path)[1].lower() not in MEDIA_EXTENSIONS)
    looked_at = sorted({*others, *map(os.path.dirname, listed)})
    return make_key([_pin_path(Path(path)) for path in looked_at])


def _pin_path(path: Path) -> list[Any]:
    try:
        found = path.stat()
    except OSError:
        return [str(path)]
    return [str(path), found.st_size, found.st_mtime_ns]


def _restore(fields: Mapping[str, Any]) -> Located:
    """A record back from JSON."""
    return Located(
        name=str(fields["name"]),
        root=Path(fields["root"]),
        shards=tuple(Shard(**each | {"path": Path(each["path"])}) for each in fields["shards"]),
        terms=tuple((Term(**term), int(count)) for term, count in fields["terms"]),
        base=None if fields["base"] is None else Path(fields["base"]),
        commit=str(fields["commit"]),
        pins=tuple(Pin(**each) for each in fields["pins"]),
        features=str(fields["features"]),
        address=str(fields["address"]),
        listing=None if fields["listing"] is None else Path(fields["listing"]),
    )
