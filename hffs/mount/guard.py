"""The boundary that every FUSE handler goes through: what was raised becomes an errno.

One uncaught exception in a pyfuse3 handler takes the whole mount down with it, so this holds the
only broad `except` of the project. trio's `Cancelled` is a BaseException and passes.
"""

from __future__ import annotations

import errno
import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

import pyfuse3

from hffs.errors import HffsError

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger(__name__)


def guarded(handler: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, Coroutine[Any, Any, R]]:
    """A handler that raises nothing but FUSEError (and lets a cancellation pass)."""

    @functools.wraps(handler)
    async def guard(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await handler(*args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except HffsError as error:
            # Whoever raised it has logged it once if a person should know.
            log.debug("%s: %s", handler.__name__, error)
            raise pyfuse3.FUSEError(error.errno) from error
        except Exception as error:
            log.exception("%s failed: %s", handler.__name__, args[1:2])
            raise pyfuse3.FUSEError(errno.EIO) from error

    return guard
