"""Commands from functions: what is read of a signature, what help shows, what is not imported."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import click
import pytest

from hffs import cli
from hffs.cli import cache
from hffs.cli.commands import Argument, Group, Option, make_command

HEAVY = {
    "PIL", "av", "datasets", "duckdb", "httpx2", "huggingface_hub", "jinja2", "numpy", "pandas",
    "prometheus_client", "pyarrow", "pydantic", "pyfuse3", "rich", "torch", "tqdm", "trio",
}  # fmt: skip

LOOK = """
import json, sys
from hffs.cli import run
code = run(sys.argv[1:])
print(json.dumps([code, *sorted({name.partition(".")[0] for name in sys.modules})]))
"""

GROUPS = {"hffs": cli.VERBS, "cache": cache.VERBS}
EACH_VERB = [(group, verb) for group, verbs in GROUPS.items() for verb in verbs]


def look(*arguments: str | Path, state: Path) -> tuple[int, set[str]]:
    """The exit code of a command, and what it has imported."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK, *map(str, arguments)],
        env={"XDG_STATE_HOME": str(state), "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    code, *modules = json.loads(done.stdout.splitlines()[-1])
    return code, set(modules)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--help",), 0),
        ((), 2),
        (("--version",), 0),
        (("ls",), 0),
        (("ls", "--json"), 0),
        (("ls", "--help"), 0),
        (("umount", "none"), 4),
        (("cache", "--help"), 0),
    ],
)
def test_what_a_command_does_not_need_is_not_imported(
    tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    ended, modules = look(*arguments, state=tmp_path)
    assert ended == code
    assert not modules & HEAVY


@pytest.mark.parametrize(("group", "verb"), EACH_VERB)
def test_a_summary_is_how_the_help_of_its_command_begins(group: str, verb: str) -> None:
    commands = Group(GROUPS[group], lambda: None, group)
    command = commands.get_command(click.Context(commands), verb)
    assert command is not None
    told = inspect.cleandoc(command.help or "").partition("\n\n")[0].replace("\n", " ")
    assert told.startswith(GROUPS[group][verb].summary)


def call(function: Any, *typed: str) -> Any:
    return make_command(function, "command").main(list(typed), "command", standalone_mode=False)


def test_parameters_are_read_from_a_signature() -> None:
    def command(  # noqa: PLR0913 - one of each kind
        source: str,
        others: Annotated[list[Path] | None, Argument(metavar="[OTHER]...")] = None,
        width: Annotated[int, Option(min=1)] = 3,
        share: Annotated[float | None, Option("--part", min=0, max=1)] = None,
        words: Annotated[list[str] | None, Option("--word", "-w")] = None,
        is_fast: Annotated[bool, Option("--fast/--slow")] = False,
    ) -> Any:
        return source, others, width, share, words, is_fast

    assert call(command, "a") == ("a", None, 3, None, None, False)
    typed = ("--width", "4", "a", "b", "c", "--part", ".5", "-w", "x", "--word", "y", "--fast")
    assert call(command, *typed) == ("a", [Path("b"), Path("c")], 4, 0.5, ["x", "y"], True)


@pytest.mark.parametrize("text", ["nan", "inf", "-1", "x"])
def test_a_number_outside_its_range_is_refused(text: str) -> None:
    def command(share: Annotated[float, Option(min=0)] = 1) -> None:
        raise AssertionError

    with pytest.raises(click.BadParameter):
        call(command, "--share", text)


def test_help_has_headings(capsys: pytest.CaptureFixture[str]) -> None:
    def command(
        source: Annotated[str, Argument(metavar="SOURCE|CONFIG", help="Where from.")],
        width: Annotated[int, Option(help="How wide.", panel="Sizes")] = 3,
    ) -> None:
        """Do it."""

    call(command, "--help")
    told = capsys.readouterr().out
    assert "command [OPTIONS] SOURCE|CONFIG\n\n  Do it." in told
    assert "Arguments:\n  SOURCE|CONFIG  Where from." in told
    assert "Sizes:\n  --width INTEGER  How wide.  [default: 3]" in told
