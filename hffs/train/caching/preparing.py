"""From a plan and an encoder to a job: every sample or text of it, with its key.

Owns what is found out before anything is encoded. Must not know stores or engines.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from hffs.data.hub.models import HubAccess
from hffs.data.watcher import Watcher
from hffs.train.caching.chunks import ImageJob, TextJob, plan_images, plan_texts
from hffs.train.caching.encoders import TextSpec, VaeSpec
from hffs.train.caching.encoders.opening import pin
from hffs.train.caching.finding import read_captions
from hffs.train.caching.identities import identify_images
from hffs.train.caching.keys import identify_encoder
from hffs.train.caching.work import open_encoder
from hffs.train.plan import Plan

NO_CAPTION = ""
"""A text that is always encoded: what trainers drop captions for, and images without one have."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """An encoder that is the same wherever it is opened: its `spec` names a commit or a real path.

    `facts` are what it says of itself, and `id` is what keys have of these.
    """

    spec: VaeSpec | TextSpec
    access: HubAccess
    facts: Mapping[str, Any]
    id: str


def choose_encoder(spec: VaeSpec | TextSpec, access: HubAccess) -> Chosen:
    """Find an encoder, without loading it. Raises UsageError, SourceError or DataError."""
    pinned = pin(spec, access)
    facts = open_encoder(pinned, access).identify()
    return Chosen(pinned, access, facts, identify_encoder(facts))


def prepare_images(plan: Plan, encoder: str, watcher: Watcher, *, flip: bool) -> ImageJob:
    """Every sample of a plan, with its key."""
    images = identify_images(plan, partial(watcher.progress, "identifying images"))
    return plan_images(plan, images, encoder, flip=flip)


def prepare_texts(
    plan: Plan, encoder: str, watcher: Watcher, read: Callable[[str], str] = str
) -> TextJob:
    """Every caption of a plan's images once, and the empty one; `read` is what is made of each."""
    texts = read_captions(plan, watcher).texts.to_pylist()
    return plan_texts([*map(read, texts), NO_CAPTION], encoder)
