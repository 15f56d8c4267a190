"""A command whose mounts hang in one of their handlers, as no real one should."""

from __future__ import annotations

_CODE = """
import os, signal, sys, time
from contextlib import contextmanager
from pathlib import Path
from hffs.cli import main
from hffs.mount import getting
real = getting.getting_source

@contextmanager
def get(config, listener):
    with real(config, listener) as got:
        yield got
    # Only now: what a daemon imports starts threads, which no fork survives.
    from hffs.mount import session
    from hffs.mount.lifecycle import lastresort
    from hffs.mount.requests.operations import Operations
    from hffs.mount.requests.wire import Opcode
    async def hang(self, *_):
        {does}
        while True:
            time.sleep(1)
    from hffs.mount.requests.direct import Direct
    kept = Direct.answer  # of names alone: nobody asks pyfuse3's handlers for those
    Direct.answer = lambda self, to, asked: asked[4] == Opcode.READDIR and kept(self, to, asked)
    session.count_siblings = lambda _: 0
    Operations.{handler} = hang
    {more}

getting.getting_source = get
main()
"""


def freeze(handler: str, *, does: str = "pass", more: str = "pass") -> str:
    """The program: `does` comes first in the handler, `more` before the mount is made."""
    return _CODE.format(handler=handler, does=does, more=more)
