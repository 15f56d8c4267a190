"""Lossless cuts and turns of JPEGs by libjpeg-turbo, where its library is installed.

Owns the binding: four functions of the TurboJPEG API 2 (ADR 0006), which libraries of versions 2
and 3 both export. Must not know what is cut, or why. Invariants: DCT coefficients of a result are
those of the source; a source that libjpeg so much as warns of has no result; nothing is written
to standard error; every buffer of the library is freed here. Safe on several threads at once: a
handle lives for one call, and ctypes lets go of the interpreter's lock.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from ctypes import (
    CDLL,
    POINTER,
    Structure,
    c_int,
    c_ulong,
    c_void_p,
    string_at,
)  # fmt: skip
from enum import IntEnum
from typing import NamedTuple

import numpy as np

from hffs.core.composites import Box

log = logging.getLogger(__name__)

_NAMES = ("libturbojpeg.so.0", "libturbojpeg.so")
_ONLY_IN_3 = "tj3Transform"
_PERFECT, _CROP, _COPY_NONE = 1, 4, 64  # TJXOPT_*
_STOP_ON_WARNING, _LIMIT_SCANS = 8192, 32768  # TJFLAG_*
_WARNING = 0  # TJERR_WARNING


class Turn(IntEnum):
    """What is done to the pixels after they are cut out (TJXOP_*)."""

    NONE = 0
    FLIP_HORIZONTALLY = 1
    FLIP_VERTICALLY = 2
    TRANSPOSE = 3
    TRANSVERSE = 4
    CLOCKWISE = 5
    HALF = 6
    COUNTERCLOCKWISE = 7


TURN_UPRIGHT = (
    Turn.NONE, Turn.NONE, Turn.FLIP_HORIZONTALLY, Turn.HALF, Turn.FLIP_VERTICALLY,
    Turn.TRANSPOSE, Turn.CLOCKWISE, Turn.TRANSVERSE, Turn.COUNTERCLOCKWISE,
)  # fmt: skip
"""By EXIF orientation."""


class Transformed(NamedTuple):
    """Results of one call, None where there is none."""

    images: list[bytes | None]
    is_damaged: bool = False
    """Whether the source is at fault, so that nothing can be had of it in another call either."""


class _Transform(Structure):
    _fields_ = (
        ("x", c_int), ("y", c_int), ("w", c_int), ("h", c_int), ("op", c_int),
        ("options", c_int), ("data", c_void_p), ("filter", c_void_p),
    )  # fmt: skip


def describe_library() -> str:
    """What stands for the library where its bytes matter."""
    library = _load()
    if library is None:
        return "no libturbojpeg"
    return f"libturbojpeg {3 if hasattr(library, _ONLY_IN_3) else 2}"


def is_available() -> bool:
    """Whether anything can be cut or turned at all."""
    return _load() is not None


def transform(
    data: bytes | memoryview, boxes: Sequence[Box | None], turn: Turn = Turn.NONE
) -> Transformed:
    """Cut boxes out of a JPEG, None for all of it, and turn them, after one entropy decode.

    A box has to begin where a block (iMCU) does, and to be turned whole (`is_turned_whole`); what
    is not is none of the results. No metadata is taken along.
    """
    library = _load()
    if library is None:
        return Transformed([None] * len(boxes))
    handle = library.tjInitTransform()
    if not handle:
        return Transformed([None] * len(boxes))  # out of memory
    try:
        return _transform(library, handle, data, [_describe(box, turn) for box in boxes])
    finally:
        library.tjDestroy(handle)


def _describe(box: Box | None, turn: Turn) -> _Transform:
    options = _PERFECT | _COPY_NONE | (_CROP if box else 0)
    return _Transform(*(box or (0, 0, 0, 0)), turn, options, None, None)


def _transform(
    library: CDLL, handle: int, data: bytes | memoryview, wanted: list[_Transform]
) -> Transformed:
    count = len(wanted)
    source = np.frombuffer(data, np.uint8)  # the address of a read-only buffer, without a copy
    buffers, sizes = (c_void_p * count)(), (c_ulong * count)()
    try:
        failed = library.tjTransform(
            handle, source.ctypes.data, len(source), count, buffers, sizes,
            (_Transform * count)(*wanted), _STOP_ON_WARNING | _LIMIT_SCANS,
        )  # fmt: skip
        if failed:
            return Transformed([None] * count, library.tjGetErrorCode(handle) == _WARNING)
        return Transformed([string_at(*pair) for pair in zip(buffers, sizes, strict=True)])
    finally:
        for buffer in buffers:
            library.tjFree(buffer)


@functools.cache
def _load() -> CDLL | None:
    """The library, None where there is none; said once, since results look the same."""
    for name in _NAMES:
        try:
            return _declare(CDLL(name))
        except (OSError, AttributeError):  # not there, or older than version 2
            continue
    log.info("libturbojpeg is not installed: JPEGs that are cut or turned are encoded again")
    return None


def _declare(library: CDLL) -> CDLL:
    library.tjInitTransform.restype = c_void_p
    library.tjTransform.argtypes = [
        c_void_p, c_void_p, c_ulong, c_int, POINTER(c_void_p), POINTER(c_ulong),
        POINTER(_Transform), c_int,
    ]  # fmt: skip
    library.tjFree.argtypes = [c_void_p]
    library.tjDestroy.argtypes = [c_void_p]
    library.tjGetErrorCode.argtypes = [c_void_p]
    return library
