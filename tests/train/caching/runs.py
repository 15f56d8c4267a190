"""Runs over folders of small images, by tiny models, in one process or several."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from hffs.core.types import Size
from hffs.data.engines import Engine, Needs
from hffs.data.engines.local import LocalEngine
from hffs.data.hub.models import HubAccess
from hffs.train.caching.chunks import ImageJob, TextJob
from hffs.train.caching.preparing import Chosen, choose_encoder, prepare_images, prepare_texts
from hffs.train.caching.running import Outcome, Settings, run
from hffs.train.caching.specs import TextSpec, VaeSpec
from hffs.train.caching.store import Store
from hffs.train.caching.work import Work
from hffs.train.files import FolderFiles
from hffs.train.plan import Plan
from tests.train.planning import plan_by_hand
from tests.train.plans import Quiet

ACCESS = HubAccess()
LENGTH = 4
"""Samples of a shard: few, so that there are several."""


def prepare(
    folder: Path, spec: VaeSpec | TextSpec, *, flip: bool = False
) -> tuple[Plan, Chosen, ImageJob | TextJob]:
    """All that is to be encoded of a folder of images in two buckets."""
    plan = plan_by_hand(folder, (Size(32, 48), Size(48, 32)))
    encoder = choose_encoder(spec, ACCESS)
    if isinstance(spec, VaeSpec):
        return plan, encoder, prepare_images(plan, encoder.id, Quiet(), flip=flip)
    return plan, encoder, prepare_texts(plan, encoder.id, Quiet())


def encode(
    folder: Path,
    spec: VaeSpec | TextSpec,
    address: Path | str,
    engine: Engine | None = None,
    **settings: Any,
) -> Outcome:
    """Encode what a store lacks of a folder; see `Settings`, and `flip`."""
    plan, encoder, job = prepare(folder, spec, flip=settings.pop("flip", False))
    files = FolderFiles(plan.scan.folder) if isinstance(job, ImageJob) else None
    work = Work(encoder.spec, ACCESS, files, str(address), decoders=2, threads=1)
    asked = replace(Settings(work, Needs(), encoder.facts, batch=3, length=LENGTH), **settings)
    return run(job, Store.open(address), engine or LocalEngine(["cpu"]), asked, Quiet())


def digest_store(address: Path) -> dict[str, str]:
    """The bytes of every file of a store, by name; not of what killed writers leave for a while."""
    files = sorted(path for path in address.rglob("[!.]*") if path.is_file())
    return {
        path.relative_to(address).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
