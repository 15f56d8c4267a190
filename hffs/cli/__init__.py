"""The `hffs` command: argv in, one call, an exit code out.

Owns what a person sees: results on stdout, everything else on stderr, an error as one line, a
traceback only with `--debug`. Modules are one a verb and import what is heavy when they run.
"""

from __future__ import annotations

import importlib
import logging
import sys
import traceback
from typing import Annotated, Any

import typer

from hffs import __version__
from hffs.cli.streams import open_missing
from hffs.cli.untrusted import clean_line, clean_text
from hffs.errors import HffsError, InterruptedRun

# Newer releases of typer carry a click of their own, and export its error classes but the base.
_COMMAND_LINE_ERROR: type[Exception] = typer.BadParameter.__mro__[2]

_VERBS = (
    "mount", "umount", "ls", "top", "log", "inspect", "view", "warm", "bucket", "cache", "demo",
)  # fmt: skip

app = typer.Typer(
    name="hffs",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"hffs {__version__}")
        raise typer.Exit


@app.callback()
def _hffs(
    debug: Annotated[bool, typer.Option("--debug", help="Log more, show tracebacks.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show it.")
    ] = False,
) -> None:
    """Mount a filtered Hugging Face dataset as a read-only folder of numbered files."""


def main() -> None:
    """Entry point of the command."""
    open_missing()
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line; its exit code."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    debug = "--debug" in arguments[:end]
    options = [argument for argument in arguments[:end] if argument != "--debug"]
    arguments = options + arguments[end:]
    logging.getLogger("hffs").setLevel(logging.DEBUG if debug else logging.INFO)
    try:
        _register(arguments)
        code = app(arguments, prog_name="hffs", standalone_mode=False)
    except HffsError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except _COMMAND_LINE_ERROR as error:
        return _fail(_describe(error), 2, debug=debug)
    except (typer.Abort, KeyboardInterrupt):
        code = InterruptedRun.exit_code
    if code == InterruptedRun.exit_code:  # typer may return it instead of raising
        return _fail("interrupted", code, debug=debug)
    return code if isinstance(code, int) else 0


def _describe(error: Exception) -> str:
    """What click says of a wrong command line, without its usage text."""
    say = getattr(error, "format_message", None)
    return str(say() if say else error)


def _fail(line: str, code: int, *, debug: bool) -> int:
    if debug and sys.exception() is not None:
        print(clean_text(traceback.format_exc()), file=sys.stderr)
    print(f"hffs: {clean_line(line)}", file=sys.stderr)
    return code


def find_parameters(verb: str) -> list[Any]:
    """Arguments and options of a command, as its parser has them (click's `Parameter`)."""
    _register([verb])
    group: Any = typer.main.get_command(app)
    return list(group.commands[verb].params)


def _register(arguments: list[str]) -> None:
    """Add the verb that was asked for to `app`, or all of them for help.

    Each is imported alone: `hffs ls` need not wait for what `hffs mount` takes.
    """
    asked = next((argument for argument in arguments if argument in _VERBS), None)
    for verb in _VERBS if asked is None else (asked,):
        command = getattr(importlib.import_module(f"hffs.cli.{verb}"), verb)
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=verb)
        else:
            app.command(verb)(command)
