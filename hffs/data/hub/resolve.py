"""Which files a request means: the Hub is asked, and the rules of `datasets` are followed.

The order matters. The commit comes first, from a question whose errors are honest; everything
after it names that commit, because `datasets` by itself reads an older copy when something fails,
and is believed only where each file lies at that commit. What a data set says about itself
(README.md) is untrusted: it may name files of its own only, and is looked at before `datasets` is.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from hffs.data.hub import card
from hffs.data.hub.cached import is_plain
from hffs.data.hub.classes import class_options
from hffs.data.hub.failures import ask, hub_errors
from hffs.data.hub.fetch import fetch_files
from hffs.data.hub.libraries import set_up_datasets, set_up_hub, without_warnings
from hffs.data.hub.media import FOLDERS, choosing_builder, keep_own, require_medium
from hffs.data.hub.messages import endpoint, refuse_offline
from hffs.data.hub.questions import as_hub_file, ask_commit, open_api
from hffs.data.hub.resolution import HubFile, Request, Resolution
from hffs.data.hub.token import Token
from hffs.data.shards import unknown_split
from hffs.errors import DataError, SourceError

READ = ("parquet", "arrow", *FOLDERS, "webdataset", "json", "csv", "text")
"""Formats, as `datasets` calls them, that become rows here."""

_IN_PLACE = {"parquet": "Parquet", "arrow": "Arrow", "webdataset": "tar"}
"""Formats whose files are served where they lie, which is in no archive."""

_BATCH = 500
_NOT_OPTIONS = {"name", "version", "data_dir", "data_files", "description", "features"}


def read_commit(request: Request) -> str:
    """Return the commit that the revision means now."""
    with hub_errors(request):
        set_up_hub()
        from huggingface_hub.utils import validate_repo_id

        validate_repo_id(request.name)
        return ask_commit(request)


def find_files(request: Request, commit: str, names: Sequence[str]) -> list[HubFile]:
    """Return those of the named files that the repository has at a commit, in the order given."""
    with hub_errors(request):
        set_up_hub()
        return _find_files(request, commit, names)


def resolve(request: Request, commit: str) -> Resolution:
    """Return what a request means on the Hub at a commit."""
    with hub_errors(request), without_warnings(), tempfile.TemporaryDirectory() as scratch:
        set_up_datasets()
        _check_patterns(request)
        _check_card(request, commit)
        builder = _open_builder(request, commit, scratch)
        files = _names_at(request, commit, chosen_files(request, builder))
        known = {
            file.name: file
            for file in _find_files(request, commit, sorted({n for f in files.values() for n in f}))
        }
        pinned = {split: _pinned(request, known, names) for split, names in files.items()}
        return describe(request, builder, commit, pinned)


def _find_files(request: Request, commit: str, names: Sequence[str]) -> list[HubFile]:
    from huggingface_hub.hf_api import RepoFile

    api = open_api(request)
    found: dict[str, HubFile] = {}
    for at in range(0, len(names), _BATCH):
        find_info = partial(
            api.get_paths_info,
            request.name,
            list(names[at : at + _BATCH]),
            repo_type="dataset",
            revision=commit,
        )
        for entry in ask(find_info, request):
            if isinstance(entry, RepoFile):
                found[entry.path] = as_hub_file(entry)
    return [found[name] for name in names if name in found]


def _check_card(request: Request, commit: str) -> None:
    """Fetch the files in which a data set describes itself, and refuse what reaches beyond it."""
    files = _find_files(request, commit, card.NAMES)
    for file in files:
        card.check_size(request.name, file.name, file.size_bytes)
    folder = fetch_files(request, commit, files, lambda done, total: None)
    card.check(request.name, [folder / file.name for file in files])


def _open_builder(request: Request, commit: str, scratch: str) -> Any:
    from datasets import load_dataset_builder

    # With its scheme, a folder of that name here is not taken for it.
    with choosing_builder(request.media):
        return load_dataset_builder(
            f"hf://datasets/{request.name}",
            request.config,
            data_files=as_data_files(request),
            revision=commit,
            token=Token(request).read() or False,
            cache_dir=scratch,
        )


def as_data_files(request: Request) -> Any:
    """Return the files of a request as `datasets` takes them."""
    given = request.data_files
    if isinstance(given, Mapping):
        return {split: list(paths) for split, paths in given.items()}
    return None if given is None else list(given)


def _check_patterns(request: Request) -> None:
    given = request.data_files or ()
    groups = given.values() if isinstance(given, Mapping) else [given]
    for pattern in (pattern for group in groups for pattern in group):
        if not is_plain(pattern.rstrip("/")) or "://" in pattern or "::" in pattern:
            fix = "give paths inside the data set"
            why = "it is not inside the data set"
            raise SourceError("cannot use data_files", repr(pattern), why=why, fix=fix)


def chosen_files(request: Request, builder: Any) -> dict[str, list[str]]:
    """Return the paths of each split that was asked for. Raises SourceError, DataError."""
    kind = type(builder).__module__.rpartition(".")[2]
    if kind not in READ:
        why = f"its format, {kind}, is not one that is read"
        fix = "formats: " + ", ".join(READ)
        raise DataError("cannot use", request.name, why=why, fix=fix)
    require_medium(request.name, kind, request.media)
    present = {
        split: keep_own(builder, kind, list(map(str, files)))
        for split, files in (builder.config.data_files or {}).items()
    }
    for split in request.splits:
        if split not in present:
            if request.offline:
                raise refuse_offline(request.name, f"its split {split} is not on this host")
            raise unknown_split(request.name, split, present)
        if not present[split]:
            why = "no file of it is in a format that is read"
            raise DataError("cannot use split", f"{split} of {request.name}", why=why)
    chosen = {split: present[split] for split in request.splits}
    _refuse_packed(request, kind, chosen)
    return chosen


def _refuse_packed(request: Request, kind: str, files: Mapping[str, list[str]]) -> None:
    """Refuse, before it is downloaded, what would then be called broken."""
    packed = [path for paths in files.values() for path in paths if path.lower().endswith(".zip")]
    if kind in _IN_PLACE and packed:
        why = f"{_IN_PLACE[kind]} files in a zip ({os.path.basename(packed[0])}) are not read"
        raise DataError("cannot use", request.name, why=why, fix="unpack it, and mount its folder")


def _names_at(
    request: Request, commit: str, files: Mapping[str, list[str]]
) -> dict[str, list[str]]:
    """Return names inside the repository; refuses what `datasets` took from anywhere else."""
    start = f"hf://datasets/{request.name}@{commit}/"
    for path in (path for paths in files.values() for path in paths):
        if not path.startswith(start) or not is_plain(path[len(start) :]):
            why = f"datasets would read {path[:200]!r}, which is not at commit {commit[:12]}"
            fix = "clear its cache, or try again"
            raise SourceError("cannot read", request.name, why=why, fix=fix)
    return {split: [path[len(start) :] for path in paths] for split, paths in files.items()}


def _pinned(
    request: Request, known: Mapping[str, HubFile], names: Sequence[str]
) -> tuple[HubFile, ...]:
    if missing := [name for name in names if name not in known]:
        why = f"{endpoint()} lists {missing[0]!r}, and then does not know it"
        raise SourceError("cannot read", request.name, why=why, fix="try again")
    return tuple(known[name] for name in names)


def describe(
    request: Request, builder: Any, commit: str, files: Mapping[str, tuple[HubFile, ...]]
) -> Resolution:
    """Return what `datasets` found out, in plain values. Raises DataError."""
    config, features = builder.config, builder.info.features
    declared = features.to_dict() if features is not None else None
    options = {
        field.name: getattr(config, field.name)
        for field in dataclasses.fields(config)
        if field.name not in _NOT_OPTIONS and not _is_default(field, getattr(config, field.name))
    }
    try:
        json.dumps([options, declared])
    except (TypeError, ValueError) as error:
        why = "its README.md gives options that are not plain values"
        raise DataError("cannot use", request.name, why=why) from error
    kind = type(builder).__module__.rpartition(".")[2]
    if kind in FOLDERS:
        options |= class_options(builder, FOLDERS[kind])
    return Resolution(request.name, commit, str(config.name), kind, options, files, declared)


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    if field.default_factory is not dataclasses.MISSING:
        return bool(value == field.default_factory())
    return type(value) is type(field.default) and bool(value == field.default)


def local_file(path: str) -> HubFile:
    """Return a file of this host, pinned by what `stat` says."""
    found = os.stat(path)
    return HubFile(path, found.st_size, f"{found.st_size}-{found.st_mtime_ns}")
