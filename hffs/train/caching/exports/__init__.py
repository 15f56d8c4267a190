"""What was cached, as the files that a trainer looks for beside its images.

Owns which samples and captions are written, and when a file is left alone. Must not know the names
or the contents of any trainer's files. Invariants: a file appears whole or not at all; one that is
there and is another is replaced only if that was asked for; the same store gives the same bytes.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hffs.data.watcher import Watcher
from hffs.errors import DataError, UsageError
from hffs.train.caching.finding import (
    Located,
    Where,
    choose_encoder,
    identify,
    locate,
    open_store,
    read_captions,
)
from hffs.train.caching.keys import make_sample_keys, make_seed, make_text_keys
from hffs.train.caching.scaling import draw
from hffs.train.plan import Cut, Plan

if TYPE_CHECKING:
    from hffs.train.caching.store import Store

Facts = Mapping[str, Any]
Outcome = Literal["written", "unchanged", "kept"]

_THREADS = 8
_AT_ONCE = 64

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class File:
    """A file that a trainer looks for, of the image with that name. With `adds` it has in it all of
    the one that is there.
    """

    path: Path
    image: str
    data: bytes
    adds: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """A sample: the image's name, what was made of it, its latents (c, h, w) as the VAE made them,
    and those of its mirror image where they are wanted.
    """

    name: str
    cut: Cut
    plain: Tensor
    flipped: Tensor | None


class Trainer(Protocol):
    """Knows the cache of one trainer."""

    @property
    def flip(self) -> bool:
        """Whether mirror images are wanted."""
        ...

    def check(self, plan: Plan, latents: Facts | None, texts: Facts | None) -> None:
        """Raise ConfigError where the trainer would ignore what is written: it plans buckets
        otherwise, or its model is of other encoders than these.
        """
        ...

    def tell(self, plan: Plan) -> Mapping[str, object]:
        """The settings with which the trainer finds the files."""
        ...

    def read_caption(self, text: str) -> str:
        """What the trainer makes of a caption before it is encoded."""
        ...

    def pack_latents(self, folder: Path, sample: Latents, facts: Facts) -> list[File]:
        """The files of a sample; `facts` are the encoder's."""
        ...

    def pack_text(
        self, folder: Path, name: str, caption: str, tensors: Mapping[str, Tensor]
    ) -> File:
        """The file of an image's caption, which is as `read_caption` gave it."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Sources:
    """Where latents and embeddings are taken from, either or both; see `CachedDataset`.

    `identities` (n, 32) are those of the scan's images, where they are known.
    """

    vae: Where | None = None
    text: Where | None = None
    vae_encoder: str | None = None
    text_encoder: str | None = None
    identities: NDArray[np.uint8] | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """How many files were written, were right already (`unchanged`), or are others and were left
    alone (`kept`); how many samples and captions are not in the store (`missing`); and with which
    `settings` the trainer finds the files.
    """

    written: int
    unchanged: int
    kept: int
    missing: int
    settings: Mapping[str, object]


def export(
    plan: Plan,
    trainer: Trainer,
    sources: Sources,
    watcher: Watcher | None = None,
    *,
    overwrite: bool = False,
) -> Exported:
    """Write the cache of a trainer.

    Raises ConfigError where the trainer would ignore it, UsageError where nothing can be written.
    """
    if sources.vae is None and sources.text is None:
        raise UsageError("cannot export", why="neither latents nor embeddings are named")
    images = None if sources.vae is None else _open(sources.vae, sources.vae_encoder)
    texts = None if sources.text is None else _open(sources.text, sources.text_encoder)
    trainer.check(plan, images and images.facts, texts and texts.facts)
    works = list[_Images | _Texts]()
    if images is not None:
        works.append(_Images(images, plan, trainer, sources.identities))
    if texts is not None:
        works.append(_Texts(texts, plan, trainer, watcher))
    writing = _Writing(overwrite)
    for work in works:
        for done in writing.run(work.list_jobs()):
            if watcher is not None:
                watcher.progress(work.what, done, work.count)
    counts = writing.counts
    if counts["kept"]:
        _log.warning("%d files are there and are others: they are left alone", counts["kept"])
    return Exported(
        written=counts["written"],
        unchanged=counts["unchanged"],
        kept=counts["kept"],
        missing=sum(work.missing for work in works),
        settings=trainer.tell(plan),
    )


class _Source(NamedTuple):
    """An encoder's tensors in a store."""

    store: Store
    encoder: str
    facts: Facts


def _open(where: Where, named: str | None) -> _Source:
    store = open_store(where)
    encoder = choose_encoder(store, named)
    return _Source(store, encoder, store.encoders()[encoder])


Job = Callable[[], Sequence[File]]
"""Packs the files of one sample or caption."""


class _Images:
    """The latents of a plan's samples."""

    what = "latents"

    def __init__(
        self, source: _Source, plan: Plan, trainer: Trainer, known: NDArray[np.uint8] | None
    ) -> None:
        self._store, self._facts = source.store, source.facts
        self._plan, self._trainer = plan, trainer
        identities = identify(plan) if known is None else known
        self._found = [
            locate(self._store, make_sample_keys(plan, identities, source.encoder, flipped=flipped))
            for flipped in ((False, True) if trainer.flip else (False,))
        ]
        there = np.logical_and.reduce([found.present for found in self._found])
        self._samples = np.flatnonzero(there)
        self.missing, self.count = int((~there).sum()), len(self._samples)

    def list_jobs(self) -> Iterator[list[Job]]:
        """Jobs, some at once, in the order of shards."""
        for part in _cut(self._found[0], self._samples):
            read = [self._read(found.take(part)) for found in self._found]
            yield [
                self._make_job(int(sample), [each[at] for each in read])
                for at, sample in enumerate(part)
            ]

    def _read(self, found: Located) -> list[Tensor]:
        read = _read_rows(self._store, found)
        return [_draw(tensors, key) for tensors, key in zip(read, found.keys, strict=True)]

    def _make_job(self, sample: int, latents: Sequence[Tensor]) -> Job:
        plan, trainer = self._plan, self._trainer
        flipped = latents[1] if len(latents) > 1 else None
        packed = Latents(plan.name(sample), plan.cut(sample), latents[0], flipped)
        return lambda: trainer.pack_latents(plan.scan.folder, packed, self._facts)


class _Texts:
    """The embeddings of the captions of a plan's images."""

    what = "embeddings"

    def __init__(
        self, source: _Source, plan: Plan, trainer: Trainer, watcher: Watcher | None
    ) -> None:
        self._store, self._plan, self._trainer = source.store, plan, trainer
        captions = read_captions(plan, watcher)
        self._texts = [trainer.read_caption(text) for text in captions.texts.to_pylist()]
        self._found = locate(self._store, make_text_keys(self._texts, source.encoder))
        self._of_image = captions.of_image
        number = captions.of_image[np.unique(plan.assignment.image)]
        there = np.append(self._found.present, False)[number]
        self._images = np.unique(plan.assignment.image)[there]
        self.missing, self.count = int((~there).sum()), len(self._images)

    def list_jobs(self) -> Iterator[list[Job]]:
        """Jobs, some at once, in the order of shards."""
        number = self._of_image[self._images]
        of_images = self._found.take(number)
        for part in _cut(of_images, np.arange(len(self._images))):
            read = _read_rows(self._store, of_images.take(part))
            yield [
                self._make_job(int(self._images[one]), int(number[one]), tensors)
                for one, tensors in zip(part, read, strict=True)
            ]

    def _make_job(self, image: int, number: int, tensors: Mapping[str, Tensor]) -> Job:
        plan, trainer = self._plan, self._trainer
        name, caption = str(plan.scan.names[image].as_py()), self._texts[number]
        return lambda: [trainer.pack_text(plan.scan.folder, name, caption, tensors)]


def _cut(found: Located, which: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Some of them at once, each time of one shard and in the order of its rows."""
    order = which[np.lexsort((found.row[which], found.shard[which]))]
    shards = found.shard[order]
    begins = np.flatnonzero(np.diff(shards, prepend=-1))
    for begin, end in zip(begins, [*begins[1:], len(order)], strict=True):
        for at in range(begin, end, _AT_ONCE):
            yield order[at : min(at + _AT_ONCE, end)]


def _read_rows(store: Store, found: Located) -> list[dict[str, Tensor]]:
    """The tensors of each, by name, wherever they are."""
    read: list[dict[str, Tensor]] = [{} for _ in found.keys]
    for shard in np.unique(found.shard).tolist():
        at = np.flatnonzero(found.shard == shard)
        tensors = store.read(shard, found.row[at].tolist(), found.keys[at])
        for place, number in enumerate(at.tolist()):
            read[number] = {name: tensor[place] for name, tensor in tensors.items()}
    return read


def _draw(tensors: Mapping[str, Tensor], key: NDArray[np.uint8]) -> Tensor:
    """The latents of a sample; of the parameters of a distribution, a value drawn by its key."""
    if "latents" in tensors:
        return tensors["latents"]
    if not {"mean", "logvar"} <= tensors.keys():
        why = f"it has {', '.join(sorted(tensors))}"
        raise DataError("cannot export a sample", why=why, fix="a trainer takes latents")
    mean, logvar = tensors["mean"], tensors["logvar"]
    return draw(mean[None], logvar[None], [make_seed(key.tobytes())])[0].to(mean.dtype)


class _Writing:
    """Writes files in threads; `counts` what became of them."""

    def __init__(self, overwrite: bool) -> None:
        self._overwrite = overwrite
        self._owners = dict[Path, str]()
        self.counts = Counter[Outcome]()

    def run(self, parts: Iterator[list[Job]]) -> Iterator[int]:
        """Do all jobs; how many were done, now and then."""
        done = 0
        with ThreadPoolExecutor(_THREADS) as pool:
            for jobs in parts:
                for outcomes in pool.map(self._do, jobs):
                    self.counts.update(outcomes)
                done += len(jobs)
                yield done

    def _do(self, job: Job) -> list[Outcome]:
        return [self._write(file) for file in job()]

    def _write(self, file: File) -> Outcome:
        """Write a file, if it is not there; of two images that share it, the first has it."""
        if self._owners.setdefault(file.path, file.image) != file.image:
            return "kept"
        try:
            return write_file(file, overwrite=self._overwrite)
        except OSError as error:
            why, fix = error.strerror or str(error), "mount with --scratch, or export elsewhere"
            raise UsageError("cannot write", str(file.path), why=why, fix=fix) from error


def write_file(file: File, *, overwrite: bool) -> Outcome:
    """Write a file whole, unless it is there; one that is another stays if it is not to be
    overwritten. Raises OSError.
    """
    with contextlib.suppress(FileNotFoundError):
        if _has(file.path, file.data):
            return "unchanged"
        if not (overwrite or file.adds):
            return "kept"
    file.path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.path.with_name(f".hffs-{secrets.token_hex(8)}")
    try:
        with open(unfinished, "xb") as opened:
            opened.write(file.data)
        os.replace(unfinished, file.path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    return "written"


def _has(path: Path, data: bytes) -> bool:
    return path.stat().st_size == len(data) and path.read_bytes() == data
