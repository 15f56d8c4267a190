"""The source of a mount, got to this host by a child while the daemon starts.

Owns the order of the two. It is imported before anything that is slow, so that what is asked over
the network is asked first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hffs.config import Config
from hffs.data.locating.record import Wanted, find_source, find_store, load_acquired, name_source
from hffs.data.shards import Located
from hffs.errors import StaleError
from hffs.mount.lifecycle import daemon
from hffs.mount.lifecycle.pipes import Listener


@contextmanager
def getting_source(config: Config, listener: Listener) -> Iterator[Callable[[], Located]]:
    """The source of a configuration, which is waited for by calling what this gives.

    Asking, downloading and preparing take datasets, so they have a process of their own.
    Raises SourceError, AccessError, ConfigError or DataError.
    """
    wanted, store = name_source(config), find_store(config)
    located = find_source(wanted, store)
    if located is not None:
        found = located
        yield lambda: found
        return
    with daemon.run_beside(lambda apart: _acquire(wanted, store, apart), listener) as wait:

        def get() -> Located:
            wait()
            return _load(wanted, store)

        yield get


def _load(wanted: Wanted, store: Path) -> Located:
    located = load_acquired(wanted, store)
    if located is None:
        why = "its files were removed or changed while it was opened"
        raise StaleError("cannot open", wanted.request.name, why=why, fix="try again")
    return located


def _acquire(wanted: Wanted, store: Path, listener: Listener) -> None:
    from hffs.data.locating.acquiring import acquire

    acquire(wanted, store, listener)
    listener.ready()
