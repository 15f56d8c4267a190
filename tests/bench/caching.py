"""What the pipeline of `hffs cache vae` costs beside the encoder alone.

    .venv/bin/python -m tests.bench.caching [--rounds 3] [--json FILE]

*Bare* is a loop over the same VAE and the same batches, which are in memory as tensors; nothing is
written. Of a VAE on the CPU it is the better one, in each round, of torch's own threads and of
a thread a core. *Pipeline* is a run from a folder of JPEGs to a store, without loading the model.
Both take their turn in each round; a figure is the median over rounds, a ratio that of each round's
own. The goal is 0.95. *Host* is what all cores decode with nothing else to do; of it and of the
bare loop follows what can be had at all: on one processor both times add up, a device of its own is
only as quick as the slower of the two. `tests.bench.caching_devices` stands in for such a device;
its shares are told as those of a CPU, which does two batches at a time. Floats are made of its
images by the host, which is counted, although a GPU makes them itself.

Then what goes with many samples (`tests.bench.caching_scale`). Printed as the tables of
docs/performance.md.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from hffs.data.engines import MakeWorker, Needs, R, T, Worker
from hffs.data.engines.local import LocalEngine
from hffs.data.hub.models import HubAccess
from hffs.train import plan_folder
from hffs.train.caching.chunks import ImageJob, ImageSample
from hffs.train.caching.encoders import VaeSpec
from hffs.train.caching.preparing import Chosen, choose_encoder, prepare_images
from hffs.train.caching.running import Outcome, Settings, run
from hffs.train.caching.store import Store
from hffs.train.caching.work import Work, count_cores, find_streams, open_encoder
from hffs.train.files import FolderFiles
from hffs.train.loading import load_pixels
from tests.bench.access import turn
from tests.bench.access_folders import make_photos, write_photos
from tests.bench.caching_devices import LANES
from tests.bench.caching_scale import measure_scale, render_scale
from tests.bench.machine import describe_machine
from tests.tiny_models import save_vae
from tests.train.plans import Quiet

GOAL = 0.95
KEPT_BATCHES = 4
"""So many batches are in memory for the bare loop, which goes over them again and again."""

_ACCESS = HubAccess()


@dataclass(frozen=True, slots=True)
class Case:
    """What is encoded, by what. `is_device` of an encoder that leaves the processor alone."""

    name: str
    job: ImageJob
    encoder: Chosen
    batch: int
    is_device: bool = False

    @property
    def files(self) -> FolderFiles:
        """Where the images are."""
        return FolderFiles(self.job.plan.scan.folder)


@dataclass(slots=True)
class Figures:
    """Images a second of each round, and what the pipeline told of itself."""

    bare: list[float] = field(default_factory=list)
    how: list[str] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    pipeline: list[float] = field(default_factory=list)
    shares: list[dict[str, float]] = field(default_factory=list)


class LoadingEngine:
    """The engine of one host; `load_s` is what making its worker took, the model in it."""

    def __init__(self) -> None:
        self._engine = LocalEngine(["cpu"])
        self.load_s = 0.0

    @property
    def is_here(self) -> bool:
        """As that has it."""
        return self._engine.is_here

    def run(self, make: MakeWorker[T, R], tasks: Sequence[T], needs: Needs) -> Iterator[R]:
        """As that has it."""

        def clocked(device: str) -> Worker[T, R]:
            began = time.perf_counter()
            worker = make(device)
            self.load_s += time.perf_counter() - began
            return worker

        return self._engine.run(clocked, tasks, needs)


def make_case(name: str, folder: Path, model: str, batch: int, side_px: int) -> Case:
    """All photos of a folder by a model; one of the user's own stands for a device."""
    plan = plan_folder(folder, watcher=Quiet(), resolution=side_px, cache_dir=folder.parent / "c")
    encoder = choose_encoder(VaeSpec(model), _ACCESS)
    job = prepare_images(plan, encoder.id, Quiet(), flip=False)
    return Case(name, job, encoder, batch, is_device=":" in model)


def save_real_vae(folder: Path) -> Path:
    """A VAE as that of Stable Diffusion, of random weights."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng():
        torch.manual_seed(0)
        vae: Any = AutoencoderKL(  # type: ignore[no-untyped-call] # diffusers has few types
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
            latent_channels=4,
        )
    vae.save_pretrained(folder)
    return folder


def run_pipeline(case: Case, address: Path) -> tuple[float, Outcome]:
    """Images a second of a run into a new store, and what it told."""
    cores, engine = count_cores(), LoadingEngine()
    streams = LANES if case.is_device else find_streams("cpu", cores)
    work = Work(case.encoder.spec, _ACCESS, case.files, str(address), cores, streams)
    settings = Settings(work, Needs(), case.encoder.facts, batch=case.batch)
    outcome = run(case.job, Store.open(address), engine, settings, Quiet())
    if outcome.done != len(case.job.keys):
        raise SystemExit(f"not all of {case.name} is encoded: {outcome}")
    return outcome.done / (outcome.wall_s - engine.load_s), outcome


def load_batches(case: Case) -> list[Tensor]:
    """The first batches as the encoder is given them."""
    places = range(min(KEPT_BATCHES * case.batch, len(case.job.keys)))
    samples = [case.job.pick(place) for place in places]
    images = [load_pixels(case.files, sample.name, sample.cut) for sample in samples]
    pixels = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
    scaled = pixels / 127.5 - 1
    return [scaled[at : at + case.batch] for at in range(0, len(scaled), case.batch)]


def run_bare(case: Case, batches: Sequence[Tensor], threads: int, streams: int) -> float:
    """Images a second of the encoder alone: `streams` batches at a time by `threads` each."""
    torch.set_num_threads(threads)
    encoder = open_encoder(case.encoder.spec, _ACCESS)
    encoder.load("cpu")
    count = len(case.job.keys)

    def encode(batch: Tensor) -> None:
        with torch.inference_mode():
            encoder.encode(batch, range(1, len(batch) + 1))

    todo = list(itertools.islice(itertools.cycle(batches), -(-count // case.batch)))
    with ThreadPoolExecutor(streams) as pool:
        began = time.perf_counter()
        list(pool.map(encode, todo))
        return sum(map(len, todo)) / (time.perf_counter() - began)


def run_host(case: Case) -> float:
    """Images a second that all cores decode, and for a device make floats of, for half a run."""
    torch.set_num_threads(1)

    def load(sample: ImageSample) -> None:
        pixels = torch.from_numpy(load_pixels(case.files, sample.name, sample.cut))
        if case.is_device:
            planes = pixels.permute(2, 0, 1)
            planes.to(torch.float32, memory_format=torch.contiguous_format).div_(127.5).sub_(1)

    samples = [case.job.pick(place) for place in range(-(-len(case.job.keys) // 2))]
    with ThreadPoolExecutor(count_cores()) as pool:
        began = time.perf_counter()
        list(pool.map(load, samples))
        return len(samples) / (time.perf_counter() - began)


def measure(case: Case, rounds: int) -> Figures:
    """Each contender once a round, in turn."""
    figures, batches, cores = Figures(), load_batches(case), count_cores()
    ways = {"threads of torch": (cores, 1), "a thread a core": (1, cores)}
    if case.is_device:
        ways = {"two batches at a time": (1, LANES)}
    for number in range(rounds):
        rates: dict[str, float] = {}
        for who in turn(["pipeline", "host", *ways], number):
            if who == "pipeline":
                with tempfile.TemporaryDirectory() as folder:
                    rate, outcome = run_pipeline(case, Path(folder))
                figures.pipeline.append(rate)
                figures.shares.append(asdict(outcome.shares))
            elif who == "host":
                figures.host.append(run_host(case))
            else:
                rates[who] = run_bare(case, batches, *ways[who])
        best = max(rates, key=lambda way: rates[way])
        figures.bare.append(rates[best])
        figures.how.append(best)
    return figures


def find_possible(bare: float, host: float, *, is_device: bool) -> float:
    """Images a second that can be had of an encoder and a decoder; see the module."""
    return min(bare, host) if is_device else 1 / (1 / bare + 1 / host)


def summarize(case: Case, figures: Figures) -> dict[str, Any]:
    """Medians, and ratios of each round's own, with the least and the most."""
    took = list(zip(figures.pipeline, figures.bare, figures.host, strict=True))
    ratios = [pipeline / bare for pipeline, bare, _ in took]
    possible = [
        pipeline / find_possible(bare, host, is_device=case.is_device)
        for pipeline, bare, host in took
    ]
    shares = {
        name: statistics.median(each[name] for each in figures.shares) for name in figures.shares[0]
    }
    return {
        "bare": statistics.median(figures.bare),
        "how": statistics.mode(figures.how),
        "host": statistics.median(figures.host),
        "pipeline": statistics.median(figures.pipeline),
        "ratio": statistics.median(ratios),
        "least": min(ratios),
        "most": max(ratios),
        "of what is possible": statistics.median(possible),
        **shares,
    }


def render(summary: Mapping[str, Mapping[str, Any]]) -> str:
    """The table of docs/performance.md."""
    lines = [
        "| encoder | host alone | bare | pipeline | ratio (least to most) "
        "| of what is possible | decode, encode, write, idle |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in summary.items():
        shares = ", ".join(f"{row[share]:.2f}" for share in ("decode", "encode", "write", "idle"))
        lines.append(
            f"| {name} | {row['host']:.3g} | {row['bare']:.3g} | {row['pipeline']:.3g} "
            f"| {row['ratio']:.2f} ({row['least']:.2f} to {row['most']:.2f}) "
            f"| {row['of what is possible']:.2f} | {shares} |"
        )
    return "\n".join(lines)


def make_cases(base: Path, photos: int, few: int) -> Iterator[Case]:
    """The cases: real and tiny VAEs, and devices. `few` photos are for the real one."""
    folders = {}
    for name, count in (("few", few), ("many", photos)):
        (base / name).mkdir()
        write_photos(base / name, make_photos(count))
        folders[name] = base / name / "folder"
    devices = "tests.bench.caching_devices"
    real, tiny = str(save_real_vae(base / "real")), str(save_vae(base / "tiny"))
    yield make_case("VAE of Stable Diffusion, 256 px", folders["few"], real, 2, 256)
    yield make_case("tiny VAE, 256 px", folders["many"], tiny, 16, 256)
    yield make_case("device, 80 /s, 512 px", folders["many"], f"{devices}:Slow", 8, 512)
    yield make_case("device, 400 /s, 512 px", folders["many"], f"{devices}:Quick", 8, 512)


def main() -> None:
    """Measure, print, and write what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("cases", nargs="*", metavar="CASE", help="a part of its name")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--photos", type=int, default=192)
    parser.add_argument("--few", type=int, default=6, help="photos for the real VAE")
    parser.add_argument("--samples", type=int, default=1_000_000, help="0: nothing of many")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    machine, told, summary = describe_machine(), {}, {}
    with tempfile.TemporaryDirectory() as base:
        for case in make_cases(Path(base), options.photos, options.few):
            if any(part in case.name for part in options.cases or [""]):
                sys.stderr.write(f"{case.name}\n")
                figures = measure(case, options.rounds)
                told[case.name], summary[case.name] = asdict(figures), summarize(case, figures)
        scale = measure_scale(Path(base), options.samples) if options.samples else {}
    print(json.dumps(machine | {"load": os.getloadavg()}))
    if summary:
        print(f"{options.rounds} rounds, images a second; the goal of the ratio is {GOAL}\n")
        print(render(summary))
    if scale:
        print(render_scale(scale))
    if options.json:
        written = {"machine": machine, "medians": summary, "rounds": told, "scale": scale}
        options.json.write_text(json.dumps(written, indent=2) + "\n")


if __name__ == "__main__":
    main()
