"""From what a user names to jobs: entries, their plans, and what of them is kept where.

Owns what all commands of `hffs cache` have to find out first. Must not know what they do with it.
"""

from __future__ import annotations

import os
import tempfile
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
from hffs.cli.children import ask_child
from hffs.cli.folders import Folder, check_mounted, choose_images, finding_folders
from hffs.config.recorded import RecordedConfig
from hffs.errors import DataError, UsageError
from hffs.train.caching.specs import Kind, TextSpec, VaeSpec

if TYPE_CHECKING:
    from hffs.cli.flags import Flags
    from hffs.cli.progress import TerminalListener
    from hffs.config import Config
    from hffs.mount.lifecycle.pipes import Listener
    from hffs.train.caching.chunks import ImageJob, TextJob
    from hffs.train.caching.preparing import Chosen
    from hffs.train.files import OpenFiles
    from hffs.train.plan import Plan


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry, and where its files are; of a data set whose workers have no mount, its `view` as
    `hffs view` writes it.
    """

    config: Config
    folder: Folder
    view: bytes | None = None


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
class Kept:
    """By which encoder tensors of an entry are made, and the address of the store of them."""

    encoder: Chosen
    address: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """An entry that is planned, and all that is to be kept of it."""

    entry: Entry
    plan: Plan
    kept: Kept
    job: ImageJob | TextJob


@contextmanager
def opening_entries(
    source: str, flags: Flags, place: Place, *, travels: bool = False
) -> Iterator[list[Entry]]:
    """The entries that are meant; data sets that are not mounted are, to the end of the block.

    With `travels`, views are recorded for workers on other hosts. To be called before numpy is
    loaded (`hffs.cli.mounting`).
    """
    chosen = choose_images(source, flags, place.entry)
    where = None if place.mounted is None else check_mounted(source, chosen, place.mounted)
    sets = [config for config in chosen.configs if config.type != "local"] if travels else []
    with finding_folders(chosen.configs, where) as folders:
        views = {config.id: _record(config) for config in sets}
        # Late: threads of numpy and pyarrow do not survive the forks before.
        from hffs.data.arrow import do_without_pandas
        from hffs.view.codecs import silence_warnings

        do_without_pandas()
        silence_warnings()
        yield [Entry(config, folders[config.id], views.get(config.id)) for config in chosen.configs]


def _record(config: Config) -> bytes:
    """The view of a configuration as a file has it."""
    if isinstance(config, RecordedConfig):
        return config.view_file.read_bytes()
    with tempfile.TemporaryFile() as file:

        def work(apart: Listener, workers: int) -> bytes:
            from hffs.data.arrow import do_without_pandas
            from hffs.view.portable.recording import record_view

            do_without_pandas()
            record_view(config, file, apart, workers, reads=False)
            file.flush()
            return b""

        ask_child(config, work)
        file.seek(0)
        return file.read()


def open_files(entry: Entry) -> OpenFiles:
    """What opens the files of an entry, in any process; on any host too, if it travels."""
    if entry.view is None:
        from hffs.train.files import FolderFiles

        return FolderFiles(entry.folder.now)
    from hffs.view.files import OpenViewFiles

    return OpenViewFiles.of(entry.config, entry.view)


def plan(entry: Entry, listener: TerminalListener) -> Plan:
    """The plan of an entry. DataError where nothing is trained on."""
    from hffs.train.planning import plan_entry

    workers = entry.config.num_proc or len(os.sched_getaffinity(0))
    planned = plan_entry(entry.config, entry.folder.now, listener, workers)
    if not len(planned.assignment.image):
        why = f"all {len(planned.scan.names)} images are left out"
        raise DataError("nothing to encode of", planned.id, why=why, fix="see hffs bucket")
    return planned


def find_kept(entry: Entry, wanted: Wanted) -> Kept:
    """Find the encoder that is meant, and the store."""
    from hffs.data.hub.models import HubAccess
    from hffs.train.caching.preparing import choose_encoder

    config = entry.config
    access = HubAccess(config.offline, config.token_file, config.cache_dir / "digests")
    encoder = choose_encoder(wanted.spec, access)
    return Kept(encoder, find_store(config, encoder.spec.kind, wanted.output))


def prepare(entry: Entry, planned: Plan, wanted: Wanted, listener: TerminalListener) -> Prepared:
    """Find the encoder, and the key of everything that it is to encode of an entry."""
    from hffs.train.caching.exports.reading import find_reader
    from hffs.train.caching.preparing import prepare_images, prepare_texts

    kept = find_kept(entry, wanted)
    encoder = kept.encoder
    job: ImageJob | TextJob
    if isinstance(encoder.spec, VaeSpec):
        job = prepare_images(planned, encoder.id, listener, flip=wanted.flip)
    else:
        job = prepare_texts(planned, encoder.id, listener, find_reader(wanted.reader))
    return Prepared(entry, planned, kept, job)


def find_store(config: Config, kind: Kind, output: str | None) -> str:
    """The address of the store of an entry."""
    return f"{(output or str(config.cache_dir)).rstrip('/')}/{kind}/{config.id}"
