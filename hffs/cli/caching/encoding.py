"""`hffs cache vae` and `hffs cache text`: encode what is not in the store yet.

Owns the order of things, and what is told of each entry. How an entry comes to a job is in
`hffs.cli.caching.entries`.
"""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hffs.cli.caching.entries import (
    Entry,
    Prepared,
    Wanted,
    open_files,
    opening_entries,
    plan,
    prepare,
)
from hffs.cli.caching.options import (
    CacheEngine,
    Place,
    RunOptions,
    TextEncoders,
    TextOptions,
    Vae,
    VaeOptions,
    make_text_spec,
    make_vae_spec,
)
from hffs.cli.caching.telling import tell
from hffs.cli.drawing.programs import Json
from hffs.cli.engines import EngineName
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.folders import FolderSource
from hffs.cli.optiongroups import with_options
from hffs.cli.progress import TerminalListener
from hffs.errors import DataError

if TYPE_CHECKING:
    from hffs.cli.caching.crews import Crew
    from hffs.cli.caching.facts import RunFacts
    from hffs.train.caching.running import Outcome
    from hffs.train.caching.store import Store


@with_config_flags
@with_options(CacheEngine, "engine")
@with_options(RunOptions, "run")
@with_options(VaeOptions, "kept")
@with_options(Place, "place")
def vae(  # noqa: PLR0913 - groups of options
    source: FolderSource,
    *,
    model: Vae,
    place: Place,
    kept: VaeOptions,
    run: RunOptions,
    engine: CacheEngine,
    flags: Flags,
    as_json: Json = False,
) -> None:
    """Encode the images of a folder by a VAE, as their buckets want them, and keep the latents."""
    wanted = Wanted(make_vae_spec(model, kept), place.output, kept.flip)
    _encode(_Asked(source, flags, place, wanted), run, engine, as_json=as_json)


@with_config_flags
@with_options(CacheEngine, "engine")
@with_options(RunOptions, "run")
@with_options(TextOptions, "kept")
@with_options(Place, "place")
def text(  # noqa: PLR0913 - groups of options
    source: FolderSource,
    *,
    models: TextEncoders,
    place: Place,
    kept: TextOptions,
    run: RunOptions,
    engine: CacheEngine,
    flags: Flags,
    as_json: Json = False,
) -> None:
    """Encode the captions of a folder's images, each text once, and keep the embeddings."""
    wanted = Wanted(make_text_spec(models, kept), place.output, reader=kept.reader)
    _encode(_Asked(source, flags, place, wanted), run, engine, as_json=as_json)


@dataclass(frozen=True, slots=True)
class _Asked:
    """What is to be encoded."""

    source: str
    flags: Flags
    place: Place
    wanted: Wanted


def _encode(asked: _Asked, run: RunOptions, engine: CacheEngine, *, as_json: bool) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    travels = engine.engine is EngineName.RAY and asked.wanted.spec.kind == "vae"
    opening = opening_entries(asked.source, asked.flags, asked.place, travels=travels)
    told: list[RunFacts] = []
    with opening as entries:
        # All before any: what is wrong with the last one is not found out after hours.
        prepared = [_prepare(entry, asked.wanted) for entry in entries]
        try:
            with _opening_crew(run, engine) as crew:
                for each in prepared:
                    told.append(_encode_entry(each, run, crew))
        finally:
            if told:
                tell(told, as_json=as_json)
    for facts in told:
        if facts.planned and not (facts.there or facts.done or facts.left):
            raise DataError("nothing is encoded of", facts.id, why=facts.reason)


def _prepare(entry: Entry, wanted: Wanted) -> Prepared:
    with closing(TerminalListener(entry.config.id)) as listener:
        return prepare(entry, plan(entry, listener), wanted, listener)


def _opening_crew(options: RunOptions, engine: CacheEngine) -> AbstractContextManager[Crew | None]:
    """Who encodes all entries: nobody in a dry run."""
    from hffs.cli.caching.crews import open_crew

    return nullcontext() if options.dry_run else open_crew(options, engine)


def _encode_entry(prepared: Prepared, options: RunOptions, crew: Crew | None) -> RunFacts:
    from hffs.train.caching.store import Store

    with closing(TerminalListener(prepared.entry.config.id)) as listener:
        store = Store.open(prepared.kept.address)
        outcome = _run(prepared, store, options, crew, listener)
    return _describe(prepared, store, outcome, is_dry=options.dry_run)


def _run(
    prepared: Prepared,
    store: Store,
    options: RunOptions,
    crew: Crew | None,
    listener: TerminalListener,
) -> Outcome:
    from hffs.train.caching.chunks import ImageJob
    from hffs.train.caching.running import Settings, look, run
    from hffs.train.caching.work import Work

    job, encoder = prepared.job, prepared.kept.encoder
    if crew is None:
        return look(job, store)
    work = Work(
        encoder=encoder.spec,
        access=encoder.access,
        files=open_files(prepared.entry) if isinstance(job, ImageJob) else None,
        address=prepared.kept.address,
        decoders=crew.decoders,
        streams=crew.streams,
    )
    settings = Settings(
        work,
        crew.needs,
        encoder.facts,
        options.batch,
        options.length,
        options.max_bytes,
    )
    return run(job, store, crew.engine, settings, listener)


def _describe(prepared: Prepared, store: Store, outcome: Outcome, *, is_dry: bool) -> RunFacts:
    from hffs.cli.caching.facts import EncoderFacts, RunFacts, TimeFacts

    encoder, spec = prepared.kept.encoder, prepared.kept.encoder.spec
    shares = outcome.shares
    time = TimeFacts(
        outcome.wall_s, outcome.per_s, shares.decode, shares.encode, shares.write, shares.idle
    )
    return RunFacts(
        id=prepared.entry.config.id,
        kind=spec.kind,
        store=store.address,
        encoder=EncoderFacts(encoder.id, spec.models, encoder.facts),
        planned=outcome.planned,
        there=outcome.there,
        done=outcome.done,
        refused=outcome.refused,
        failed=outcome.failed,
        left=outcome.planned - outcome.settled if is_dry else 0,
        added_bytes=outcome.size_bytes,
        store_bytes=store.size_bytes,
        smallest_batch=outcome.smallest_batch,
        reason=outcome.reason,
        time=time if outcome.done else None,
    )
