"""Commands from functions: what a parameter is annotated with becomes an option or an argument.

Owns how a signature becomes a command of click, how its help looks, and that a command's module is
imported when the command is asked for. Must not know what any command does.

Typer does as much, but has pydantic check each value: 0.2 s of `hffs ls` were for that.
"""

from __future__ import annotations

import importlib
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin

import click

from hffs.cli.loading import loading

_HELP: dict[str, Any] = {"help_option_names": ["-h", "--help"], "max_content_width": 120}
_ARGUMENTS, _OPTIONS = "Arguments", "Options"


@dataclass(frozen=True, slots=True)
class Argument:
    """What is said of a parameter that has a place of its own; one with a default may be absent."""

    help: str | None = None
    metavar: str | None = None


class Option:
    """What is said of a parameter that has a name: by default its own, with dashes.

    `min` and `max` are of numbers, inclusive; `panel` is the heading of help that it is under.
    """

    def __init__(self, *flags: str, panel: str = _OPTIONS, **said: Any) -> None:
        self.flags = flags
        self.panel = panel
        self.range: dict[str, Any] = {
            bound: said.pop(bound) for bound in ("min", "max") if bound in said
        }
        self.said = said


@dataclass(frozen=True, slots=True)
class Verb:
    """Where the function of a command is, by the name of its module, and the one line of help."""

    module: str
    summary: str


class _Number(click.FloatRange):
    """A number of a range; infinity and nan, which no comparison refuses, are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number


class _Member(click.Choice[str]):
    """One of the words of an enumeration, as its member."""

    def __init__(self, kind: type[StrEnum]) -> None:
        super().__init__([each.value for each in kind])
        self._kind = kind

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """See `click.ParamType`."""
        return self._kind(super().convert(str(value), param, ctx))


class _Positional(click.Argument):
    """An argument that help says something of."""

    panel = _ARGUMENTS

    def __init__(self, name: str, said: Argument, **own: Any) -> None:
        super().__init__([name], metavar=said.metavar, **own)
        self.said = said.help or ""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        """See `click.Parameter`."""
        return self.make_metavar(ctx), self.said

    def make_metavar(self, ctx: click.Context) -> str:
        """As it was said, where it was: dots and brackets are in it."""
        return self.metavar or super().make_metavar(ctx)


class _Named(click.Option):
    """An option under a heading of help."""

    def __init__(self, flags: tuple[str, ...], panel: str, **own: Any) -> None:
        super().__init__(flags, **own)
        self.panel = panel


class _Command(click.Command):
    """A command whose help has headings."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Command`."""
        panels: dict[str, list[tuple[str, str]]] = {_ARGUMENTS: [], _OPTIONS: []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                panels.setdefault(getattr(parameter, "panel", _OPTIONS), []).append(record)
        for panel, records in panels.items():
            if records:
                with formatter.section(panel):
                    formatter.write_dl(records)


class Group(click.Group):
    """Commands by name, each imported alone: `hffs ls` need not wait for what `hffs mount` takes.

    Help has what `verbs` says of them, and imports none.
    """

    def __init__(self, verbs: Mapping[str, Verb], callback: Callable[..., Any], name: str) -> None:
        super().__init__(
            name,
            callback=callback,
            params=_make_parameters(callback),
            help=inspect.getdoc(callback),
            no_args_is_help=True,
            context_settings=_HELP,
        )
        self._verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        """See `click.Group`."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """See `click.Group`."""
        if cmd_name not in self._verbs:
            return None
        with loading():
            module = importlib.import_module(self._verbs[cmd_name].module)
        found = getattr(module, cmd_name)
        return found if isinstance(found, click.Command) else make_command(found, cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """See `click.Group`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.summary) for name, verb in self._verbs.items()])


def make_command(function: Callable[..., Any], name: str) -> click.Command:
    """The command that a function is: its parameters are read, its docstring is the help."""
    return _Command(
        name,
        callback=function,
        params=_make_parameters(function),
        help=inspect.getdoc(function),
        context_settings=_HELP,
    )


def _make_parameters(function: Callable[..., Any]) -> list[click.Parameter]:
    signature = inspect.signature(function, eval_str=True)
    return [_make_parameter(each) for each in signature.parameters.values()]


def _make_parameter(parameter: inspect.Parameter) -> click.Parameter:
    kind, said = parameter.annotation, None
    if get_origin(kind) is Annotated:
        kind, said = get_args(kind)
    has_default = parameter.default is not inspect.Parameter.empty
    own: dict[str, Any] = {"default": parameter.default} if has_default else {}
    kind = _strip_none(kind)
    is_list = get_origin(kind) is list
    if is_list:
        (kind,) = get_args(kind)
        own["callback"] = _make_list
    if not isinstance(said, Option):
        own |= {"nargs": -1, "required": not has_default} if is_list else {}
        return _Positional(parameter.name, said or Argument(), type=_find_type(kind, {}), **own)
    flags = said.flags or (f"--{parameter.name.replace('_', '-')}",)
    own |= {"multiple": True} if is_list else {}
    own |= {"is_flag": True} if kind is bool else {"type": _find_type(kind, said.range)}
    own = {"show_default": True, "required": not has_default} | own | said.said
    return _Named((parameter.name, *flags), said.panel, **own)


def _strip_none(kind: Any) -> Any:
    others = [each for each in get_args(kind) if each is not NoneType]
    return others[0] if len(others) < len(get_args(kind)) else kind


def _find_type(kind: Any, bounds: dict[str, Any]) -> click.ParamType[Any]:
    if kind is int:
        return click.IntRange(**bounds) if bounds else click.INT
    if kind is float:
        return _Number(**bounds)
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return _Member(kind)
    return click.Path(path_type=Path) if kind is Path else click.STRING


def _make_list(ctx: click.Context, param: click.Parameter, value: Any) -> list[Any] | None:
    """None where nothing was given: click has an empty tuple."""
    return list(value) if value else None
