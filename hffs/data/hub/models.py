"""Files of models: which commit a name means, what is there, and the files that are wanted.

Owns asking the Hub about a repository of a model; the transfer is `hffs.data.hub.fetch`, into the
ordinary cache, where other programs find the files. Which of them a model is made of is told by
`hffs.data.hub.model_files`. Invariants: only a pinned model is listed or fetched, so that every
host means the same files; nothing that could be code, or hold any, is fetched.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hffs.data.hub.cached import cached_commit, is_commit, is_plain, snapshot_folder
from hffs.data.hub.failures import ask, hub_errors
from hffs.data.hub.fetch import fetch_files, remember_revision
from hffs.data.hub.libraries import set_up_hub
from hffs.data.hub.messages import refuse_offline
from hffs.data.hub.questions import ask_commit, list_files
from hffs.data.hub.resolution import MAIN, HubFile, Request
from hffs.errors import DataError, UsageError

_ADDRESS = re.compile(
    r"(?P<name>\w[\w.-]*/\w[\w.-]*)(?:@(?P<revision>refs/pr/\d+|[^/@]+))?(?:/(?P<folder>.+))?",
    re.ASCII,
)
_SAFE = (".safetensors", ".safetensors.index.json", ".json", ".txt", ".model")
"""Ends of names that are fetched: weights that hold no code, configurations, vocabularies."""

_MOST_FILES = 100_000
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class HubAccess:
    """How models are come by: whether anyone may be asked, and the file of a token.

    `digests` is a folder that remembers the digests of large files that are no part of the Hub's
    cache; without it they are computed each time.
    """

    offline: bool = False
    token_file: Path | None = None
    digests: Path | None = None


@dataclass(frozen=True, slots=True)
class HubModel:
    """A model on the Hub, or a part of it: `folder` is where in the repository, "" its root."""

    name: str
    revision: str = MAIN
    folder: str = ""

    def __str__(self) -> str:
        revision = "" if self.revision == MAIN else f"@{self.revision}"
        return f"{self.name}{revision}" + (f"/{self.folder}" if self.folder else "")


def parse_model(address: str) -> HubModel:
    """Read `OWNER/NAME[@REVISION][/FOLDER]`; UsageError if it is none.

    >>> parse_model("ann/model@v1/vae")
    HubModel(name='ann/model', revision='v1', folder='vae')
    """
    found = _ADDRESS.fullmatch(address)
    folder = (found["folder"] or "").rstrip("/") if found else ""
    if not found or ".." in found["name"] or (folder and not is_plain(folder)):
        why = "it is no folder here, and a model on the Hub is OWNER/NAME[@REVISION][/FOLDER]"
        raise UsageError("cannot find model", repr(address[:200]), why=why, fix="check the name")
    return HubModel(found["name"], found["revision"] or MAIN, folder)


def pin_model(model: HubModel, access: HubAccess) -> HubModel:
    """The same model at the commit that its revision means now.

    Offline it is the commit that it meant when it was last asked for. Raises SourceError.
    """
    if is_commit(model.revision):
        return model
    request = _request(model, access)
    with hub_errors(request):
        set_up_hub()
        commit = _cached(request) if _is_offline(access) else _ask_commit(request)
    return HubModel(model.name, commit, model.folder)


def list_model(model: HubModel, access: HubAccess) -> tuple[HubFile, ...]:
    """Every file below the folder of a pinned model, with its path in the repository.

    Offline, those that are cached, and their etags are not known. Raises SourceError, DataError.
    """
    request = _request(model, access)
    with hub_errors(request):
        set_up_hub()
        listed = _walk(model) if _is_offline(access) else _ask_files(request, model)
    if not listed and _is_offline(access):
        raise refuse_offline(str(model), "none of it is on this host", "model")
    return listed


def fetch_model(
    model: HubModel,
    files: Sequence[HubFile],
    access: HubAccess,
    progress: Progress = lambda done, total: None,
) -> Path:
    """The folder of the commit, with these files in it. Raises SourceError, DataError.

    A file that might hold code is refused: its name is for whoever chose it to check.
    """
    for file in files:
        if not file.name.endswith(_SAFE):
            why = "only safetensors, JSON and vocabularies are"
            raise DataError("will not fetch", f"{file.name} of {model.name}", why=why)
    if _is_offline(access):
        return snapshot_folder(model.name, model.revision, "model")
    return fetch_files(_request(model, access), model.revision, files, progress)


def _request(model: HubModel, access: HubAccess) -> Request:
    return Request(
        model.name,
        revision=model.revision,
        offline=access.offline,
        token_file=access.token_file,
        kind="model",
    )


def _is_offline(access: HubAccess) -> bool:
    from huggingface_hub import constants

    return access.offline or constants.HF_HUB_OFFLINE


def _cached(request: Request) -> str:
    commit = cached_commit(request)
    if commit is None:
        why = f"its {request.revision} is not on this host"
        raise refuse_offline(request.name, why, "model")
    return commit


def _ask_commit(request: Request) -> str:
    commit = ask_commit(request)
    with suppress(OSError):  # the cache may be another's; it only matters offline
        remember_revision(request, commit)
    return commit


def _ask_files(request: Request, model: HubModel) -> tuple[HubFile, ...]:
    def list_tree() -> tuple[HubFile, ...]:
        listed: list[HubFile] = []
        for file in list_files(request, model.revision):
            if len(listed) > _MOST_FILES:
                why = f"it has more than {_MOST_FILES:,} files"
                raise DataError("cannot use", request.name, why=why)
            if _is_below(file.name, model.folder):
                listed.append(file)
        return tuple(listed)

    return ask(list_tree, request)


def _walk(model: HubModel) -> tuple[HubFile, ...]:
    root = snapshot_folder(model.name, model.revision, "model")
    found = []
    for at, _, names in os.walk(root):
        paths = [Path(at, name) for name in sorted(names)]
        found += [(path.relative_to(root).as_posix(), path) for path in paths if path.is_file()]
    return tuple(
        HubFile(name, path.stat().st_size, "")
        for name, path in sorted(found)
        if _is_below(name, model.folder)
    )


def _is_below(name: str, folder: str) -> bool:
    """Whether a file is in a folder, or in one beside it that its tokenizer may be in."""
    above = folder.rpartition("/")[0]
    return not above or name.startswith(f"{above}/")
