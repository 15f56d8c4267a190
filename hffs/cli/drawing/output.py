"""Where results of a command go: what stdout can show, text on it, and pages in files.

Owns telling a terminal from a pipe, and that a page is written whole or not at all. Must not know
what is shown.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hffs.data.folders import replace_whole
from hffs.errors import UsageError

if TYPE_CHECKING:
    from hffs.cli.drawing.terminal import Screen


def find_screen() -> Screen:
    """What stdout can show."""
    # Late: it loads rich, and what decides a view is forked before.
    from hffs.cli.drawing.terminal import Screen

    if sys.stdout is None:
        return Screen(80, unicode=False, colour=False)
    return Screen(
        width=_find_width(),
        unicode=(sys.stdout.encoding or "").lower().replace("-", "") == "utf8",
        colour=sys.stdout.isatty() and not os.environ.get("NO_COLOR"),
    )


def _find_width() -> int:
    # Of stdout alone, and COLUMNS before it; a pipe gets 80.
    columns = os.environ.get("COLUMNS", "")
    if columns.isascii() and columns.isdigit() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def print_result(text: str) -> None:
    """Results on stdout; who stopped reading, as `head` does, has what they wanted."""
    if sys.stdout is None:  # it was closed before this program began
        return
    encoding = sys.stdout.encoding or "utf-8"
    try:
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at exit, which would complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        why = error.strerror or str(error)
        raise UsageError("cannot write to", "standard output", why=why) from error


def check_page(page: Path) -> Path:
    """The file that a page is written to, with links followed; refused before anything is read."""
    if page.exists() and not page.is_file() and not page.is_dir():
        raise UsageError("cannot write the page to", str(page), why="it is no plain file")
    path = Path(os.path.realpath(page))
    if path.is_dir() or not path.parent.is_dir():
        why = "it is a folder" if path.is_dir() else f"there is no folder {path.parent}"
        raise UsageError("cannot write the page to", str(page), why=why, fix="name a file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        why = f"the folder {path.parent} cannot be written to"
        raise UsageError("cannot write the page to", str(page), why=why)
    return path


def write_page(path: Path, page: str) -> None:
    """Write a file whole or not at all."""
    try:
        with replace_whole(path) as file:
            file.write(page.encode())
    except OSError as error:
        why = error.strerror or str(error)
        raise UsageError("cannot write the page to", str(path), why=why) from error
