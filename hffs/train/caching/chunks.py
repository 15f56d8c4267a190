"""What a run has to encode, cut into chunks: each will be one shard.

Owns which samples belong together, and the names of shards. Must not know encoders, engines or
where anything is kept. Invariants: a chunk depends on the samples that are missing and their order
alone; as a chunk is kept whole or not at all, and all but the last of a shape are of the same
length, a run that goes on behind a kill has the very chunks that the one before had left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import overload

import numpy as np
from numpy.typing import NDArray

from hffs.core.types import Size
from hffs.train.caching.identities import Identified
from hffs.train.caching.keys import KEY_BYTES, make_sample_keys, make_text_keys
from hffs.train.files import Stamp
from hffs.train.plan import Cut, Plan

CHUNK_IMAGES = 256
"""Samples of a shard: what a kill can cost, some seconds of a GPU; as latents 1 to 32 MB."""

CHUNK_TEXTS = 64
"""The same of texts, whose embeddings are large: 512 tokens of T5-XXL are 4 MB."""

_NAME_BYTES = 16


@dataclass(frozen=True, slots=True)
class ImageSample:
    """An image to encode: its file, what is made of it, and whether that is mirrored.

    `stamp` is what the file has to be still, if anybody knows.
    """

    name: str
    cut: Cut
    flipped: bool
    stamp: Stamp | None = None


Sample = ImageSample | str
"""A text is its own sample."""


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """Samples of one shape, in their order, and their keys, (n, 32) uint8.

    `name` is that of the shard; `batch` is how many are encoded at once.
    """

    name: str
    keys: NDArray[np.uint8]
    samples: tuple[Sample, ...]
    batch: int


@dataclass(frozen=True, slots=True, eq=False)
class ImageJob:
    """Samples of a plan and their keys, in the order in which they are encoded.

    `sample` (m,) int64 is a sample of the plan, `flipped` (m,) bool; `keys` (m, 32) uint8.
    """

    plan: Plan
    images: Identified
    sample: NDArray[np.int64]
    flipped: NDArray[np.bool_]
    keys: NDArray[np.uint8]

    def only(self, wanted: NDArray[np.bool_]) -> ImageJob:
        """Those of the samples that are wanted."""
        parts = (self.sample[wanted], self.flipped[wanted], self.keys[wanted])
        return ImageJob(self.plan, self.images, *parts)

    def size(self, place: int) -> Size:
        """Width and height of what is encoded there."""
        assignment = self.plan.assignment
        return Size(*assignment.sizes[assignment.bucket[self.sample[place]]].tolist())

    def pick(self, place: int) -> ImageSample:
        """One of the samples."""
        number = int(self.sample[place])
        image = int(self.plan.assignment.image[number])
        return ImageSample(
            name=self.plan.name(number),
            cut=self.plan.cut(number),
            flipped=bool(self.flipped[place]),
            stamp=self.images.stamp(image),
        )


def plan_images(plan: Plan, images: Identified, encoder: str, *, flip: bool) -> ImageJob:
    """All samples of a plan by buckets; with `flip` each is there mirrored too.

    `images` are those of its scan, `encoder` is what `identify_encoder` says. Samples with the same
    key are there once.
    """
    assignment = plan.assignment
    order = np.argsort(assignment.bucket, kind="stable").astype(np.int64)
    plain = make_sample_keys(plan, images.digests, encoder, flipped=False)[order]
    sample, flipped, keys = order, np.zeros(len(order), np.bool_), plain
    if flip:
        mirrored = make_sample_keys(plan, images.digests, encoder, flipped=True)[order]
        sample, flipped = np.repeat(order, 2), np.tile([False, True], len(order))
        keys = np.stack([plain, mirrored], axis=1).reshape(-1, KEY_BYTES)
    return ImageJob(plan, images, sample, flipped, keys).only(mark_first(keys))


@dataclass(frozen=True, slots=True, eq=False)
class TextJob:
    """Texts, none twice, and their keys, (n, 32) uint8."""

    texts: Sequence[str]
    keys: NDArray[np.uint8]

    def only(self, wanted: NDArray[np.bool_]) -> TextJob:
        """Those of the texts that are wanted."""
        texts = [self.texts[place] for place in np.flatnonzero(wanted).tolist()]
        return TextJob(texts, self.keys[wanted])

    def size(self, _: int) -> None:
        """Texts are padded to one length."""

    def pick(self, place: int) -> str:
        """One of the texts."""
        return self.texts[place]


def plan_texts(texts: Sequence[str], encoder: str) -> TextJob:
    """Every text once, in the order in which they first appear."""
    unique = list(dict.fromkeys(texts))
    return TextJob(unique, make_text_keys(unique, encoder))


def mark_first(keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a key, (m, 32) uint8, is there for the first time."""
    whole = np.ascontiguousarray(keys).view(np.dtype((np.void, KEY_BYTES))).ravel()
    first = np.zeros(len(keys), np.bool_)
    first[np.unique(whole, return_index=True)[1]] = True
    return first


def name_shard(shape: str, keys: NDArray[np.uint8], refused: Iterable[str] = ()) -> str:
    """The name of a shard: what shape its samples have, and a digest of what is in it.

    `keys` (n, 32) are in their order; of a chunk that is whole `refused`, keys in hex, is not told.
    """
    held = keys.tobytes() + "".join(sorted(refused)).encode()
    return f"{shape}-{blake2b(held, digest_size=_NAME_BYTES).hexdigest()}"


def rename_shard(name: str, keys: NDArray[np.uint8], refused: Iterable[str]) -> str:
    """The name of a shard that has only some of the samples of another."""
    return name_shard(name.rpartition("-")[0] or name, keys, refused)


class Chunks(Sequence[Chunk]):
    """The chunks of a job, made when they are asked for; `batch` as `find_batch` has it."""

    def __init__(self, job: ImageJob | TextJob, length: int, batch: int | None) -> None:
        self._job, self._batch = job, batch
        count = len(job.keys)
        starts = np.flatnonzero(_find_breaks(job))
        ends = np.append(starts[1:], count)[: len(starts)]
        self._bounds = [
            (at, min(at + length, end))
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
            for at in range(start, end, length)
        ]

    def __len__(self) -> int:
        return len(self._bounds)

    @overload
    def __getitem__(self, number: int) -> Chunk: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Chunk]: ...
    def __getitem__(self, number: int | slice) -> Chunk | Sequence[Chunk]:
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        start, stop = self._bounds[number]
        keys, size = self._job.keys[start:stop], self._job.size(start)
        shape = "text" if size is None else f"{size.width}x{size.height}"
        samples: tuple[Sample, ...] = tuple(self._job.pick(at) for at in range(start, stop))
        batch = self._batch or find_batch(size)
        return Chunk(name_shard(shape, keys), keys, samples, batch)


def _find_breaks(job: ImageJob | TextJob) -> NDArray[np.bool_]:
    """Where another shape begins."""
    breaks = np.zeros(len(job.keys), np.bool_)
    if len(breaks):
        breaks[0] = True
    if isinstance(job, ImageJob):
        bucket = job.plan.assignment.bucket[job.sample]
        breaks[1:] = bucket[1:] != bucket[:-1]
    return breaks


_BATCH_PIXELS, _BATCH_TEXTS = 1 << 20, 32
"""Pixels of images, and texts, that are encoded at once where nothing is said."""


def find_batch(size: Size | None) -> int:
    """How many samples of a size are encoded at once; of texts, where there is none."""
    if size is None:
        return _BATCH_TEXTS
    return max(1, _BATCH_PIXELS // (size.width * size.height))
