"""How far an epoch has come, as what a checkpoint keeps, and what it belongs to.

Owns the words of saved states and who they are refused by. Must not know who counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict

import torch.distributed

from hffs.core.batches import BatchSpec, identify
from hffs.errors import ConfigError, UsageError
from hffs.train.plan import Plan

VERSION = 1
"""Raised when the order of batches changes for the same inputs."""


class State(TypedDict):
    """`batches_done` of the epoch were trained on; `digest` is of all that the order depends on."""

    version: int
    digest: str
    seed: int
    world: int
    epoch: int
    batches_done: int


def identify_batches(plan: Plan, batch: BatchSpec) -> str:
    """SHA-256 of a plan's samples and how they become batches, in hexadecimal."""
    assignment = plan.assignment
    digest = hashlib.sha256(identify(assignment.bucket, assignment.sizes, batch).encode())
    digest.update(plan.scan.fingerprint.encode())
    for array in (assignment.image, assignment.resized, assignment.crop):
        digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()


def check_state(state: Mapping[str, Any], own: State) -> None:
    """Raise UsageError if a saved state is not of the same batches as one's own."""
    for key in State.__required_keys__:
        if type(state.get(key)) is not type(own[key]):  # type: ignore[literal-required]
            raise _refuse(f"no {key} in the state", "save it anew")
    if state["version"] != VERSION:
        raise _refuse(f"the state is of version {state['version']}, not {VERSION}", "start anew")
    if state["world"] != own["world"]:
        told = f"it was saved with {state['world']} ranks, and there are {own['world']}"
        raise _refuse(told, "resume with as many")
    if state["seed"] != own["seed"]:
        raise _refuse(f"its seed was {state['seed']}, not {own['seed']}", "use the same")
    if state["digest"] != own["digest"]:
        raise _refuse("images, buckets or batches were others", "use the same, or start anew")


def check_done(batches_done: int, length: int) -> None:
    """Raise UsageError for more batches than an epoch has, or less than none."""
    if not 0 <= batches_done <= length:
        raise UsageError(f"cannot have done {batches_done} batches", why=f"there are {length}")


def _refuse(why: str, fix: str) -> UsageError:
    return UsageError("cannot resume", why=why, fix=fix)


def find_rank(rank: int | None, batch: BatchSpec) -> tuple[int, BatchSpec]:
    """The rank, and the batches of the world that it is in.

    Without a rank both are those of torch.distributed, if it is initialised, else 0 of the world
    that the batches name. Raises ConfigError if the two name different worlds.
    """
    if rank is None:
        rank = 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
            if batch.world not in (1, world):
                why = f"torch.distributed has {world}"
                raise ConfigError("cannot use world", str(batch.world), why=why)
            batch = replace(batch, world=world)
    if not 0 <= rank < batch.world:
        raise ConfigError("cannot use rank", str(rank), why=f"there are {batch.world}, from 0")
    return rank, batch


def join_repeats(plan: Plan, batch: BatchSpec) -> BatchSpec:
    """The batches with the repeats that the plan's entry asks for, if they name none themselves.

    Raises ConfigError if both name some and they differ.
    """
    if plan.repeats and batch.repeats not in (0, plan.repeats):
        why = f"entry {plan.id} has {plan.repeats}"
        raise ConfigError("cannot use repeats", str(batch.repeats), why=why, fix="name one of them")
    return replace(batch, repeats=plan.repeats or batch.repeats)
