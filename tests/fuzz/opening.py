"""A program that opens data sets which may hold anything, within limits, and tells what came of it.

A line of JSON in for each, a line out. What it is killed by, or raises that is no HffsError, would
have met a user: a crash while it reads takes a mount down; one while it decides costs a child. Its
memory is limited, so that whoever asks for much more than a data set has is told by MemoryError.
"""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import sys
import traceback
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from hffs.config import build_config
from hffs.core.inodes import ROOT
from hffs.errors import HffsError
from hffs.view.codecs import silence_warnings
from hffs.view.opening import decide_view, get_source, open_view_apart
from hffs.view.places import find_places
from hffs.view.tree import Tree
from tests.view.conftest import Quiet

ROOM_BYTES = 3 << 30
"""Above what the program has when it begins; the largest image that is rendered takes less."""
DEADLINE_S = 60
HANGS_AFTER_S = 180


def limit_memory() -> None:
    """Let this process have so much address space more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def tell(**fields: Any) -> None:
    """One line to who asked."""
    sys.__stdout__.write(json.dumps(fields) + "\n")  # type: ignore[union-attr] # it is there
    sys.__stdout__.flush()  # type: ignore[union-attr]


def read_all(tree: Tree, secret: bytes) -> list[int]:
    """Read every file; checksums of those that could be. None may hold what lies outside of the
    data set.
    """
    done = []
    folders = [ROOT]
    while folders:
        for entry in tree.entries(folders.pop(), 0):
            assert b"/" not in entry.name
            assert entry.name not in (b".", b"..", b"")
            if tree.is_folder(entry.inode):
                folders.append(entry.inode)
                continue
            with suppress(HffsError):
                tree.prepare(entry.inode)
                ready = tree.ready(entry.inode)
                data = bytes(
                    tree.request(entry.inode).result(DEADLINE_S) if ready is None else ready
                )
                assert secret not in data, "a file from outside of the data set"
                done.append(zlib.crc32(data))
            with suppress(HffsError):
                tree.xattrs(entry.inode)
    return done


def open_one(asked: dict[str, Any]) -> None:
    """Decide a view and read it."""
    try:
        config = build_config(asked["source"], asked["keys"], None, os.environ)
        located = get_source(config, Quiet())
        decide_view(config, find_places(config, located), Quiet(), 1)
        tell(decided=True)
        with open_view_apart(config, Quiet(), 1, located) as tree:
            tell(read=read_all(tree, asked["secret"].encode()))
    except HffsError as error:
        line = str(error)
        tell(**({"refused": line} if len(line.splitlines()) == 1 else {"failed": line}))


def main() -> None:
    """Open what is asked for until nobody asks any more."""
    silence_warnings()
    with suppress(ImportError):
        import datasets

        datasets.disable_progress_bars()
    sys.stdout = sys.stderr
    limit_memory()
    for line in sys.stdin:
        # Where it hangs, each thread says where it is, before who asked gives up.
        faulthandler.dump_traceback_later(HANGS_AFTER_S, file=2)
        try:
            open_one(json.loads(line))
        except Exception:  # noqa: BLE001 - whatever it is, it is what is looked for
            tell(failed=traceback.format_exc())
        faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    main()
