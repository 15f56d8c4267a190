"""The boundary that every FUSE handler goes through: what was raised becomes an errno.

One uncaught exception in a pyfuse3 handler takes the whole mount down with it, so this holds the
only broad `except` of the project. trio's `Cancelled` is a BaseException and passes.

Every request is counted here, with how long it took and what it failed with. Each one passes, so
this is written out: what it adds to a request is about a microsecond (docs/operations.md).
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter_ns
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

import pyfuse3

from hffs.errors import HffsError
from hffs.mount.observing.counting import UNEXPECTED, Counters
from hffs.mount.requests.answers import refuse

P = ParamSpec("P")
R = TypeVar("R")


class Counted(Protocol):
    """Whose handlers are counted, and where."""

    counters: Counters


O = TypeVar("O", bound=Counted)  # noqa: E741 - as in Operations

log = logging.getLogger(__name__)


def guarded(
    handler: Callable[Concatenate[O, P], Coroutine[Any, Any, R]],
) -> Callable[Concatenate[O, P], Coroutine[Any, Any, R]]:
    """A handler that raises nothing but FUSEError (and lets a cancellation pass)."""
    kind = handler.__name__

    @functools.wraps(handler)
    async def guard(self: O, /, *args: P.args, **kwargs: P.kwargs) -> R:
        began = perf_counter_ns()
        counters = self.counters
        meter = counters.meters[kind]
        counters.in_flight += 1
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError as error:
            meter.errnos[error.errno] += 1
            raise
        except Exception as error:
            raise pyfuse3.FUSEError(_tell(counters, kind, args[:1], error)) from error
        finally:
            counters.in_flight -= 1
            meter.note(perf_counter_ns() - began)

    return guard


def _tell(counters: Counters, kind: str, what: object, error: Exception) -> int:
    """The errno of what was raised, which is logged and counted."""
    if isinstance(error, HffsError):
        # Whoever raised it has logged it once if a person should know.
        log.debug("%s: %s", kind, error)
        name, number = type(error).__name__, error.errno
    else:
        log.exception("%s failed: %s", kind, what)
        name, number = UNEXPECTED, errno.EIO
    counters.errors[name] += 1
    counters.meters[kind].errnos[number] += 1
    return number


def at_once(
    handler: Callable[[O, int, int, int, memoryview], bool], *, has_twin: bool = True
) -> Callable[[O, int, int, int, memoryview], bool]:
    """A handler that answers by itself, or says False: for whatever is raised too, as pyfuse3's
    twin of it then meets the same, and tells of it. One without a twin gives the errno itself.
    """
    kind = handler.__name__.removesuffix("plus")  # as pyfuse3 calls it

    @functools.wraps(handler)
    def guard(self: O, device: int, unique: int, inode: int, request: memoryview) -> bool:
        began = perf_counter_ns()
        try:
            answered = handler(self, device, unique, inode, request)
        except Exception as error:  # noqa: BLE001 - the twin, or `_tell`, logs it
            if has_twin:
                return False
            refuse(device, unique, _tell(self.counters, kind, inode, error))
            answered = True
        if answered:
            self.counters.meters[kind].note(perf_counter_ns() - began)
        return answered

    return guard


at_once_alone = functools.partial(at_once, has_twin=False)
