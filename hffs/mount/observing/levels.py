"""How much a daemon logs, changed while it serves."""

from __future__ import annotations

import logging

from hffs.errors import UsageError

LEVELS = ("debug", "info", "warning", "error")

_LOGGER = "hffs"


def set_level(name: str) -> None:
    """Log so much from now on; UsageError for a name that is none of `LEVELS`."""
    if name not in LEVELS:
        fix = f"choose one of {', '.join(LEVELS)}"
        raise UsageError("cannot set the log level to", name[:40], why="it is none", fix=fix)
    logging.getLogger(_LOGGER).setLevel(name.upper())


def get_level() -> str:
    """How much is logged now."""
    return logging.getLevelName(logging.getLogger(_LOGGER).getEffectiveLevel()).lower()
