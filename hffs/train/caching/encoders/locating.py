"""Where the files of a model are: in a folder, or brought from the Hub into its cache.

Owns finding them and what they say: configurations and digests. Must not know the libraries that
load them. Nothing in a folder is executed; a configuration is JSON of a bounded size.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from hffs.data.hub import model_files
from hffs.data.hub.model_files import CONFIG, INDEX, Part, join
from hffs.data.hub.models import (
    HubAccess,
    HubModel,
    fetch_model,
    list_model,
    parse_model,
    pin_model,
)
from hffs.errors import DataError, UsageError
from hffs.train.caching.encoders import TextSpec, VaeSpec
from hffs.train.caching.encoders.digests import digest_file

S = TypeVar("S", bound=VaeSpec | TextSpec)

_MOST_CONFIG_BYTES = 4 << 20
_VOLATILE = {
    "_name_or_path", "_commit_hash", "_diffusers_version", "transformers_version", "torch_dtype",
    "dtype", "architectures", "_use_default_values",
}  # fmt: skip
"""What a configuration says of who wrote it, and the type of numbers, which is asked for."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model on this host: `part` is relative to `root`, `name` is the model in messages.

    `pipeline` is the class of the pipeline that it is a part of, "" if of none.
    """

    name: str
    root: Path
    part: Part
    pipeline: str
    access: HubAccess

    @property
    def folder(self) -> Path:
        """Where its configuration and weights are."""
        return self.root / self.part.folder

    @property
    def tokenizer(self) -> Path:
        """Where its tokenizer is."""
        return self.root / (self.part.tokenizer or "")

    def read_config(self) -> dict[str, Any]:
        """Its `config.json`. Raises DataError."""
        return read_json(self.folder / CONFIG, self.name)

    def digest_weights(self) -> dict[str, str]:
        """The SHA-256 of each of its files of weights. Raises DataError."""
        return self._digest(self.folder, self.part.weights)

    def digest_tokenizer(self) -> dict[str, str]:
        """The SHA-256 of each file of its tokenizer. Raises DataError."""
        return self._digest(self.tokenizer, self.part.tokenizer_files)

    def _digest(self, folder: Path, names: tuple[str, ...]) -> dict[str, str]:
        try:
            return {name: digest_file(folder / name, self.access.digests) for name in names}
        except OSError as error:
            why = f"{error.filename}: {error.strerror}"
            raise DataError("cannot read", self.name, why=why) from error

    @contextmanager
    def alone(self) -> Iterator[tuple[Path, Path]]:
        """Folders with its model, and with its tokenizer, in which is nothing but what is digested.

        The libraries look through a folder by rules of their own: for an index before a single
        file, for adapters, for whatever a configuration names. They can only be given what is
        known.
        """
        with tempfile.TemporaryDirectory(prefix="hffs-model-") as place:
            model, tokenizer = Path(place, "model"), Path(place, "tokenizer")
            wanted = [(model, self.folder, (CONFIG, *self.part.weights))]
            if self.part.tokenizer is not None:
                is_beside = self.part.tokenizer == self.part.folder
                tokenizer = model if is_beside else tokenizer
                wanted.append((tokenizer, self.tokenizer, self.part.tokenizer_files))
            for made, folder, names in wanted:
                made.mkdir(exist_ok=True)
                for name in names:
                    if not (made / name).is_symlink():
                        (made / name).symlink_to(os.path.realpath(folder / name))
            yield model, tokenizer

    def check_index(self) -> None:
        """Refuse an index of weights that leads anywhere but to those beside it."""
        for name in self.part.weights:
            if name.endswith(".json"):
                told = read_json(self.folder / name, self.name).get("weight_map")
                named = set(told.values()) if isinstance(told, dict) else {None}
                if not named <= set(self.part.weights):
                    why = f"{name} names files that are not among its weights"
                    raise DataError("cannot use", self.name, why=why)


def pin(spec: S, access: HubAccess) -> S:
    """The same encoder, named so that every worker on every host opens the same files.

    A name on the Hub gets its commit, a folder its absolute path. Raises UsageError, SourceError.
    """
    if isinstance(spec, VaeSpec):
        return replace(spec, model=_pin(spec.model, access))
    return replace(spec, models=tuple(_pin(model, access) for model in spec.models))


def is_custom(model: str) -> bool:
    """Whether a model is named as `module:Class`."""
    return ":" in model and "/" not in model


def _pin(model: str, access: HubAccess) -> str:
    if is_custom(model):
        return model
    if (folder := _find_folder(model)) is not None:
        return str(folder)
    return str(pin_model(parse_model(model), access))


def _find_folder(model: str) -> Path | None:
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve()
    if model.startswith(("/", ".", "~")) or path.is_file():
        why = "it is a file, not a folder" if path.is_file() else "no such folder"
        raise UsageError("cannot use model", model, why=why, fix="name the folder of a model")
    return None


def locate_vae(model: str, access: HubAccess) -> ModelFiles:
    """The files of a VAE, fetched if need be. Raises UsageError, SourceError, DataError."""
    return _locate(model, access, lambda *found: (model_files.find_vae(*found),))[0]


def locate_text_encoders(model: str, access: HubAccess) -> tuple[ModelFiles, ...]:
    """The files of a text encoder, or of all of a pipeline. Raises as `locate_vae`."""
    return _locate(model, access, model_files.find_text_encoders)


def _locate(model: str, access: HubAccess, find: Any) -> tuple[ModelFiles, ...]:
    if (folder := _find_folder(model)) is not None:
        root, below = folder, ""
        if folder.name.startswith("text_encoder"):  # its tokenizer may be in a folder beside it
            root, below = folder.parent, folder.name
        names = _list_folder(root, below)
        parts: tuple[Part, ...] = find(names, below, model)
    else:
        pinned = pin_model(parse_model(model), access)
        root, below, parts = _fetch(pinned, access, find)
        names = {join(below, INDEX)} if (root / below / INDEX).is_file() else set()
    make = partial(ModelFiles, root=root, pipeline=_read_pipeline(root, below, names, model))
    located = tuple(
        make(name=f"{model} ({part.folder})" if part.folder != below else model, part=part,
             access=access)
        for part in parts
    )  # fmt: skip
    for each in located:
        each.check_index()
    return located


def _read_pipeline(root: Path, below: str, names: set[str], model: str) -> str:
    if join(below, INDEX) not in names:
        return ""
    return str(read_json(root / below / INDEX, model).get("_class_name", ""))


def _fetch(model: HubModel, access: HubAccess, find: Any) -> tuple[Path, str, tuple[Part, ...]]:
    listed = {file.name: file for file in list_model(model, access)}
    parts: tuple[Part, ...] = find(listed.keys(), model.folder, str(model))
    wanted = [name for part in parts for name in part.files]
    wanted += [name for name in [join(model.folder, INDEX)] if name in listed]
    root = fetch_model(model, [listed[name] for name in dict.fromkeys(wanted)], access)
    return root, model.folder, parts


def _list_folder(root: Path, below: str) -> set[str]:
    """Files of a model's folder, of those in it, and of a tokenizer's beside it."""
    wanted = [below, below.replace("text_encoder", "tokenizer")] if below else [""]
    if (root / below / INDEX).is_file():
        inner = sorted(path.name for path in (root / below).iterdir() if path.is_dir())
        wanted += [join(below, name) for name in inner]
    found = set()
    for folder in wanted:
        if (root / folder).is_dir():
            with os.scandir(root / folder) as entries:
                found |= {join(folder, entry.name) for entry in entries if entry.is_file()}
    return found


def read_json(path: Path, which: str) -> dict[str, Any]:
    """A file of JSON that holds an object. Raises DataError."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_CONFIG_BYTES + 1)
        if len(text) > _MOST_CONFIG_BYTES:
            raise DataError("cannot use", which, why=f"{path.name} is larger than any should be")
        parsed = json.loads(text)
    except OSError as error:
        raise DataError("cannot read", which, why=f"{path.name}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise DataError("cannot use", which, why=f"{path.name} is no JSON") from error
    if not isinstance(parsed, dict):
        raise DataError("cannot use", which, why=f"{path.name} holds no object")
    return parsed


def settled(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what says only by whom it was written."""
    return {
        key: settled(value) if isinstance(value, dict) else value
        for key, value in config.items()
        if key not in _VOLATILE
    }
