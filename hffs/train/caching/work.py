"""What a worker needs to encode chunks, wherever it runs.

Owns how a worker is made. It is pickled with its `Work`, so that another process or host opens
everything itself: the files, the model, and where shards are kept.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch

from hffs.data.engines import Worker
from hffs.data.hub.models import HubAccess
from hffs.errors import UsageError
from hffs.train.caching.chunks import Chunk, ImageSample, Sample
from hffs.train.caching.encoders import Encoder, TextSpec, VaeSpec
from hffs.train.caching.encoders.opening import open_image_encoder, open_text_encoder
from hffs.train.caching.pipeline import Pipeline, Report, Stages
from hffs.train.caching.store import Store
from hffs.train.files import Files, FolderFiles, OpenFiles
from hffs.train.loading import load_pixels

_GPU_STREAMS, _MOST_STREAMS = 2, 8
"""Batches on a GPU: while one is copied from it, it has another. On a CPU each takes gigabytes."""


@dataclass(frozen=True, slots=True)
class Work:
    """The encoder, the files (none of texts), and the address of the store; threads that decode,
    and that encode (`find_streams`).
    """

    encoder: VaeSpec | TextSpec
    access: HubAccess
    files: OpenFiles | None
    address: str
    decoders: int
    streams: int


def open_encoder(spec: VaeSpec | TextSpec, access: HubAccess) -> Encoder[Any]:
    """The encoder that is meant, not loaded yet."""
    if isinstance(spec, VaeSpec):
        return open_image_encoder(spec, access)
    return open_text_encoder(spec, access)


def make_worker(
    work: Work, device: str, tell: Callable[[int], None] | None = None
) -> Worker[Chunk, Report]:
    """A worker on a device, as an engine makes it; `tell` is for those of its own process."""
    if device == "cpu":
        torch.set_num_threads(1)  # see hffs.train.caching.pipeline
    encoder = open_encoder(work.encoder, work.access)
    encoder.load(device)
    return partial(_encode, work, encoder, device, tell)


def _encode(
    work: Work,
    encoder: Encoder[Any],
    device: str,
    tell: Callable[[int], None] | None,
    chunks: Iterable[Chunk],
) -> Iterator[Report]:
    # Of what is in the store nothing is looked up to put more into it.
    store = Store.open(work.address)
    with ExitStack() as stack:
        files = None if work.files is None else stack.enter_context(work.files())
        stages = Stages(partial(_load, files), encoder, store.put, encoder.identify(), tell)
        yield from Pipeline(stages, device, work.decoders, work.streams).run(chunks)


def _load(files: Files | None, sample: Sample) -> Any:
    if files is None or not isinstance(sample, ImageSample):
        return sample
    if isinstance(files, FolderFiles) and sample.stamp is not None:
        files = FolderFiles(files.folder, {sample.name: sample.stamp})
    pixels = load_pixels(files, sample.name, sample.cut)
    return np.ascontiguousarray(pixels[:, ::-1]) if sample.flipped else pixels


def count_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def find_devices() -> tuple[str, ...]:
    """All GPUs of this host, else its CPU."""
    count = torch.cuda.device_count()
    return tuple(f"cuda:{number}" for number in range(count)) or ("cpu",)


def check_device(device: str) -> None:
    """Raise UsageError for a device that this host does not have."""
    kind, _, number = device.partition(":")
    count = torch.cuda.device_count()
    if device == "cpu" or (kind == "cuda" and count > 0 and not number):
        return
    if kind == "cuda" and number.isdecimal() and int(number) < count:
        return
    has = ", ".join(["cpu", *(f"cuda:{each}" for each in range(count))])
    raise UsageError("cannot use --device", device, why=f"this host has {has}")


def find_streams(device: str, cores: int) -> int:
    """How many batches are encoded at a time on a device, of whose host so many cores are its."""
    return max(1, min(cores, _MOST_STREAMS)) if device == "cpu" else _GPU_STREAMS
