"""`--engine`: who does the work of a command, this host alone or a cluster.

Owns the options that several commands have alike, and opening what they mean.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from hffs.errors import UsageError

if TYPE_CHECKING:
    from hffs.data.engines import Engine


class EngineName(StrEnum):
    """What `--engine` may say."""

    LOCAL = "local"
    RAY = "ray"


EngineOption = Annotated[
    EngineName,
    typer.Option(
        "--engine",
        help="Who does the work: this host (local), or workers of Ray (pip install "
        "'hffs-mount[ray]'), on this host or a cluster.",
    ),
]
RayAddress = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="The head of a Ray cluster, auto on a host of one; else Ray is started on this host.",
    ),
]
RayWorkers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="How many workers of Ray, at most.", show_default="all"),
]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine is asked for. Raises UsageError for options of another."""

    name: EngineName = EngineName.LOCAL
    address: str | None = None
    workers: int | None = None

    def __post_init__(self) -> None:
        if self.name is not EngineName.RAY:
            given = {"--ray-address": self.address, "--ray-workers": self.workers}
            for flag, value in given.items():
                if value is not None:
                    fix = "say --engine ray"
                    raise UsageError("cannot use", flag, why="the engine is local", fix=fix)


@contextmanager
def open_engine(choice: EngineChoice, devices: Sequence[str] = ()) -> Iterator[Engine | None]:
    """The engine that is asked for; what it started ends with the block.

    Without Ray it is the local one of some devices, None where there are none: then commands do the
    work in their own way. With Ray nothing may be printed inside the block: Ray tells of workers
    that died on standard output, where results go, so that goes to standard error.
    """
    if choice.name is EngineName.RAY:
        from hffs.data.engines.ray import RayEngine

        with redirect_stdout(sys.stderr), RayEngine(choice.address, choice.workers) as engine:
            yield engine
    elif devices:
        from hffs.data.engines.local import LocalEngine

        yield LocalEngine(devices)
    else:
        yield None
