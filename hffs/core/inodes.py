"""Inodes are arithmetic on positions: no table, nothing to forget, the same after every remount.

Inode 1 is the root. File k of position p (k is its `Kind`) is `2 + p * KINDS + k`, so a file
handle can be the inode too and any process can answer any request. Whatever belongs to no position
(a `metadata.jsonl`, folders) has the inodes behind the last position's.
"""

from __future__ import annotations

from enum import IntEnum

from hffs.core.types import Inode, Position

ROOT = Inode(1)


class Kind(IntEnum):
    """The files that one position may have, in the order of the listing."""

    IMAGE = 0
    CAPTION = 1
    LYRICS = 2


_KINDS = tuple(Kind)
"""By number: to ask the enumeration takes ten times as long, and each request does it."""

KINDS = len(_KINDS)
_FIRST = ROOT + 1


def make_inode(position: Position, kind: Kind) -> Inode:
    """Inode of one file of a position."""
    return Inode(_FIRST + position * KINDS + kind)


def split_inode(inode: Inode) -> tuple[Position, Kind]:
    """Position and kind of a file's inode; the root has neither: ValueError."""
    if inode < _FIRST:
        raise ValueError(f"inode {inode} is not a file")
    position, kind = divmod(inode - _FIRST, KINDS)
    return Position(position), _KINDS[kind]


def first_free_inode(positions: int) -> Inode:
    """The inode behind those of a number of positions."""
    return Inode(_FIRST + positions * KINDS)
