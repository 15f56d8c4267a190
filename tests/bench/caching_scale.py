"""What goes with many samples in `hffs.train.caching`, for `tests.bench.caching`.

    .venv/bin/python -m tests.bench.caching_scale SAMPLES

Run by itself it plans so many samples that are nowhere, so that its memory is that of planning.
Files are hard links, latents are small: what is timed is looking at names, keys and heads.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from hffs.core.batches import BatchSpec
from hffs.data.engines import Needs
from hffs.data.engines.local import LocalEngine
from hffs.data.hub.models import HubAccess
from hffs.train import BucketBatchSampler, CachedDataset, FolderDataset, collate, plan_folder
from hffs.train.caching.chunks import CHUNK_IMAGES, Chunks, ImageJob, plan_images
from hffs.train.caching.encoders import VaeSpec
from hffs.train.caching.identities import Identified
from hffs.train.caching.keys import KEY_BYTES, identify_encoder
from hffs.train.caching.preparing import prepare_images
from hffs.train.caching.running import Settings, run
from hffs.train.caching.shards import Shard
from hffs.train.caching.store import INDEX, Store
from hffs.train.caching.work import Work
from hffs.train.files import FolderFiles
from hffs.train.plan import Plan
from tests.bench.access_folders import make_photos, write_photos
from tests.bench.scan import encode_images, write_links
from tests.train.plans import Quiet, make_plan, make_scan

FILES = 100_000
FACTS = {"name": "of a benchmark"}
PHOTOS, BATCH, SIDE_PX = 256, 16, 512
LATENTS = (4, SIDE_PX // 8, SIDE_PX // 8)


def clock(do: Callable[[], object]) -> float:
    """Seconds that something takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def read_peak_mib() -> int:
    """The most memory that this process has had."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s*(\d+)", status)
    return int(found[1]) // 1024 if found else 0


def plan_many(folder: Path, count: int) -> Plan:
    """Samples of photos of random sizes in five buckets; without a file."""
    sizes = np.random.default_rng(0).integers(512, 4000, (count, 2)).astype(np.int32)
    return make_plan(make_scan(folder, [f"{number}.jpg" for number in range(count)], sizes))


def time_planning(count: int) -> dict[str, float]:
    """Seconds for the keys of all samples, and for all chunks of them; MiB over what was before."""
    plan = plan_many(Path("/nowhere"), count)
    digests = np.random.default_rng(1).integers(0, 256, (count, KEY_BYTES), np.uint8)
    zeros = np.zeros(count, np.int64)
    images, encoder = Identified(plan.scan, digests, zeros, zeros), identify_encoder(FACTS)
    before, jobs = read_peak_mib(), list[ImageJob]()
    keys_s = clock(lambda: jobs.append(plan_images(plan, images, encoder, flip=False)))
    chunks_s = clock(lambda: sum(1 for _ in Chunks(jobs[0], CHUNK_IMAGES, None)))
    return {"keys_s": keys_s, "chunks_s": chunks_s, "mib": read_peak_mib() - before}


def fill(store: Store, job: ImageJob) -> None:
    """Small latents for every sample of a job, in the shards that a run would make."""
    for chunk in Chunks(job, CHUNK_IMAGES, None):
        tensors = {"latents": torch.zeros(len(chunk.keys), 4, 2, 2)}
        store.put(Shard(chunk.name, chunk.keys, tensors, {}, FACTS))


def time_resume(folder: Path, count: int) -> dict[str, float]:
    """Seconds to find that nothing is to be done, and of its parts."""
    write_links(folder / "links", encode_images(), count)
    plan, address = plan_many(folder / "links", count), folder / "resumed"
    encoder = identify_encoder(FACTS)
    fill(Store.open(address), prepare_images(plan, encoder, Quiet(), flip=False))
    anew_s = clock(lambda: Store.open(address).refresh())
    indexed_s = clock(lambda: Store.open(address).refresh())
    if not (address / INDEX).exists():
        raise SystemExit("the index was not written")
    work = Work(VaeSpec("no model"), HubAccess(), FolderFiles(plan.scan.folder), "", 1, 1)
    settings, engine = Settings(work, Needs(), FACTS), LocalEngine(["cpu"])
    jobs = list[ImageJob]()
    identify_s = clock(
        lambda: jobs.append(prepare_images(plan, encoder, Quiet(), flip=False)),
    )
    store = Store.open(address)
    rest_s = clock(lambda: run(jobs[0], store, engine, settings, Quiet()))
    return {
        "refresh_anew_s": anew_s,
        "refresh_s": indexed_s,
        "prepare_s": identify_s,
        "resume_s": identify_s + rest_s,
    }


def time_epochs(folder: Path, count: int = PHOTOS) -> dict[str, float]:
    """Samples a second in one process, of a folder of photos and of latents of the same size."""
    folder.mkdir()
    write_photos(folder, make_photos(count))
    photos, address = folder / "folder", folder / "latents"
    plan = plan_folder(photos, watcher=Quiet(), resolution=SIDE_PX, cache_dir=folder / "scans")
    job = prepare_images(plan, identify_encoder(FACTS), Quiet(), flip=False)
    store = Store.open(address)
    for chunk in Chunks(job, CHUNK_IMAGES, None):
        latents = torch.zeros(len(chunk.keys), *LATENTS)
        store.put(Shard(chunk.name, chunk.keys, {"latents": latents}, {}, FACTS))
    cached = CachedDataset(plan, vae=address)
    batch = BatchSpec(BATCH, remainder="partial")

    def epoch(dataset: Any, stack: Callable[..., Any]) -> float:
        sampler = BucketBatchSampler(plan, batch)
        loader: DataLoader[Any] = DataLoader(dataset, batch_sampler=sampler, collate_fn=stack)
        return count / clock(lambda: sum(1 for _ in loader))

    return {"folder": epoch(FolderDataset(plan), collate), "cached": epoch(cached, cached.collate)}


def measure_scale(base: Path, samples: int) -> dict[str, Any]:
    """All figures."""
    folder = base / "scale"
    folder.mkdir()
    command = [sys.executable, "-m", "tests.bench.caching_scale", str(samples)]
    told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return {
        "samples": samples,
        "planning": json.loads(told),
        "files": FILES,
        "resume": time_resume(folder, FILES),
        "epochs": time_epochs(folder / "epochs"),
    }


def render_scale(scale: Mapping[str, Any]) -> str:
    """The tables of docs/performance.md."""
    planning, resume, epochs = scale["planning"], scale["resume"], scale["epochs"]
    many, files = f"{scale['samples']:,} samples", f"{scale['files']:,} samples"
    lines = {
        f"keys of {many}, in order": f"{planning['keys_s']:.1f} s, {planning['mib']} MiB",
        f"chunks of {many}": f"{planning['chunks_s']:.1f} s",
        f"identify {files}, and their keys": f"{resume['prepare_s']:.1f} s",
        f"open a store of {files}": f"{resume['refresh_s']:.2f} s",
        "the same without its index": f"{resume['refresh_anew_s']:.2f} s",
        f"a run over {files} with nothing to do": f"{resume['resume_s']:.1f} s",
        "an epoch of FolderDataset, one process": f"{epochs['folder']:.0f} samples a second",
        "an epoch of CachedDataset, one process": f"{epochs['cached']:.0f} samples a second",
    }
    rows = [f"| {what} | {took} |" for what, took in lines.items()]
    return "\n".join(["", "| | |", "|---|---|", *rows])


def main() -> None:
    """Time planning, and print the figures as JSON."""
    print(json.dumps(time_planning(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
