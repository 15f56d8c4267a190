"""Engines: who runs work that may outgrow one process or one machine.

Owns what is asked of an engine. Must not know what the work is. Invariants: every task is answered;
a worker that dies costs nothing but the task that it was at, which another one does again, so that
doing one twice must do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")

Worker = Callable[[Iterable[T]], Iterator[R]]
"""Answers tasks, one result for each and in their order; it may look ahead in them."""

MakeWorker = Callable[[str], Worker[T, R]]
"""Makes a worker for a device ("cpu", "cuda:0"), in the process that it will work in.

It is pickled, as are tasks and results: a function of a module, or a `functools.partial` of one.
"""


@dataclass(frozen=True, slots=True)
class Needs:
    """What one worker takes: GPUs (0, 1 or a part), CPUs, and how many tasks it is given at once,
    which it may overlap.
    """

    gpus: float = 0
    cpus: float = 1
    at_once: int = 1


class Engine(Protocol):
    """Runs tasks on workers of its own."""

    @property
    def is_here(self) -> bool:
        """Whether the only worker is in this very process, and nothing is pickled."""
        ...

    def run(self, make: MakeWorker[T, R], tasks: Sequence[T], needs: Needs) -> Iterator[R]:
        """What the workers answer, as it comes.

        Closing it early ends the workers. Raises the first HffsError that a worker raised, and
        DataError where workers keep dying.
        """
        ...
