"""From what a user names to jobs: entries, their plans, and what of them is kept where.

Owns what all commands of `hffs cache` have to find out first. Must not know what they do with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hffs.cli.caching.options import (
    EncoderOptions,
    Place,
    make_text_spec,
    make_vae_spec,
)
from hffs.cli.folders import Folder, check_mounted, choose_images, finding_folders
from hffs.errors import DataError, UsageError
from hffs.train.caching.specs import TextSpec, VaeSpec

if TYPE_CHECKING:
    from hffs.cli.flags import Flags
    from hffs.cli.progress import TerminalListener
    from hffs.config import Config
    from hffs.train.caching.chunks import ImageJob, TextJob
    from hffs.train.caching.preparing import Chosen
    from hffs.train.plan import Plan


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry, and where its files are."""

    config: Config
    folder: Folder


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be kept of each entry, and below which folder or URL, if not in `cache_dir`."""

    spec: VaeSpec | TextSpec
    output: str | None
    flip: bool = False
    reader: str | None = None


def make_wanted(encoder: EncoderOptions, place: Place) -> list[Wanted]:
    """What is meant of the stores of an entry, of images first. UsageError where nothing is."""
    wanted = list[Wanted]()
    if encoder.vae is not None:
        spec = make_vae_spec(encoder.vae, encoder.vae_options())
        wanted.append(Wanted(spec, place.output, encoder.flip))
    if encoder.text_encoder:
        texts = make_text_spec(encoder.text_encoder, encoder.text_options())
        wanted.append(Wanted(texts, place.output, reader=encoder.reader))
    if not wanted:
        raise UsageError("cannot choose tensors", why="no encoder", fix="say --vae, --text-encoder")
    return wanted


@dataclass(frozen=True, slots=True)
class Prepared:
    """An entry that is planned: all that is to be kept of it, by which encoder, and where."""

    entry: Entry
    plan: Plan
    encoder: Chosen
    job: ImageJob | TextJob
    address: str


@contextmanager
def opening_entries(source: str, flags: Flags, place: Place) -> Iterator[list[Entry]]:
    """The entries that are meant; data sets that are not mounted are, to the end of the block.

    To be called before numpy is loaded (`hffs.cli.mounting`).
    """
    chosen = choose_images(source, flags, place.entry)
    where = None if place.mounted is None else check_mounted(source, chosen, place.mounted)
    with finding_folders(chosen.configs, where) as folders:
        # Late: threads of numpy and pyarrow do not survive the forks before.
        from hffs.data.arrow import do_without_pandas
        from hffs.view.codecs import silence_warnings

        do_without_pandas()
        silence_warnings()
        yield [Entry(config, folders[config.id]) for config in chosen.configs]


def plan(entry: Entry, listener: TerminalListener) -> Plan:
    """The plan of an entry. DataError where nothing is trained on."""
    from hffs.train.planning import plan_entry

    workers = entry.config.num_proc or len(os.sched_getaffinity(0))
    planned = plan_entry(entry.config, entry.folder.now, listener, workers)
    if not len(planned.assignment.image):
        why = f"all {len(planned.scan.names)} images are left out"
        raise DataError("nothing to encode of", planned.id, why=why, fix="see hffs bucket")
    return planned


def prepare(entry: Entry, planned: Plan, wanted: Wanted, listener: TerminalListener) -> Prepared:
    """Find the encoder, and the key of everything that it is to encode of an entry."""
    from hffs.data.hub.models import HubAccess
    from hffs.train.caching.exports.reading import find_reader
    from hffs.train.caching.preparing import choose_encoder, prepare_images, prepare_texts

    config = entry.config
    access = HubAccess(config.offline, config.token_file, config.cache_dir / "digests")
    encoder = choose_encoder(wanted.spec, access)
    job: ImageJob | TextJob
    if isinstance(encoder.spec, VaeSpec):
        job = prepare_images(planned, encoder.id, listener, flip=wanted.flip)
        kind = "vae"
    else:
        job = prepare_texts(planned, encoder.id, listener, find_reader(wanted.reader))
        kind = "text"
    return Prepared(entry, planned, encoder, job, find_store(config, kind, wanted.output))


def find_store(config: Config, kind: str, output: str | None) -> str:
    """The address of the store of an entry."""
    return f"{(output or str(config.cache_dir)).rstrip('/')}/{kind}/{config.id}"
