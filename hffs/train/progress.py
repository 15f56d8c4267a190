"""How far an epoch has come, as what a checkpoint keeps, and what it belongs to.

Owns the words of saved states and who they are refused by. Must not know who counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from operator import index
from typing import Any, TypedDict

from hffs.core.batches import BatchSpec, identify
from hffs.errors import ConfigError, UsageError
from hffs.train.plan import Plan

VERSION = 1
"""Raised when the order of batches changes for the same inputs."""


_EPOCHS = 1 << 31


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
    digest.update(repr((plan.scan.fingerprint, plan.upright, plan.caption_extension)).encode())
    for array in (assignment.image, assignment.resized, assignment.crop):
        digest.update(array.astype("<i8").tobytes())
    return digest.hexdigest()


def check_state(state: Mapping[str, Any], own: State) -> None:
    """Raise UsageError if a saved state is not of the same batches as one's own."""
    if not isinstance(state, Mapping):
        raise _refuse(f"a state is a mapping, not a {type(state).__name__}", "give what was saved")
    for key in State.__required_keys__:
        found, kind = state.get(key), type(own[key])  # type: ignore[literal-required]
        if type(found) is not kind:
            told = f"{key} is a {type(found).__name__}, not a {kind.__name__}"
            raise _refuse(told if key in state else f"no {key} in the state", "save it anew")
    if state["version"] != VERSION:
        raise _refuse(f"the state is of version {state['version']}, not {VERSION}", "start anew")
    if state["world"] != own["world"]:
        told = f"it was saved with {state['world']} ranks, and there are {own['world']}"
        raise _refuse(told, "resume with as many")
    if state["seed"] != own["seed"]:
        raise _refuse(f"its seed was {state['seed']}, not {own['seed']}", "use the same")
    if state["digest"] != own["digest"]:
        raise _refuse("images, buckets or batches were others", "use the same, or start anew")
    check_epoch(state["epoch"])


def check_epoch(epoch: int) -> int:
    """The number of an epoch as an int; ConfigError for one that is none."""
    number = index(epoch)
    if not 0 <= number < _EPOCHS:
        raise ConfigError("cannot use epoch", str(number), why=f"it is 0 to {_EPOCHS - 1}")
    return number


def check_done(batches_done: int, length: int) -> None:
    """Raise UsageError for more batches than an epoch has, or less than none."""
    if not 0 <= batches_done <= length:
        raise UsageError(f"cannot have done {batches_done} batches", why=f"there are {length}")


def _refuse(why: str, fix: str) -> UsageError:
    return UsageError("cannot resume", why=why, fix=fix)


def join_repeats(plan: Plan, batch: BatchSpec | None) -> BatchSpec:
    """The batches of an entry: its own, or those that were named, with its repeats if they name
    none.
    """
    if batch is None:
        return plan.batch
    return replace(batch, repeats=batch.repeats or plan.batch.repeats)
