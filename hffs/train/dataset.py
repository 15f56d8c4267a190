"""A planned folder as a torch data set: a sample an item, and how samples become a batch.

Owns the words of samples and batches. Must not know in which order they are asked for.

Workers, forked or spawned, get arrays, no lists of names: a forked one shares their memory for
good, since nothing counts references in it; a spawned one is sent 50 bytes a sample, and the names.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from dataclasses import replace
from typing import Any, Literal, Protocol, Self, TypedDict, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

from hffs.errors import ConfigError, DataError
from hffs.train.files import FolderFiles
from hffs.train.loading import load_pixels, read_caption
from hffs.train.plan import Cut, Plan

OnError = Literal["raise", "skip"]
Transform = Callable[[Tensor], Tensor]

_MOST_STAND_INS = 100
"""Where none of so many can be read, the folder is gone."""

_log = logging.getLogger(__name__)


class Described(TypedDict):
    """What a sample of any kind says of itself.

    `original_size` is the image's before anything was done to it but turning it upright,
    `crop_top_left` the crop's corner in the resized image, `target_size` the bucket's: int64 (2,)
    each, height or top first. `index` is the number of the sample, `entry` the plan's id;
    `replaced` says that it stands in for one that cannot be read.
    """

    caption: str
    name: str
    index: int
    bucket: int
    original_size: Tensor
    crop_top_left: Tensor
    target_size: Tensor
    entry: str
    replaced: bool


class Sample(Described):
    """An image at one resolution: `image` is float32 (3, h, w) in [-1, 1], RGB."""

    image: Tensor


class Conditions(TypedDict):
    """What a batch of any kind says of sizes, int64 (n, 2) each, height or top first."""

    original_size: Tensor
    crop_top_left: Tensor
    target_size: Tensor


class DescribedBatch(Conditions):
    """What a batch of any kind says of its samples, of one bucket of one entry.

    `index` is int64 (n,), `replaced` is bool (n,).
    """

    caption: list[str]
    name: list[str]
    index: Tensor
    bucket: int
    entry: str
    replaced: Tensor


class Batch(DescribedBatch):
    """Samples of one bucket of one entry: `image` is float32 (n, 3, h, w)."""

    image: Tensor


class PlannedDataset(Protocol):
    """The samples of a plan, in its order: images, or what was made of them."""

    plan: Plan

    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Any: ...
    def renamed(self, entry: str) -> Self:
        """The same data set as part of a mix, in which its entry has another name."""
        ...

    def collate(self, samples: Sequence[Any]) -> Any:
        """The batch of some samples of one bucket."""
        ...


class FolderDataset(Dataset[Sample]):
    """The samples of a plan, in its order.

    `transform` is given the image, float32 (3, h, w) in [-1, 1], and gives one of the same shape.
    With `on_error="skip"` a sample that cannot be read is replaced by the next of its bucket that
    can be, so that a batch stays as large, and of one shape, on every rank; each worker logs a name
    once, and `replaced` in a batch counts them. Else reading raises DataError.
    """

    def __init__(
        self, plan: Plan, *, transform: Transform | None = None, on_error: OnError = "raise"
    ) -> None:
        if on_error not in get_args(OnError):
            known = ", ".join(get_args(OnError))
            raise ConfigError("cannot use on_error", on_error, why=f"it is one of {known}")
        # Of the scan, what it could not read is not needed; of the assignment, what was left out.
        scan = replace(plan.scan, problems={})
        none = np.zeros((0, 0), np.uint8)
        self.plan = replace(plan, scan=scan, assignment=replace(plan.assignment, removed=none))
        self._files = FolderFiles(scan.folder)
        self._transform, self._on_error = transform, on_error
        self._told = set[str]()

    def __len__(self) -> int:
        return len(self.plan.assignment.image)

    def __getitem__(self, index: int) -> Sample:
        if not 0 <= index < len(self):
            raise IndexError(index)
        try:
            return self._load(index)
        except DataError as error:
            if self._on_error == "raise":
                raise
            return self._replace(index, error)

    def renamed(self, entry: str) -> Self:
        """The same data set as part of a mix, in which its entry has another name."""
        twin = copy(self)
        twin.plan = replace(self.plan, id=entry)
        return twin

    def collate(self, samples: Sequence[Sample]) -> Batch:
        """Stack the samples of a batch."""
        return collate(samples)

    def _replace(self, index: int, error: DataError) -> Sample:
        self._tell(index, error)
        for other in self._list_stand_ins(index):
            try:
                sample = self._load(other)
            except DataError as also:
                self._tell(other, also)
            else:
                sample["replaced"] = True
                return sample
        raise DataError(
            "cannot replace", self.plan.name(index), why="no other of its bucket can be read"
        ) from error

    def _list_stand_ins(self, index: int) -> Iterator[int]:
        """The other samples of a bucket, those behind first, then round."""
        bucket = self.plan.assignment.bucket
        members = np.flatnonzero(bucket == bucket[index])
        after = int(np.searchsorted(members, index)) + 1
        yield from np.roll(members, -after)[:-1][:_MOST_STAND_INS].tolist()

    def _tell(self, index: int, error: DataError) -> None:
        name = self.plan.name(index)
        if name not in self._told:
            self._told.add(name)
            _log.warning("%s; another image stands in for it", error)

    def _load(self, index: int) -> Sample:
        plan, name, cut = self.plan, self.plan.name(index), self.plan.cut(index)
        pixels = torch.from_numpy(load_pixels(self._files, name, cut)).permute(2, 0, 1)
        image = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        image = image.div_(127.5).sub_(1)
        changed = self._change(image)
        caption = read_caption(self._files, name, plan.caption_extension)
        return {**describe(plan, index, cut, caption), "image": changed}

    def _change(self, image: Tensor) -> Tensor:
        changed = image if self._transform is None else self._transform(image)
        if changed.shape != image.shape:
            shapes = f"{tuple(changed.shape)} of {tuple(image.shape)}"
            why, fix = f"it made {shapes}", "batches are of one shape: keep it"
            raise ConfigError("cannot use the transform", why=why, fix=fix)
        return changed


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack the samples of a batch; in a worker, into memory that is shared with who asked."""
    image = stack([sample["image"] for sample in samples])
    return {**collate_described(samples), "image": image}


def stack(tensors: list[Tensor]) -> Tensor:
    """Tensors of one shape as one; in a worker, in memory that is shared with who asked."""
    stacked: Tensor = default_collate(tensors)
    return stacked


def describe(plan: Plan, index: int, cut: Cut, caption: str, *, flipped: bool = False) -> Described:
    """What is said of a sample; of a mirror image that is `flipped`, the crop is in that."""
    shown = cut.stored.turned(cut.orientation)
    left = cut.resized.width - cut.left - cut.size.width if flipped else cut.left
    return Described(
        caption=caption,
        name=plan.name(index),
        index=index,
        bucket=int(plan.assignment.bucket[index]),
        original_size=torch.tensor(shown[::-1]),
        crop_top_left=torch.tensor((cut.top, left)),
        target_size=torch.tensor(cut.size[::-1]),
        entry=plan.id,
        replaced=False,
    )


def collate_described(samples: Sequence[Described]) -> DescribedBatch:
    """What is said of the samples of a batch."""
    return DescribedBatch(
        caption=[sample["caption"] for sample in samples],
        name=[sample["name"] for sample in samples],
        index=torch.tensor([sample["index"] for sample in samples]),
        bucket=samples[0]["bucket"],
        original_size=stack([sample["original_size"] for sample in samples]),
        crop_top_left=stack([sample["crop_top_left"] for sample in samples]),
        target_size=stack([sample["target_size"] for sample in samples]),
        entry=samples[0]["entry"],
        replaced=torch.tensor([sample["replaced"] for sample in samples]),
    )


def time_ids(batch: Conditions) -> Tensor:
    """What SDXL is conditioned on, float32 (n, 6).

    In the order of diffusers' `add_time_ids`: original height and width, top and left of the crop,
    height and width of the target (https://arxiv.org/abs/2307.01952, section 2.2).
    """
    parts = (batch["original_size"], batch["crop_top_left"], batch["target_size"])
    return torch.cat(parts, dim=1).to(torch.float32)
