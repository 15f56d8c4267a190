"""Which rank of which world this process is.

Owns asking torch.distributed, and what contradicts it. Must not know batches.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.distributed

from hffs.errors import ConfigError, UsageError


class Seat(NamedTuple):
    """A rank and the world that it is in; `is_found` where nobody named the rank."""

    rank: int
    world: int
    is_found: bool


def find_seat(rank: int | None, world: int) -> Seat:
    """Where this process is.

    Without a rank that is where torch.distributed has it. A world of 1 is that of torch.distributed
    too, if it is initialised. Raises ConfigError where the two contradict each other, or nothing
    says which rank of several this is.
    """
    group = _find_group()
    if group is None:
        if rank is None and world > 1:
            fix = "name it, or call torch.distributed.init_process_group first"
            raise ConfigError("cannot use world", str(world), why="the rank is not known", fix=fix)
    elif world == 1:
        if rank not in (None, group[0]):
            why, fix = f"it is {group[0]} in torch.distributed", "leave it out, or name the world"
            raise ConfigError("cannot use rank", str(rank), why=why, fix=fix)
        world = group[1]
    elif rank is None and world != group[1]:
        why = f"torch.distributed has {group[1]}"
        raise ConfigError("cannot use world", str(world), why=why)
    own = 0 if group is None else group[0]
    seat = Seat(own if rank is None else rank, world, rank is None)
    if not 0 <= seat.rank < world:
        raise ConfigError("cannot use rank", str(seat.rank), why=f"there are {world}, from 0")
    return seat


def check_seat(seat: Seat) -> None:
    """Raise UsageError if a process group that was made since says otherwise."""
    group = _find_group() if seat.is_found else None
    if group is not None and group != (seat.rank, seat.world):
        why = "it was made before torch.distributed was initialised"
        fix = "call init_process_group first"
        raise UsageError("cannot make batches", why=why, fix=fix)


def _find_group() -> tuple[int, int] | None:
    """Rank and world of torch.distributed, if it is initialised."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return None
    return torch.distributed.get_rank(), torch.distributed.get_world_size()
