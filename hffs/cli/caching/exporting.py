"""`hffs cache export`: write what is kept as the files that a trainer looks for beside its images.

Owns which trainer is meant. How its files are named is in `hffs.train.caching.exports`.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from hffs.cli.caching.entries import (
    Entry,
    Kept,
    Wanted,
    find_kept,
    make_wanted,
    opening_entries,
    plan,
)
from hffs.cli.caching.facts import ExportedFacts
from hffs.cli.caching.options import EncoderOptions, Place
from hffs.cli.caching.telling import tell
from hffs.cli.commands import Argument, Option
from hffs.cli.drawing.programs import Json
from hffs.cli.flags import Flags, with_config_flags
from hffs.cli.folders import FolderSource
from hffs.cli.optiongroups import with_options
from hffs.cli.progress import TerminalListener
from hffs.errors import DataError, UsageError

if TYPE_CHECKING:
    from hffs.train.caching.exports import Trainer
    from hffs.train.plan import Plan

_MODELS = {"kohya": ("sd", "sdxl", "sd3", "flux"), "ai-toolkit": ("sd1", "sdxl", "sd3", "flux")}
"""Kinds of models by trainers that have to be told which is trained."""

_TRAINERS = ("kohya", "simpletuner", "ai-toolkit")
_SIMPLETUNER_FOLDER = "cache_vae"

_Trainer = Annotated[str, Argument(metavar="TRAINER", help=", ".join(_TRAINERS) + ".")]
_Model = Annotated[
    str | None,
    Option(
        metavar="KIND",
        help="What is trained: sd (ai-toolkit: sd1), sdxl, sd3 or flux; not for SimpleTuner.",
    ),
]
_To = Annotated[
    Path | None,
    Option(
        metavar="FOLDER",
        help="The cache_dir_vae of SimpleTuner; by default the folder cache_vae beside the images.",
    ),
]
_Hashed = Annotated[
    bool, Option("--hash-filenames/--no-hash-filenames", help="As SimpleTuner has it.")
]
_Compressed = Annotated[bool, Option("--compress-disk-cache", help="As SimpleTuner has it.")]
_Overwrite = Annotated[
    bool, Option("--overwrite", help="Replace files that are there and are others.")
]


@dataclass(frozen=True, slots=True)
class _TrainerOptions:
    """How the trainer is set up."""

    model: _Model = None
    to: _To = None
    hash_filenames: _Hashed = True
    compress_cache: _Compressed = False
    overwrite: _Overwrite = False


@with_config_flags
@with_options(_TrainerOptions, "trained")
@with_options(EncoderOptions, "encoder")
@with_options(Place, "place")
def export(  # noqa: PLR0913 - groups of options
    trainer: _Trainer,
    source: FolderSource,
    *,
    place: Place,
    encoder: EncoderOptions,
    trained: _TrainerOptions,
    flags: Flags,
    as_json: Json = False,
) -> None:
    """Write latents and embeddings as a trainer's own cache, so that it need not encode."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="hffs: %(message)s")
    _check(trainer, trained)
    wanted = make_wanted(encoder, place)
    with opening_entries(source, flags, place) as entries:
        _check_folders(entries)
        told = [_export(entry, wanted, trainer, trained) for entry in entries]
    tell(told, as_json=as_json)


def _check(trainer: str, trained: _TrainerOptions) -> None:
    if trainer not in _TRAINERS:
        why = f"it is one of {', '.join(_TRAINERS)}"
        raise UsageError("cannot export to", trainer, why=why)
    is_simpletuner = trainer == "simpletuner"
    of_simpletuner = {
        "--to": trained.to is not None,
        "--no-hash-filenames": not trained.hash_filenames,
        "--compress-disk-cache": trained.compress_cache,
    }
    ignored = {"--model": trained.model is not None} if is_simpletuner else of_simpletuner
    for flag, is_given in ignored.items():
        if is_given:
            raise UsageError("cannot use", flag, why=f"{trainer} has none", fix="leave it out")
    known = _MODELS.get(trainer)
    if known is not None and trained.model not in known:
        what = f"--model {trained.model}" if trained.model else "without --model"
        raise UsageError(f"cannot export to {trainer}", what, why=f"it is {', '.join(known)}")


def _check_folders(entries: list[Entry]) -> None:
    """Refuse before anything is looked up what could not be written then."""
    for entry in entries:
        if not entry.folder.stays:
            why, fix = "it is mounted only meanwhile", "mount it, and say where: --mounted"
            raise UsageError("cannot write beside the images of", entry.config.id, why=why, fix=fix)
        if not os.access(entry.folder.now, os.W_OK):
            why, fix = "it cannot be written to", "mount with --scratch DIR"
            raise DataError("cannot write into", str(entry.folder.now), why=why, fix=fix)


def _export(
    entry: Entry, wanted: list[Wanted], trainer: str, trained: _TrainerOptions
) -> ExportedFacts:
    from hffs.train.caching.exports import Sources, export

    with closing(TerminalListener(entry.config.id)) as listener:
        planned = plan(entry, listener)
        sources = dict[str, Any]()
        flip = False
        for each in wanted:
            sources |= _describe(find_kept(entry, each), planned, listener)
            flip = flip or each.flip
        target = _make_trainer(trainer, trained, entry.folder.now, flip=flip)
        done = export(planned, target, Sources(**sources), listener, overwrite=trained.overwrite)
    return ExportedFacts(
        id=entry.config.id,
        trainer=trainer,
        folder=str(entry.folder.now),
        written=done.written,
        unchanged=done.unchanged,
        kept=done.kept,
        missing=done.missing,
        settings=done.settings,
    )


def _describe(kept: Kept, planned: Plan, listener: TerminalListener) -> dict[str, Any]:
    """What `Sources` takes of a store."""
    from hffs.train.caching.identities import identify_images
    from hffs.train.caching.store import Store

    store, encoder = Store.open(kept.address), kept.encoder.id
    if encoder not in store.encoders():
        fix = "run hffs cache vae or text with the same options first"
        raise DataError("cannot export from", store.address, why="none of it is there", fix=fix)
    if kept.encoder.spec.kind == "vae":
        images = identify_images(planned, partial(listener.progress, "identifying images"))
        return {"vae": store, "vae_encoder": encoder, "identities": images.digests}
    return {"text": store, "text_encoder": encoder}


def _make_trainer(name: str, trained: _TrainerOptions, folder: Path, *, flip: bool) -> Trainer:
    from hffs.train.caching.exports.ai_toolkit import AiToolkit
    from hffs.train.caching.exports.kohya import Kohya
    from hffs.train.caching.exports.simpletuner import SimpleTuner

    model: Any = trained.model
    if name == "kohya":
        return Kohya(model, flip)
    if name == "ai-toolkit":
        return AiToolkit(model, flip)
    place = trained.to or folder / _SIMPLETUNER_FOLDER
    return SimpleTuner(place.absolute(), trained.hash_filenames, trained.compress_cache)
