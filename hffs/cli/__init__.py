"""The `hffs` command: argv in, one call, an exit code out.

Owns what a person sees: results on stdout, everything else on stderr, an error as one line, a
traceback only with `--debug`. Modules are one a verb and import what is heavy when they run.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from typing import Annotated

import click

from hffs import __version__
from hffs.cli.commands import Group, Option, Verb
from hffs.cli.streams import open_missing
from hffs.cli.untrusted import clean_line, clean_text
from hffs.errors import HffsError, InterruptedRun

# What is said of each is how the docstring of its function begins; a test compares them.
VERBS = {
    "mount": Verb(
        "hffs.cli.mount",
        "Mount a data set, or all of a config file; returns when the files are there.",
    ),
    "umount": Verb("hffs.cli.umount", "Unmount, and wait until the daemons have ended."),
    "ls": Verb("hffs.cli.ls", "List the mounts of this host: source, commit, rows, pid, health."),
    "top": Verb(
        "hffs.cli.top",
        "Show what the mounts do now: files, bytes, latencies, hits, errors; Ctrl-C ends it.",
    ),
    "log": Verb(
        "hffs.cli.log",
        "Show the last lines of a mount's log, or change how much it logs while it serves.",
    ),
    "inspect": Verb(
        "hffs.cli.inspect",
        "Show what a data set holds, what each filter removes and why; nothing is mounted.",
    ),
    "view": Verb(
        "hffs.cli.view",
        "Decide a view and write it to a file, which `hffs mount` opens on any host.",
    ),
    "warm": Verb(
        "hffs.cli.warm",
        "Fetch and render what a view needs into the caches; interrupted, it goes on where it was.",
    ),
    "bucket": Verb(
        "hffs.cli.bucket", "Scan a folder, plan buckets and batches of its images, and show them."
    ),
    "cache": Verb(
        "hffs.cli.cache", "Compute latents and text embeddings of a folder once, and keep them."
    ),
    "demo": Verb("hffs.cli.demo", "Mount real photos and look at them, the whole way."),
}


def _show_version(ctx: click.Context, param: click.Parameter, wanted: bool) -> None:
    if wanted:
        print(f"hffs {__version__}")
        ctx.exit()


def _hffs(
    debug: Annotated[bool, Option("--debug", help="Log more, show tracebacks.")] = False,
    version: Annotated[
        bool, Option("--version", callback=_show_version, is_eager=True, help="Show it.")
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
    # Else it asks every distribution that is installed whether it brings one: 50 ms of a mount.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")
    try:
        return _run(arguments)
    except HffsError as error:
        return _fail(str(error), error.exit_code, debug=debug)
    except click.exceptions.NoArgsIsHelpError as error:
        print(error.format_message())
        return 2
    except click.ClickException as error:
        return _fail(error.format_message(), 2, debug=debug)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", InterruptedRun.exit_code, debug=debug)


def _run(arguments: list[str]) -> int:
    """As click's own `main`, without its words about interrupts and its end of the process."""
    group = Group(VERBS, _hffs, "hffs")
    try:
        with group.make_context("hffs", arguments) as context:
            code = group.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return code if isinstance(code, int) else 0


def _fail(line: str, code: int, *, debug: bool) -> int:
    if debug and sys.exception() is not None:
        print(clean_text(traceback.format_exc()), file=sys.stderr)
    print(f"hffs: {clean_line(line)}", file=sys.stderr)
    return code


def find_parameters(verb: str) -> list[click.Parameter]:
    """Arguments and options of a command, as its parser has them."""
    group = Group(VERBS, _hffs, "hffs")
    command = group.get_command(click.Context(group), verb)
    return [] if command is None else list(command.params)
