"""A process that asks the Hub as the child of a mount does: one JSON task a line, one answer each.

Both libraries read their environment when they are imported, so this is a program of its own; it
stays, because importing them takes longer than most tests.
"""

import dataclasses
import json
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hffs.config import build_config
from hffs.data.hub.cached import cached_commit
from hffs.data.hub.fetch import fetch
from hffs.data.hub.model_files import find_vae
from hffs.data.hub.models import (
    HubAccess,
    HubModel,
    fetch_model,
    list_model,
    parse_model,
    pin_model,
)
from hffs.data.hub.plain import resolve_plain
from hffs.data.hub.resolution import HubFile, Request
from hffs.data.hub.resolve import find_files, read_commit, resolve
from hffs.data.hub.resolve_local import resolve_local, resolve_snapshot
from hffs.data.hub.retrying import Patience
from hffs.data.locating.acquiring import acquire
from hffs.data.locating.record import Wanted, find_store, name_source
from hffs.errors import HffsError
from tests.data.media import read_cells, tell


def _as_request(task: dict[str, Any]) -> Request:
    given = dict(task["request"])
    if "splits" in given:
        given["splits"] = tuple(given["splits"])
    if token_file := given.get("token_file"):
        given["token_file"] = Path(token_file)
    return Request(**given)


def _fetch(task: dict[str, Any]) -> dict[str, Any]:
    seen: list[list[int]] = []

    def progress(done: int, total: int) -> None:
        seen.append([done, total])

    files = [HubFile(**file) for file in task["files"]]
    patience = Patience(**task.get("patience", {}))
    folder = fetch(_as_request(task), task["commit"], files, progress, patience)
    return {"folder": str(folder), "progress": seen}


def _resolve(task: dict[str, Any]) -> dict[str, Any]:
    request = _as_request(task)
    commit = task.get("commit") or read_commit(request)
    return dataclasses.asdict(resolve(request, commit))


def _resolve_plain(task: dict[str, Any]) -> dict[str, Any] | None:
    found = resolve_plain(_as_request(task), task["commit"])
    return None if found is None else dataclasses.asdict(found.resolution)


def _resolve_snapshot(task: dict[str, Any]) -> dict[str, Any]:
    return dataclasses.asdict(resolve_snapshot(_as_request(task), Path(task["folder"])))


def _find_files(task: dict[str, Any]) -> list[dict[str, Any]]:
    found = find_files(_as_request(task), task["commit"], task["names"])
    return [dataclasses.asdict(file) for file in found]


class _Told:
    """A watcher that remembers what was worked on."""

    def __init__(self) -> None:
        self.work: list[str] = []

    def progress(self, what: str, done: int, total: int, unit: str = "") -> None:
        self.work.append(what)

    def notice(self, text: str) -> None:
        self.work.append(text)


def _want(task: dict[str, Any]) -> tuple[Wanted, Path]:
    config = build_config(task["request"]["name"], task["keys"], None, os.environ)
    wanted = name_source(config)
    media = task["request"].get("media", wanted.media)
    request = dataclasses.replace(wanted.request, media=media)
    return dataclasses.replace(wanted, request=request), find_store(config)


def _read_media(task: dict[str, Any]) -> dict[str, Any]:
    wanted, store = _want(task)
    told = _Told()
    located = acquire(wanted, store, told)
    with tempfile.TemporaryDirectory() as folder:
        cells, dropped = read_cells(located, wanted, Path(folder))
    return {"cells": tell(cells), "dropped": dropped, "work": told.work}


def _acquire(task: dict[str, Any]) -> dict[str, Any]:
    (wanted, store), told = _want(task), _Told()
    located = acquire(wanted, store, told)
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(located), default=str))
    return plain | {"work": told.work}


def _model(task: dict[str, Any]) -> tuple[HubModel, HubAccess]:
    request = _as_request(task)
    return parse_model(request.name), HubAccess(request.offline, request.token_file)


def _pin_model(task: dict[str, Any]) -> str:
    return str(pin_model(*_model(task)))


def _fetch_vae(task: dict[str, Any]) -> str:
    model, access = _model(task)
    listed = {file.name: file for file in list_model(model, access)}
    names = {"model_index.json"} & set(listed)
    wanted = [*find_vae(set(listed), model.folder, str(model)).files, *names]
    return str(fetch_model(model, [listed[name] for name in wanted], access))


def _fetch_named(task: dict[str, Any]) -> str:
    model, access = _model(task)
    files = [file for file in list_model(model, access) if file.name in task["names"]]
    return str(fetch_model(model, files, access))


def _identify_text(task: dict[str, Any]) -> dict[str, Any]:
    # Late: they bring torch, which no other verb takes.
    from hffs.train.caching.encoders import TextSpec
    from hffs.train.caching.encoders.opening import open_text_encoder, pin

    request = _as_request(task)
    access = HubAccess(request.offline, request.token_file)
    spec = pin(TextSpec((request.name,)), access)
    return {"model": spec.models[0], "facts": dict(open_text_encoder(spec, access).identify())}


VERBS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "resolve": _resolve,
    "resolve_plain": _resolve_plain,
    "resolve_local": lambda task: dataclasses.asdict(resolve_local(_as_request(task))),
    "resolve_snapshot": _resolve_snapshot,
    "read_commit": lambda task: read_commit(_as_request(task)),
    "find_files": _find_files,
    "fetch": _fetch,
    "pin_model": _pin_model,
    "fetch_vae": _fetch_vae,
    "identify_text": _identify_text,
    "fetch_named": _fetch_named,
    "acquire": _acquire,
    "read_media": _read_media,
    "cached_commit": lambda task: cached_commit(_as_request(task)),
}
_APART = ("acquire", "read_media")


def _answer(task: dict[str, Any]) -> dict[str, Any]:
    try:
        return {"value": VERBS[task["verb"]](task)}
    except HffsError as error:
        return {"error": str(error), "kind": type(error).__name__}


def _answer_apart(task: dict[str, Any]) -> dict[str, Any]:
    """The answer of a child: where tables are made, the libraries are told to ask nobody."""
    import datasets  # noqa: F401 - once, rather than in each child

    receiving, sending = os.pipe()
    child = os.fork()
    if not child:
        with os.fdopen(sending, "w") as out:
            json.dump(_answer(task), out)
        os._exit(0)
    os.close(sending)
    with os.fdopen(receiving) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    found: dict[str, Any] = json.loads(text)
    return found


def main() -> None:
    for line in sys.stdin:
        task = json.loads(line)
        answer = _answer_apart(task) if task["verb"] in _APART else _answer(task)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
