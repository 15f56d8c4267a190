"""One device at work: samples are decoded ahead, encoded in batches, and written behind.

Owns the order of the three and who waits for whom. Must not know where chunks come from, or what an
encoder is. Invariants: a chunk is written whole, and only once all of it is encoded; a batch holds
samples of one chunk, in their order, so that the same chunk is encoded the same way by anyone; as
little as a few batches and shards are in memory.

Decoding is done by threads: Pillow lets go of the interpreter while it decodes and resizes, and so
nothing has to be sent between processes. Encoding is too: a GPU has the next batch while one is
copied from it, and a CPU encodes several, each by one thread of its own, since what torch computes
by several threads depends on their number.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from hffs.errors import DataError, HffsError
from hffs.train.caching.chunks import Chunk, Sample, rename_shard
from hffs.train.caching.encoders import Encoder
from hffs.train.caching.keys import make_seed
from hffs.train.caching.outputs import fetch, join, show
from hffs.train.caching.shards import Shard
from hffs.train.caching.timing import BusyClock, Seconds

log = logging.getLogger(__name__)

_SHARDS_WAITING = 2
"""Shards that may wait to be written before encoding does."""

_BATCHES_AHEAD = 2
"""Batches that are decoded ahead, beside what the threads are at."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of a chunk: samples that were encoded, `refused` for good, and `failed`, which
    may pass; one reason is enough. `smallest_batch` is what memory allowed, if that was less than
    was asked for.
    """

    name: str
    done: int
    refused: int
    failed: int
    size_bytes: int
    seconds: Seconds
    smallest_batch: int | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Stages:
    """The parts of a pipeline: `load` gives the input of a sample (an image as uint8 (h, w, 3), a
    text itself) or raises DataError; `write` keeps a shard and says how many bytes it took.

    `facts` are the encoder's own; `tell` hears of every batch how many samples it had.
    """

    load: Callable[[Sample], Any]
    encoder: Encoder[Any]
    write: Callable[[Shard], int]
    facts: Mapping[str, Any]
    tell: Callable[[int], None] | None = None


@dataclass(slots=True)
class _Encoded:
    """What became of a batch: tensors of the samples at some places of its chunk."""

    places: list[int]
    parts: list[dict[str, Tensor]] = field(default_factory=list)
    smallest: int | None = None


@dataclass(slots=True)
class _Open:
    """A chunk that is being encoded: what is done of it."""

    chunk: Chunk
    good: list[int] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)
    failed: int = 0
    reason: str = ""
    parts: list[Mapping[str, Tensor]] = field(default_factory=list)
    smallest: int | None = None
    seconds: Seconds = field(default_factory=Seconds)

    def spend(self, **seconds: float) -> None:
        """Note where time went."""
        self.seconds += Seconds(**seconds)


class _Going(NamedTuple):
    """A batch that is being encoded, of so many `samples`, some of which may be bad."""

    opened: _Open
    encoded: Future[_Encoded]
    samples: int
    is_last: bool


_Loaded = tuple[Any, float]
"""An input, and the seconds that it took."""


class Pipeline:
    """Encodes chunks on one device: `decoders` threads decode, `streams` encode at a time."""

    def __init__(self, stages: Stages, device: str, decoders: int, streams: int) -> None:
        self._stages = stages
        self._device = torch.device(device)
        self._decoders, self._streams = decoders, streams
        self._limits: dict[tuple[int, ...], int] = {}
        self._alone = threading.Lock()
        self._is_alone = streams == 1
        self._clock = BusyClock(streams if self._device.type == "cpu" else 1)

    def run(self, chunks: Iterable[Chunk]) -> Iterator[Report]:
        """What became of each chunk, in their order; closing it stops all threads."""
        with ExitStack() as stack:
            decoders = _open_pool(stack, self._decoders, "hffs-decode")
            encoders = _open_pool(stack, self._streams, "hffs-encode")
            writer = _open_pool(stack, 1, "hffs-write")
            writing = deque[Future[Report]]()
            since = time.perf_counter()
            for opened in self._encode_all(chunks, decoders, encoders):
                while len(writing) >= _SHARDS_WAITING:
                    yield writing.popleft().result()
                now = time.perf_counter()
                opened.spend(total=now - since, encode=self._clock.take_s())
                since = now
                writing.append(writer.submit(self._finish, opened))
                while writing and writing[0].done():
                    yield writing.popleft().result()
            while writing:
                yield writing.popleft().result()

    def _encode_all(
        self, chunks: Iterable[Chunk], decoders: ThreadPoolExecutor, encoders: ThreadPoolExecutor
    ) -> Iterator[_Open]:
        """Each chunk once all of it is encoded; batches of those behind it are at it by then."""
        going = deque[_Going]()
        for opened, loaded in self._load_ahead(chunks, decoders):
            chunk = opened.chunk
            count = len(chunk.samples)
            for start in range(0, count, chunk.batch):
                places = range(start, min(start + chunk.batch, count))
                inputs, good = self._gather(opened, loaded, places)
                encoded = encoders.submit(self._encode, chunk, inputs, good)
                going.append(_Going(opened, encoded, len(places), places.stop == count))
                while len(going) > self._streams:
                    yield from self._take(going.popleft())
        while going:
            yield from self._take(going.popleft())

    def _take(self, going: _Going) -> Iterator[_Open]:
        """Wait for a batch; the chunk, where that was its last one."""
        opened, encoded = going.opened, going.encoded.result()
        opened.parts += encoded.parts
        opened.good += encoded.places
        if encoded.smallest is not None:
            opened.smallest = min(opened.smallest or encoded.smallest, encoded.smallest)
        if self._stages.tell is not None:
            self._stages.tell(going.samples)
        if going.is_last:
            yield opened

    def _load_ahead(
        self, chunks: Iterable[Chunk], pool: ThreadPoolExecutor
    ) -> Iterator[tuple[_Open, Iterator[Future[_Loaded]]]]:
        """Each chunk with its inputs, which threads are at work on, also on those behind it."""
        waiting = deque[Future[_Loaded]]()
        todo = iter(chunks)
        # Samples of chunks that were begun ahead, to be submitted as others are taken.
        begun = deque[tuple[Chunk, Iterator[Sample]]]()
        known = deque[Chunk]()

        def fill(room: int) -> None:
            while len(waiting) < room:
                if not begun:
                    chunk = next(todo, None)
                    if chunk is None:
                        return
                    begun.append((chunk, iter(chunk.samples)))
                    known.append(chunk)
                sample = next(begun[0][1], None)
                if sample is None:
                    begun.popleft()
                else:
                    waiting.append(pool.submit(self._load, sample))

        def take(chunk: Chunk) -> Iterator[Future[_Loaded]]:
            room = self._decoders + _BATCHES_AHEAD * chunk.batch
            for _ in chunk.samples:
                fill(room)
                yield waiting.popleft()
                fill(room)

        while True:
            fill(1)
            if not known:
                return
            chunk = known.popleft()
            yield _Open(chunk), take(chunk)

    def _load(self, sample: Sample) -> _Loaded:
        began = time.perf_counter()
        loaded = self._stages.load(sample)
        return loaded, time.perf_counter() - began

    def _gather(
        self, opened: _Open, loaded: Iterator[Future[_Loaded]], places: Sequence[int]
    ) -> tuple[list[Any], list[int]]:
        """The inputs of a batch, and which samples they are of: not of those that are bad."""
        inputs, good, decode = list[Any](), list[int](), 0.0
        for place in places:
            try:
                value, seconds = next(loaded).result()
            except HffsError as error:
                self._refuse(opened, place, error)
                continue
            inputs.append(value)
            good.append(place)
            decode += seconds
        opened.spend(decode=decode)
        return inputs, good

    def _refuse(self, opened: _Open, place: int, error: HffsError) -> None:
        opened.reason = opened.reason or str(error)
        if _may_pass(error):
            opened.failed += 1
        else:
            key = opened.chunk.keys[place].tobytes().hex()
            opened.refused[key] = error.why

    def _encode(self, chunk: Chunk, inputs: Sequence[Any], places: list[int]) -> _Encoded:
        """Encode a batch, by halves where memory does not suffice; then so is all of that shape."""
        encoded = _Encoded(places)
        if not inputs:
            return encoded
        shape = np.shape(inputs[0]) if isinstance(inputs[0], np.ndarray) else ()
        size, start = min(self._limits.get(shape, len(inputs)), len(inputs)), 0
        while start < len(inputs):
            if size < len(inputs):
                encoded.smallest = size
            some = slice(start, start + size)
            samples = [chunk.samples[place] for place in places[some]]
            seeds = [make_seed(chunk.keys[place].tobytes()) for place in places[some]]
            tensors = self._try_alone(inputs[some], samples, seeds)
            if tensors is not None:
                encoded.parts.append(tensors)
                start += size
            elif size == 1:
                raise _too_large(samples[0], self._device)
            else:
                size = self._limits[shape] = -(-size // 2)
                log.warning("not enough memory on %s: %d at once from now on", self._device, size)
        return encoded

    def _try_alone(
        self, inputs: Sequence[Any], samples: Sequence[Sample], seeds: Sequence[int]
    ) -> dict[str, Tensor] | None:
        """As `_try`; where memory does not suffice for several batches, from then on one by one."""
        if not self._is_alone:
            tensors = self._try(inputs, samples, seeds)
            if tensors is not None:
                return tensors
            self._is_alone = True
        with self._alone:  # others that are at it still end, and take it then
            return self._try(inputs, samples, seeds)

    def _try(
        self, inputs: Sequence[Any], samples: Sequence[Sample], seeds: Sequence[int]
    ) -> dict[str, Tensor] | None:
        """Encode a batch; None where there is not enough memory for it."""
        try:
            with torch.inference_mode():
                batch = self._make_batch(inputs)
                with self._clock:  # a GPU is done once its tensors are here
                    return fetch(self._stages.encoder.encode(batch, seeds), samples)
        except (torch.OutOfMemoryError, MemoryError):
            pass  # what the error holds has to go before memory is given back
        except (RuntimeError, ValueError, TypeError, LookupError, AttributeError) as error:
            if "can't allocate memory" not in str(error):
                raise DataError("cannot encode", show(samples[0]), why=_shorten(error)) from error
        if self._device.type == "cuda":
            torch.cuda.empty_cache()
        return None

    def _make_batch(self, inputs: Sequence[Any]) -> Any:
        """Texts as they are; of images a float32 tensor (n, 3, h, w) in [-1, 1] on the device."""
        if not isinstance(inputs[0], np.ndarray):
            return list(inputs)
        pixels = torch.from_numpy(np.stack(inputs))
        if self._device.type == "cuda":
            pixels = pixels.pin_memory()
        pixels = pixels.to(self._device, non_blocking=True).permute(0, 3, 1, 2)
        images = pixels.to(torch.float32, memory_format=torch.contiguous_format)
        return images.div_(127.5).sub_(1)

    def _finish(self, opened: _Open) -> Report:
        """Write the shard of a chunk, on a thread of its own."""
        began = time.perf_counter()
        tensors = join(opened.parts)
        name, keys = _name(opened), opened.chunk.keys[opened.good]
        shard = Shard(name, keys, tensors, opened.refused, self._stages.facts)
        size = 0
        if opened.good or opened.refused:
            size = self._stages.write(shard)
        opened.spend(write=time.perf_counter() - began)
        return Report(
            name,
            len(opened.good),
            len(opened.refused),
            opened.failed,
            size,
            opened.seconds,
            opened.smallest,
            opened.reason,
        )


def _open_pool(stack: ExitStack, threads: int, name: str) -> ThreadPoolExecutor:
    pool = ThreadPoolExecutor(threads, name)
    stack.callback(pool.shutdown, cancel_futures=True)
    return pool


def _name(opened: _Open) -> str:
    """The name of a shard: that of its chunk, if all of that is in it; else one of what is.

    So nothing takes the place of a shard that is whole.
    """
    chunk = opened.chunk
    if not opened.failed:
        return chunk.name
    return rename_shard(chunk.name, chunk.keys[opened.good], opened.refused)


def _may_pass(error: HffsError) -> bool:
    """Whether a file may be readable another time: it could not be had, or is no data at all.

    What a view says of a row that is broken for good counts as that too, since through a mount the
    same row is a system's error like any other.
    """
    cause = error.__cause__
    is_system = isinstance(cause, OSError) and cause.errno is not None
    is_full = isinstance(
        cause, MemoryError | RuntimeError
    )  # also of threads that cannot be started
    return is_system or is_full or type(error) is not DataError


def _too_large(sample: Sample, device: torch.device) -> DataError:
    fix = "use --tiling, a smaller resolution, or another device"
    return DataError("cannot encode", show(sample), why=f"not enough memory on {device}", fix=fix)


def _shorten(error: Exception) -> str:
    said = f"{type(error).__name__}: {error}".strip().removesuffix(":")
    return said.splitlines()[0][:300]
