"""Work on a view in a child process, which hands over what it found.

Owns how a child is set up for that: damaged files crash native readers, and what they take of
memory goes with the child.
"""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable
from contextlib import closing

from hffs.cli.progress import TerminalListener
from hffs.config import Config
from hffs.mount.lifecycle import daemon
from hffs.mount.lifecycle.pipes import Listener

Work = Callable[[Listener, int], bytes]
"""What a child does, with so many workers; what it returns is handed over.

Its imports are late: threads of numpy and pyarrow do not survive a fork.
"""


def ask_child(config: Config, work: Work) -> bytes:
    """What a child's work returned; its error is raised here. The view's id stands in its lines."""
    # Closed before the next fork: its bars are drawn by a thread.
    with closing(TerminalListener(config.id)) as listener, tempfile.TemporaryFile() as handed:

        def body(apart: Listener) -> None:
            from hffs.view.codecs import silence_warnings

            # The parent is interrupted too, ends this process, and says so: once is enough.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            os.umask(0o077)
            silence_warnings()
            workers = config.num_proc or len(os.sched_getaffinity(0))
            handed.write(work(apart, workers))
            handed.flush()
            apart.ready()

        daemon.run_apart(body, listener)
        handed.seek(0)
        return handed.read()
