"""`hffs cache verify` and `hffs cache prune`: look after what is kept.

Owns which stores are looked at, and what is told of each.
"""

from __future__ import annotations

import logging
import sys
from contextlib import closing
from typing import Annotated

from hffs.cli.caching.entries import (
    Entry,
    Wanted,
    make_wanted,
    opening_entries,
    plan,
    prepare,
)
from hffs.cli.caching.facts import PrunedFacts, VerifiedFacts
from hffs.cli.caching.options import EncoderOptions, Place
from hffs.cli.caching.telling import tell
from hffs.cli.commands import Argument, Option
from hffs.cli.drawing.programs import Json
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.folders import FolderSource
from hffs.cli.optiongroups import with_options
from hffs.cli.progress import TerminalListener
from hffs.errors import DataError, UsageError

_Stores = Annotated[
    list[str],
    Argument(metavar="STORE...", help="Stores, as `hffs cache vae` names them."),
]
_Remove = Annotated[
    bool,
    Option("--remove", help="Remove what is damaged: the next run makes it again."),
]


def verify(stores: _Stores, *, remove: _Remove = False, as_json: Json = False) -> None:
    """Read every tensor of some stores, and compare them with their checksums."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    told = [_verify(address, remove=remove) for address in stores]
    tell(told, as_json=as_json)
    damaged = sum(len(each.damaged) for each in told)
    if damaged and not remove:
        where = ", ".join(each.store for each in told if each.damaged)
        fix = "say --remove, and encode them again"
        raise DataError("cannot trust", where, why=f"{damaged} shards are damaged", fix=fix)


def _verify(address: str, *, remove: bool) -> VerifiedFacts:
    from hffs.train.caching.store import Store
    from hffs.train.caching.upkeep import verify

    store = Store.open(address)
    with closing(TerminalListener()) as listener:

        def progress(done: int, total: int) -> None:
            listener.progress(f"verifying {store.address}", done, total, "fetched")

        found = verify(store, progress, remove=remove)
    if not (found.shards or found.damaged):
        fix = "name the folder or URL that hffs cache vae or text told of"
        raise UsageError("cannot verify", store.address, why="no shards are in it", fix=fix)
    damaged = dict(found.damaged)
    return VerifiedFacts(
        store.address, found.shards, found.samples, store.size_bytes, damaged, remove
    )


@with_config_flags
@with_options(EncoderOptions, "encoder")
@with_options(Place, "place")
def prune(
    source: FolderSource,
    *,
    place: Place,
    encoder: EncoderOptions,
    flags: Flags,
    as_json: Json = False,
) -> None:
    """Remove of an encoder's tensors what the plan of a folder does not use; of others none."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    wanted = make_wanted(encoder, place)
    with opening_entries(source, flags, place) as entries:
        told = [_prune(entry, each) for entry in entries for each in wanted]
    tell(told, as_json=as_json)


def _prune(entry: Entry, wanted: Wanted) -> PrunedFacts:
    from hffs.train.caching.store import Store
    from hffs.train.caching.upkeep import prune

    with closing(TerminalListener(entry.config.id)) as listener:
        prepared = prepare(entry, plan(entry, listener), wanted, listener)
        store = Store.open(prepared.kept.address)
        # Of other encoders nothing is known here: they may be in use.
        spare = store.encoders().keys() - {prepared.kept.encoder.id}
        done = prune(store, prepared.job.keys, spare=spare)
    return PrunedFacts(
        entry.config.id,
        store.address,
        done.removed,
        done.rewritten,
        done.freed_bytes,
        store.size_bytes,
    )
