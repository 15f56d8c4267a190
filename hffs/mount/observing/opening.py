"""What makes a mount observable while it serves: its control socket and its metrics file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from hffs.mount.lifecycle.logs import set_level
from hffs.mount.observing.control import Answers, answering
from hffs.mount.observing.reporting import Reporter
from hffs.mount.observing.textfile import writing


@contextmanager
def observing(reporter: Reporter, socket: Path, textfile: Path | None) -> Iterator[Path | None]:
    """Tell of a mount to the end of the block; the socket, or None where it cannot be made."""
    with ExitStack() as stack:
        if textfile is not None:
            stack.enter_context(writing(textfile, reporter.report))
        yield stack.enter_context(answering(socket, _make_answers(reporter)))


def _make_answers(reporter: Reporter) -> Answers:
    def expose() -> bytes:
        from hffs.mount.observing import exposition

        return exposition.expose(reporter.report())

    def tell() -> bytes:
        return json.dumps(asdict(reporter.report())).encode() + b"\n"

    return Answers(
        told={
            "/metrics": ("text/plain; version=0.0.4; charset=utf-8", expose),
            "/status": ("application/json", tell),
        },
        settable={"/log-level": set_level},
    )
