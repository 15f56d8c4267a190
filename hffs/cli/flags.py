"""Options of the command line that are made from the keys of the configuration.

Owns how a key looks as an option and how typed text becomes the value that JSON would have. It
must not know what a key means, nor check more than that the text can be one.
Invariant: an option that was not given leaves no trace, so that a config file's value stays.
"""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from hffs.cli.commands import Option
from hffs.config.keys import Key, Kind, all_keys
from hffs.errors import ConfigError

Flags = dict[str, object]
"""Values by dotted key names, of the keys that were given: what `build_config` takes."""

_FLAGS = "flags"
_R = TypeVar("_R")

# Numbers stay text until `_read`: the configuration refuses a bad one in its own words.
_TYPES: Mapping[Kind, Any] = {
    Kind.SWITCH: bool,
    Kind.LIST: list[str],
    Kind.NUMBERS: list[str],
    Kind.MAP: list[str],
}
_WHOLE = re.compile(r"-?\d{1,18}", re.ASCII)
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)

_METAVARS = {
    Kind.PATH: "PATH",
    Kind.SIZE: "SIZE",
    Kind.WHOLE: "N",
    Kind.NUMBER: "X",
    Kind.NUMBERS: "X",
    Kind.MAP: "NAME=X",
    Kind.SWITCH: "",
}


def with_config_flags(command: Callable[..., _R]) -> Callable[..., _R]:
    """Give a command every key as an option; it takes what was given as `flags: Flags`."""
    keys = {_parameter_name(key): key for key in all_keys().values()}

    @functools.wraps(command)
    def with_flags(**given: Any) -> _R:
        typed = {key.name: given.pop(name) for name, key in keys.items()}
        return command(**given, **{_FLAGS: read_flags(typed)})

    signature = inspect.signature(command, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != _FLAGS]
    parameters = [*own, *(_make_parameter(name, key) for name, key in keys.items())]
    # `inspect` asks for both, and takes the words of the signature over those of the function.
    with_flags.__dict__["__signature__"] = signature.replace(parameters=parameters)
    with_flags.__annotations__ = {made.name: made.annotation for made in parameters}
    return with_flags


def read_flags(typed: Mapping[str, Any]) -> Flags:
    """The values of flags, from what was typed for each key; None and no texts are not given.

    Raises ConfigError for a pair that is none; whatever else is wrong with a value shows later.
    """
    keys = all_keys()
    given = {name: text for name, text in typed.items() if text is not None and text != []}
    flags = {name: _read(keys[name], text) for name, text in given.items()}
    if "composite_image_config.image_count" in flags:
        flags.setdefault("composite_image_config.enabled", True)
    return flags


def _read(key: Key, typed: Any) -> object:
    if key.kind is Kind.MAP:
        return dict(_read_pair(key, pair) for pair in typed)
    if key.kind is Kind.NUMBERS:
        return "all" if typed == ["all"] else [_read_any_number(text) for text in typed]
    if key.kind is Kind.WHOLE:
        return _read_number(_WHOLE, int, typed)
    return _read_number(_NUMBER, float, typed) if key.kind is Kind.NUMBER else typed


def _read_pair(key: Key, pair: str) -> tuple[str, object]:
    name, equals, text = pair.rpartition("=")
    if not equals:
        raise ConfigError("cannot use", f"{key.flag} {pair}", why="it is not NAME=NUMBER")
    return name, _read_number(_NUMBER, float, text)


def _read_number(form: re.Pattern[str], number: Callable[[str], object], text: str) -> object:
    """The number that a text is; a text that is none stays, to be refused with its key's name."""
    return number(text) if form.fullmatch(text) else text


def _read_any_number(text: str) -> object:
    """A whole number where it is one."""
    whole = _read_number(_WHOLE, int, text)
    return _read_number(_NUMBER, float, text) if whole is text else whole


def _parameter_name(key: Key) -> str:
    # Under its own name `type` or `id` would shadow; under a shared prefix none meets a command's.
    return "config_" + key.name.replace(".", "_")


def _make_parameter(name: str, key: Key) -> inspect.Parameter:
    flag = key.flag
    if key.kind is Kind.SWITCH:
        flag = f"{key.flag}/--no-{key.flag.removeprefix('--')}"
    choices = "|".join(key.choices)
    option = Option(
        flag,
        metavar=f"[{choices}]" if choices else _METAVARS.get(key.kind, "TEXT"),
        help=_help(key),
        panel=key.panel,
        show_default=False,
    )
    annotation: Any = Annotated[_TYPES.get(key.kind, str) | None, option]
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, default=None, annotation=annotation)


def _help(key: Key) -> str:
    # Round brackets: square ones hold what is true of any option, its range say.
    default = "" if key.shown == "-" else f" (default: {key.shown})"
    return (key.help + default).replace("`", "")
