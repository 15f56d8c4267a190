"""The console blocks of documents, as tests run them.

Owns reading a block: each `$ command` and what stands below it, up to the next one, is what the
command prints; `...` stands for anything. Must not know what a document is about.
"""

import doctest
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests import preloaded
from tests.command import Hffs

_CLIENT = Path(__file__).with_name("light_client.py")


@dataclass(frozen=True, slots=True)
class Example:
    """A shell command, and what it has to print, errors too."""

    command: str
    output: str

    def is_met_by(self, shown: str) -> bool:
        """Whether that was printed."""
        flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
        return doctest.OutputChecker().check_output(self.output, shown, flags)


def read_examples(document: Path) -> list[Example]:
    """The commands of a document's console blocks, in order."""
    return [example for examples in read_sections(document).values() for example in examples]


def read_sections(document: Path) -> dict[str, list[Example]]:
    """The commands below each heading of a document; sections without any are left out."""
    sections = re.split(r"^## ", document.read_text(), flags=re.MULTILINE)
    found = {section.partition("\n")[0]: _read_blocks(section) for section in sections}
    return {heading: examples for heading, examples in found.items() if examples}


def _read_blocks(text: str) -> list[Example]:
    examples = []
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = example.partition("\n")
            examples.append(Example(command, output))
    return examples


def _find_program(hffs: Hffs) -> str:
    """What runs a command: a process that has imported it already, where it would start alike."""
    if not preloaded.is_alike(hffs.environ):
        return "-m hffs"
    return f"-I -S {_CLIENT} {preloaded.start()}"


def run_example(example: Example, hffs: Hffs, places: Mapping[str, object]) -> str:
    """What a command prints in a shell that knows `hffs`, as a terminal would show it.

    `places` maps paths of the document to those of the test; one without a name is only taken out
    of what is printed.
    """
    command = example.command
    for told, real in places.items():
        command = command.replace(told, str(real)) if told else command
    program = f'hffs() {{ "{sys.executable}" {_find_program(hffs)} "$@"; }}'
    shell = ["bash", "-c", f"exec 2>&1; {program}; {command}"]
    environ = hffs.environ | {"LC_ALL": "C", "COLUMNS": "100"}
    done = subprocess.run(shell, stdout=subprocess.PIPE, text=True, env=environ, check=False)
    shown = done.stdout
    for told, real in sorted(places.items(), key=lambda place: -len(str(place[1]))):
        shown = shown.replace(str(real), told)
    return shown if not shown or shown.endswith("\n") else shown + "\n"
