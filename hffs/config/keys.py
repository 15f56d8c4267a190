"""The keys of the model as a flat list: one `Key` for each value that a user can set.

Owns how flags are named. All else is read from `hffs.config.model`; help texts, flags, docs, the
check for unknown keys start from this list.
"""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union

from pydantic.fields import FieldInfo

from hffs.config.blocks import BLOCKS, Block
from hffs.config.markers import ForTool
from hffs.config.model import Config
from hffs.config.values import Bytes


class Kind(Enum):
    """What a value looks like."""

    TEXT = auto()
    CHOICE = auto()
    PATH = auto()
    SIZE = auto()
    WHOLE = auto()
    NUMBER = auto()
    SWITCH = auto()
    LIST = auto()
    NUMBERS = auto()
    MAP = auto()


_RENAMED = {
    "composite_image_config.enabled": "--composite",
    "filter_func.quality_thresholds": "--quality-threshold",
}
"""Flags that are not the key with dashes: `--enabled` says of nothing what it turns on."""


@dataclass(frozen=True, slots=True)
class Key:
    """One key; `name` is dotted inside a block, `default` is None where it must be given."""

    name: str
    kind: Kind
    choices: tuple[str, ...]
    default: object
    shown: str
    help: str
    panel: str
    for_tool: bool

    @property
    def leaf(self) -> str:
        """The name without its block."""
        return self.name.rpartition(".")[2]

    @property
    def flag(self) -> str:
        """The long option; a switch has a second one that begins with `--no-`."""
        return _RENAMED.get(self.name, "--" + self.leaf.replace("_", "-"))

    def read_from(self, config: Config) -> object:
        """The value that a configuration has for this key."""
        block, _, leaf = self.name.rpartition(".")
        return getattr(getattr(config, block) if block else config, leaf)


@cache
def all_keys() -> Mapping[str, Key]:
    """Every key by its name, in the order of the model."""
    return {key.name: key for key in _keys_of(Config, "")}


def _keys_of(model: type[Block], prefix: str) -> Iterator[Key]:
    hints = typing.get_type_hints(model)
    for name, field in model.model_fields.items():
        if name in BLOCKS and not prefix:
            yield from _keys_of(BLOCKS[name], f"{name}.")
        else:
            yield _make_key(prefix + name, field, hints[name])


def _make_key(name: str, field: FieldInfo, hint: Any) -> Key:
    extra: Any = field.json_schema_extra
    kind, choices = _kind_of(field, hint)
    return Key(
        name=name,
        kind=kind,
        choices=choices,
        default=None if field.is_required() else field.default,
        shown=extra["shown"] or _show(field.default),
        help=field.description or "",
        panel=extra["panel"],
        for_tool=any(isinstance(mark, ForTool) for mark in field.metadata),
    )


def _kind_of(field: FieldInfo, hint: Any) -> tuple[Kind, tuple[str, ...]]:
    if Bytes.__metadata__[0] in field.metadata:  # type: ignore[attr-defined] # Annotated has it
        return Kind.SIZE, ()
    union = typing.get_origin(hint) in (Union, UnionType)
    parts = [part for part in (typing.get_args(hint) if union else [hint]) if part is not NoneType]
    origins = {typing.get_origin(part) for part in parts}
    if tuple in origins:
        return Kind.LIST if str in _parts_of(hint) else Kind.NUMBERS, ()
    if Mapping in origins:
        return Kind.MAP, ()
    if Literal in origins:
        return Kind.CHOICE, typing.get_args(parts[0])
    return _PLAIN[parts[0]], ()


def _parts_of(hint: Any) -> set[Any]:
    """What a type is made of, at any depth."""
    inner = typing.get_args(hint)
    return {hint}.union(*map(_parts_of, inner)) if inner else {hint}


_PLAIN = {
    str: Kind.TEXT,
    Path: Kind.PATH,
    int: Kind.WHOLE,
    float: Kind.NUMBER,
    bool: Kind.SWITCH,
}


def _show(default: object) -> str:
    """A default as the documentation writes it."""
    if default is None or default == "" or default == () or default == {}:
        return "-"
    if isinstance(default, bool):
        return str(default).lower()
    if isinstance(default, tuple):
        return ", ".join(_show(part) for part in default)
    if isinstance(default, float):
        return f"{default:g}"
    is_padded = isinstance(default, str) and default != default.strip()
    return f'"{default}"' if is_padded else str(default)
