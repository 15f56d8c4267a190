"""A plan as a torch data set of what was cached: latents for pixels, embeddings beside captions.

Owns the words of such samples and batches. Must not know encoders, nor the files of a store.

What is held of a sample is an array's row: forked workers share it, spawned ones are sent 32 bytes
for each of its tensors. A store is opened again by every worker that is spawned.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NotRequired, Self, TypedDict, Unpack

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from hffs.errors import ConfigError, DataError
from hffs.train.caching.encoders import Kind
from hffs.train.caching.finding import (
    Captions,
    Where,
    choose_encoder,
    identify,
    look_up,
    open_store,
    read_captions,
    read_key,
)
from hffs.train.caching.keys import make_sample_keys, make_text_keys
from hffs.train.dataset import Described, DescribedBatch, collate_described, describe, stack
from hffs.train.files import FolderFiles
from hffs.train.loading import read_caption
from hffs.train.plan import Plan

if TYPE_CHECKING:
    from hffs.train.caching.store import Store

OnMissing = Literal["raise", "drop"]
_OF_IMAGES = frozenset({"latents", "mean", "logvar"})

_NOUNS: Mapping[Kind, str] = {"vae": "latents", "text": "embeddings"}

_log = logging.getLogger(__name__)


class _Encoded(TypedDict):
    """`latents` are (c, h, w) as the VAE made them, neither scaled nor shifted; of posterior
    "parameters" there are `mean` and `logvar` instead. `text` has the tensors of the caption by
    name, none without a cache of texts.
    """

    latents: NotRequired[Tensor]
    mean: NotRequired[Tensor]
    logvar: NotRequired[Tensor]
    text: dict[str, Tensor]


class CachedSample(_Encoded, Described):
    """An image at one resolution, encoded; without a cache of images, no tensors of one.

    Nothing is replaced.
    """


class CachedBatch(_Encoded, DescribedBatch):
    """Samples of one bucket of one entry: tensors have one dimension more, in front."""


class Options(TypedDict, total=False):
    """What else may be said of a CachedDataset."""

    vae_encoder: str
    text_encoder: str
    identities: NDArray[np.uint8]
    on_missing: OnMissing


class _Images(NamedTuple):
    """Encoded images: keys (s, 32) of samples, and of their mirror images where these are used."""

    store: Store
    facts: Mapping[str, Any]
    keys: NDArray[np.uint8]
    flipped: NDArray[np.uint8] | None


class _Texts(NamedTuple):
    """Encoded captions: keys (t, 32) of the texts."""

    store: Store
    facts: Mapping[str, Any]
    captions: Captions
    keys: NDArray[np.uint8]

    def number(self, image: int) -> int:
        """Which text an image has."""
        return int(self.captions.of_image[image])


class CachedDataset(Dataset[CachedSample]):
    """The samples of a plan that are in a cache of images, of texts, or in both.

    `vae` and `text` are stores, or where they are; `vae_encoder` and `text_encoder` name encoders
    (by id or its beginning) where a store has several. Raises DataError for samples that are not
    there yet, with how many and what makes them; with `on_missing="drop"` they are left out. Those
    whose file could not be read when it was to be encoded always are. `plan` is what is left: make
    samplers of it, not of the plan that was given.

    `flip` is how many of all samples, 0 to 1, are taken from the mirror images, which must be
    cached too; chance is torch's, as in a transform, so `torch.manual_seed` repeats it.
    """

    def __init__(
        self,
        plan: Plan,
        *,
        vae: Where | None = None,
        text: Where | None = None,
        flip: float = 0.0,
        **options: Unpack[Options],
    ) -> None:
        if unknown := options.keys() - Options.__annotations__.keys():
            raise TypeError(f"CachedDataset has no {sorted(unknown)[0]}")
        on_missing = options.get("on_missing", "raise")
        _check(vae, text, flip, on_missing)
        self._flip = flip
        images = None if vae is None else _find_images(plan, vae, options, flipped=flip > 0)
        texts = None if text is None else _find_texts(plan, text, options)
        kept = _find_kept(plan, images, texts, drop=on_missing == "drop")
        self.plan = _keep(plan, kept)
        self._files = FolderFiles(plan.scan.folder)
        self._images = None if images is None else _keep_images(images, kept)
        self._texts = texts

    @property
    def vae_facts(self) -> Mapping[str, Any]:
        """What the encoder of the images says of itself: "scaling_factor", "shift_factor" ...

        Nothing without a cache of images.
        """
        return {} if self._images is None else self._images.facts

    @property
    def text_facts(self) -> Mapping[str, Any]:
        """What the encoder of the captions says of itself; nothing without a cache of texts."""
        return {} if self._texts is None else self._texts.facts

    def __len__(self) -> int:
        return len(self.plan.assignment.image)

    def __getitem__(self, index: int) -> CachedSample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        plan, cut = self.plan, self.plan.cut(index)
        flipped = self._flip > 0 and float(torch.rand(())) < self._flip
        caption, embeddings = self._read_text(index)
        described = describe(plan, index, cut, caption, flipped=flipped)
        encoded = _Encoded(text=embeddings)
        encoded.update(self._read_image(index, flipped=flipped))  # type: ignore[typeddict-item] # only names of _OF_IMAGES
        return {**described, **encoded}

    def renamed(self, entry: str) -> Self:
        """The same data set as part of a mix, in which its entry has another name."""
        twin = copy(self)
        twin.plan = replace(self.plan, id=entry)
        return twin

    def collate(self, samples: Sequence[CachedSample]) -> CachedBatch:
        """Stack the samples of a batch."""
        return collate_cached(samples)

    def _read_image(self, index: int, *, flipped: bool) -> dict[str, Tensor]:
        if self._images is None:
            return {}
        mirrored = self._images.flipped
        keys = mirrored if flipped and mirrored is not None else self._images.keys
        tensors = read_key(self._images.store, keys[index])
        if not tensors.keys() <= _OF_IMAGES:
            why = f"it has {', '.join(sorted(tensors))}"
            fix = f"an encoder of images makes {', '.join(sorted(_OF_IMAGES))}"
            raise DataError("cannot use", self._images.store.address, why=why, fix=fix)
        return tensors

    def _read_text(self, index: int) -> tuple[str, dict[str, Tensor]]:
        plan, texts = self.plan, self._texts
        if texts is None:
            return read_caption(self._files, plan.name(index), plan.caption_extension), {}
        number = texts.number(int(plan.assignment.image[index]))
        caption = str(texts.captions.texts[number].as_py())
        return caption, read_key(texts.store, texts.keys[number])


def collate_cached(samples: Sequence[CachedSample]) -> CachedBatch:
    """Stack the samples of a batch; in a worker, into memory that is shared with who asked."""
    first = samples[0]
    text = {name: stack([sample["text"][name] for sample in samples]) for name in first["text"]}
    encoded = _Encoded(text=text)
    if "latents" in first:
        encoded["latents"] = stack([sample["latents"] for sample in samples])
    if "mean" in first:
        encoded["mean"] = stack([sample["mean"] for sample in samples])
    if "logvar" in first:
        encoded["logvar"] = stack([sample["logvar"] for sample in samples])
    return {**collate_described(samples), **encoded}


def _check(vae: Where | None, text: Where | None, flip: float, on_missing: str) -> None:
    if vae is None and text is None:
        why, fix = "neither vae nor text says where it is", "FolderDataset reads images"
        raise ConfigError("cannot read a cache", why=why, fix=fix)
    if not 0 <= flip <= 1:
        raise ConfigError("cannot use flip", str(flip), why="it is a share, 0 to 1")
    if flip and vae is None:
        raise ConfigError("cannot use flip", str(flip), why="no vae says where latents are")
    if on_missing not in ("raise", "drop"):
        raise ConfigError("cannot use on_missing", on_missing, why="it is raise or drop")


def _find_images(plan: Plan, where: Where, options: Options, *, flipped: bool) -> _Images:
    store = open_store(where)
    encoder = choose_encoder(store, options.get("vae_encoder"))
    identities = options.get("identities")
    if identities is None:
        identities = identify(plan)
    keys = make_sample_keys(plan, identities, encoder, flipped=False)
    mirrored = make_sample_keys(plan, identities, encoder, flipped=True) if flipped else None
    return _Images(store, store.encoders()[encoder], keys, mirrored)


def _find_texts(plan: Plan, where: Where, options: Options) -> _Texts:
    store = open_store(where)
    encoder = choose_encoder(store, options.get("text_encoder"))
    captions = read_captions(plan)
    keys = make_text_keys(captions.texts.to_pylist(), encoder)
    return _Texts(store, store.encoders()[encoder], captions, keys)


class _Look(NamedTuple):
    """Which samples are in a cache, and which could not be read when they were to be encoded."""

    kind: Kind
    there: NDArray[np.bool_]
    refused: NDArray[np.bool_]


def _find_kept(
    plan: Plan, images: _Images | None, texts: _Texts | None, *, drop: bool
) -> NDArray[np.bool_]:
    """Which samples are in the caches, (s,); see the class for what is raised."""
    looks = list[_Look]()
    if images is not None:
        wanted = (keys for keys in (images.keys, images.flipped) if keys is not None)
        looks += [_Look("vae", *look_up(images.store, keys)) for keys in wanted]
    if texts is not None:
        there, refused = look_up(texts.store, texts.keys)
        number = texts.captions.of_image[plan.assignment.image]
        # Behind the last text is what the unread ones, -1, have.
        there, refused = np.append(there, False)[number], np.append(refused, True)[number]
        looks.append(_Look("text", there, refused))
    refused = np.logical_or.reduce([look.refused for look in looks])
    for look in looks:
        _judge(plan, look.kind, int((~look.there & ~refused).sum()), drop=drop)
    if unread := int(refused.sum()):
        _log.warning("%s: %d samples are left out: they cannot be read", plan.id, unread)
    kept: NDArray[np.bool_] = np.logical_and.reduce([look.there & ~refused for look in looks])
    if not kept.any():
        raise DataError("cannot read a cache of", plan.id, why="no sample is in it")
    return kept


def _judge(plan: Plan, kind: Kind, missing: int, *, drop: bool) -> None:
    """Say what is missing."""
    if not missing:
        return
    why = f"{missing} of {len(plan.assignment.image)} samples have no {_NOUNS[kind]} in it"
    if not drop:
        fix = f"hffs cache {kind} {plan.scan.folder} makes them, on_missing='drop' leaves them out"
        raise DataError("cannot read a cache of", plan.id, why=why, fix=fix)
    _log.warning("%s: %s: they are left out", plan.id, why)


def _keep(plan: Plan, kept: NDArray[np.bool_]) -> Plan:
    """A plan of some of its samples; what else was found or left out is not needed."""
    was = plan.assignment
    assignment = replace(
        was,
        image=was.image[kept],
        bucket=was.bucket[kept],
        resolution=was.resolution[kept],
        resized=was.resized[kept],
        crop=was.crop[kept],
        removed=np.zeros((0, 0), np.uint8),
    )
    return replace(plan, scan=replace(plan.scan, problems={}), assignment=assignment)


def _keep_images(images: _Images, kept: NDArray[np.bool_]) -> _Images:
    flipped = None if images.flipped is None else images.flipped[kept]
    return images._replace(keys=images.keys[kept], flipped=flipped)
