"""Who encodes: an engine, and what each of its workers has.

Owns what is chosen where nothing is said. Must not know what is encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hffs.cli.caching.options import CacheEngine, RunOptions
from hffs.cli.engines import EngineName, open_engine
from hffs.data.engines import Engine, Needs
from hffs.train.caching.work import check_device, count_cores, find_devices, find_streams

_AT_ONCE = 4
"""Shards that a worker of a cluster is given at once: between them it need not wait."""

_GPU_DECODERS = 4
"""Threads, and so CPUs, beside each GPU of a cluster, if nothing is said."""


@dataclass(frozen=True, slots=True)
class Crew:
    """An engine, what each worker takes, and its threads: that decode, and that encode."""

    engine: Engine
    needs: Needs
    decoders: int
    streams: int


@contextmanager
def open_crew(run: RunOptions, choice: CacheEngine) -> Iterator[Crew]:
    """Workers as they were asked for, to the end of the block."""
    devices, cores, needs = tuple(run.devices or find_devices()), count_cores(), Needs()
    if choice.engine is EngineName.LOCAL:
        for device in devices:
            check_device(device)
    decoders, streams = run.decoders or cores, find_streams(devices[0], cores // len(devices))
    if choice.engine is EngineName.RAY:
        gpus = choice.ray_gpus
        if gpus is None:
            gpus = float(devices != ("cpu",))
        decoders = run.decoders or (_GPU_DECODERS if gpus else 1)
        streams = find_streams("cuda" if gpus else "cpu", decoders)
        needs = Needs(gpus, decoders, _AT_ONCE)
    with open_engine(choice, devices) as engine:
        if engine is not None:
            yield Crew(engine, needs, decoders, streams)
