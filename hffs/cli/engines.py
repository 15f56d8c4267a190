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

from hffs.cli.commands import Option
from hffs.errors import UsageError

if TYPE_CHECKING:
    from hffs.data.engines import Engine


class EngineName(StrEnum):
    """What `--engine` may say."""

    LOCAL = "local"
    RAY = "ray"


_Engine = Annotated[
    EngineName,
    Option(
        "--engine",
        help="Who does the work: this host (local), or workers of Ray (pip install "
        "'hffs-mount[ray]'), on this host or a cluster.",
    ),
]
_RayAddress = Annotated[
    str | None,
    Option(
        metavar="HOST:PORT",
        help="The head of a Ray cluster, auto on a host of one; else Ray is started on this host.",
    ),
]
_RayWorkers = Annotated[
    int | None,
    Option(min=1, metavar="N", help="How many workers of Ray, at most.", show_default="all"),
]


@dataclass(frozen=True, slots=True)
class EngineChoice:
    """Which engine is asked for: a group of options (`hffs.cli.optiongroups`).

    Raises UsageError for options of another.
    """

    engine: _Engine = EngineName.LOCAL
    ray_address: _RayAddress = None
    ray_workers: _RayWorkers = None

    def __post_init__(self) -> None:
        if self.engine is EngineName.RAY:
            return
        for flag, value in self.list_of_ray():
            if value is not None:
                fix = "say --engine ray"
                raise UsageError("cannot use", flag, why="the engine is local", fix=fix)

    def list_of_ray(self) -> Iterator[tuple[str, object]]:
        """Options that only Ray has, and what was said."""
        yield "--ray-address", self.ray_address
        yield "--ray-workers", self.ray_workers


@contextmanager
def open_engine(choice: EngineChoice, devices: Sequence[str] = ()) -> Iterator[Engine | None]:
    """The engine that is asked for; what it started ends with the block.

    Without Ray it is the local one of some devices, None where there are none: then commands do the
    work in their own way. With one nothing may be printed inside the block: Ray tells of workers
    that died on standard output, where results go, so that goes to standard error.
    """
    if choice.engine is EngineName.RAY:
        from hffs.data.engines.ray import RayEngine

        with (
            redirect_stdout(sys.stderr),
            RayEngine(choice.ray_address, choice.ray_workers) as engine,
        ):
            yield engine
    elif devices:
        from hffs.data.engines.local import LocalEngine

        with redirect_stdout(sys.stderr):  # code of the user's may print
            yield LocalEngine(devices)
    else:
        yield None
