"""Who encodes: an engine, and what each of its workers has.

Owns what is chosen where nothing is said. Must not know what is encoded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hffs.cli.caching.options import EngineOptions, RunOptions
from hffs.data.engines import Engine, Needs
from hffs.data.engines.local import LocalEngine
from hffs.data.engines.ray import RayEngine
from hffs.train.caching.work import count_cores, find_devices

_AT_ONCE = 4
"""Shards that a worker of a cluster is given at once: between them it need not wait."""

_GPU_DECODERS = 4
"""Threads, and so CPUs, beside each GPU of a cluster, if nothing is said."""


@dataclass(frozen=True, slots=True)
class Crew:
    """An engine, what each worker takes, and its threads: that decode, and on a CPU that encode."""

    engine: Engine
    needs: Needs
    decoders: int
    threads: int


@contextmanager
def open_crew(run: RunOptions, how: EngineOptions) -> Iterator[Crew]:
    """Workers as they were asked for, to the end of the block."""
    if how.engine == "local":
        devices = tuple(run.devices or find_devices())
        cores = count_cores()
        yield Crew(
            LocalEngine(devices), Needs(), run.decoders or cores, max(1, cores // len(devices))
        )
        return
    gpus = how.ray_gpus
    if gpus is None:
        gpus = 0.0 if find_devices() == ("cpu",) else 1.0
    cpus = run.decoders or (_GPU_DECODERS if gpus else 1)
    with RayEngine(how.ray_address, how.ray_workers) as engine:
        yield Crew(engine, Needs(gpus, cpus, _AT_ONCE), cpus, cpus)
