"""Pools of processes that render; each is started once for all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from hffs.view.codecs import Reshape, Target
from hffs.view.rendering import Rendering
from hffs.view.workers.messages import Limits
from hffs.view.workers.pool import LIMITS, Means, RenderPool

STAND_IN = "tests.view.workers.standins:main"

StartPool = Callable[..., RenderPool]


@pytest.fixture
def start_pool() -> Iterator[StartPool]:
    """Start a pool with some means; all are closed at the end."""
    with ExitStack() as stack:

        def start(
            target: Target = "jpg", reshape: Reshape | None = None, means: Means | None = None
        ) -> RenderPool:
            pool = RenderPool(Rendering(target, reshape or Reshape()), means)
            stack.callback(pool.close)
            return pool

        yield start


@pytest.fixture(scope="module")
def obedient() -> Iterator[RenderPool]:
    """A pool whose images say what its workers do, within a second of CPU."""
    means = Means(Limits(1, LIMITS.memory_bytes), program=STAND_IN)
    pool = RenderPool(Rendering("jpg", Reshape()), means)
    yield pool
    pool.close()


def find_children(pid: int) -> list[int]:
    """Processes that a process has started and that have not ended."""
    children = list[int]()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread may end meanwhile
            children += map(int, (task / "children").read_text().split())
    return [child for child in children if is_running(child)]


def is_running(pid: int) -> bool:
    return _read_state(pid) not in ("", "Z")


def is_stopped(pid: int) -> bool:
    return _read_state(pid) == "T"


def _read_state(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return text.rpartition(")")[2].split()[0]
