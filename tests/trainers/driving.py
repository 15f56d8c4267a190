"""Runs the data set code of trainers, each in a process of its own, on a folder.

A driver is a module of tests/trainers/drivers whose `main(arguments)` runs a trainer's own classes
and returns what they did. Trainers are no dependency of hffs and none of their code is here: the
folder that HFFS_TRAINERS names holds checkouts of them, and HFFS_TRAINERS_LIBS names folders,
separated by colons, with the libraries of libraries.txt. Knows nothing of what a trainer does.

What a driver's `main` returns, where it applies: `items` (how many the trainer saw), `captions`
(by the image's name in the folder), `pixels` (likewise, see pictures.py), `encoded` (how many
images went through the stand-in for the VAE) and `epoch_s` (of the first pass over all items).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).parents[2]
APART = Path(sys.prefix, "apart")
"""Libraries that are kept away from those of hffs (Makefile)."""

DRIVE_TIMEOUT_S = 110
"""Below the limit of a test, whose failure tells nothing of the driver."""

NO_CHECKOUT = "-"
"""Told to a driver that needs none."""

CHECKOUTS = {
    "OneTrainer": "https://github.com/Nerogar/OneTrainer",
    "SimpleTuner": "https://github.com/bghira/SimpleTuner",
    "ai-toolkit": "https://github.com/ostris/ai-toolkit",
    "diffusers": "https://github.com/huggingface/diffusers",
    "diffusion-pipe": "https://github.com/tdrussell/diffusion-pipe",
    "mgds": "https://github.com/Nerogar/mgds",
    "sd-scripts": "https://github.com/kohya-ss/sd-scripts",
}
"""Name of a checkout's folder, and where it is cloned from."""

_FAILED_CALL = re.compile(r"^(?:\d+ +)?(?P<call>\w+)\((?P<arguments>.*)\) += -1 (?P<errno>E\w+)")
_QUOTED_OR_OF_A_DESCRIPTOR = re.compile(r'"((?:[^"\\]|\\.)*)"|\d<([^>]*)>|AT_FDCWD<([^>]*)>')


KEPT = "{kept}"
"""In an option of a driver: a folder that is kept from one run to the next."""


@dataclass(frozen=True, slots=True)
class Trainer:
    """How a trainer is observed: `flags` are those of its mount, `options` those of its driver.

    `timed_options` let it read the images, where with `options` it reads what it made of them.
    """

    name: str
    driver: str
    checkout: str | None = None
    flags: tuple[str, ...] = ()
    scratch: bool = False
    options: tuple[str, ...] = ()
    timed_options: tuple[str, ...] | None = None


TRAINERS = (
    Trainer(
        "kohya sd-scripts, DreamBooth", "kohya", "sd-scripts",
        flags=("--for", "kohya"), scratch=True,
        options=("--cache-latents", "disk"), timed_options=(),
    ),
    Trainer(
        "kohya sd-scripts, DreamBooth with cache_info", "kohya", "sd-scripts",
        flags=("--for", "kohya"), scratch=True, options=("--cache-info",),
    ),
    Trainer(
        "kohya sd-scripts, fine-tuning", "kohya", "sd-scripts",
        flags=("--for", "kohya-finetune"), scratch=True,
        options=("--metadata", "--cache-latents", "disk"), timed_options=("--metadata",),
    ),
    Trainer(
        "SimpleTuner, local", "simpletuner", "SimpleTuner",
        flags=("--for", "simpletuner"), scratch=True,
    ),
    Trainer(
        "torchvision ImageFolder", "torchvision_imagefolder",
        flags=("--for", "imagefolder", "--group-by", "kind"),
    ),
    Trainer(
        "Hugging Face imagefolder, data_dir", "hf_imagefolder",
        flags=("--for", "hf-imagefolder"), options=(KEPT,),
    ),
    Trainer(
        "Hugging Face imagefolder, data_files", "hf_imagefolder",
        flags=("--for", "hf-imagefolder"), options=(KEPT, "--by", "data_files"),
    ),
    Trainer(
        "diffusers, DreamBooth", "diffusers_dreambooth", "diffusers",
        flags=("--for", "diffusers-dreambooth"),
    ),
    Trainer(
        "ai-toolkit", "ai_toolkit", "ai-toolkit",
        flags=("--for", "ai-toolkit"), scratch=True,
        options=("--cache-latents-to-disk", "--cache-text-embeddings"), timed_options=(),
    ),
    Trainer(
        "OneTrainer", "onetrainer", "OneTrainer", flags=("--for", "onetrainer"),
        options=("--cache-dir", KEPT), timed_options=("--no-latent-caching",),
    ),
    Trainer(
        "OneTrainer, masked training", "onetrainer", "OneTrainer", flags=("--for", "onetrainer"),
        options=("--cache-dir", KEPT, "--masked-training"),
        timed_options=("--no-latent-caching", "--masked-training"),
    ),
    Trainer(
        "diffusion-pipe", "diffusion_pipe", "diffusion-pipe",
        flags=("--for", "diffusion-pipe"), scratch=True,
    ),
)  # fmt: skip


def find_checkout(name: str) -> Path:
    """The checkout of a trainer; skips the test where there is none.

    HFFS_REQUIRE_TRAINERS=1 makes that a failure.
    """
    named = os.environ.get("HFFS_TRAINERS", "")
    folder = Path(named).absolute() / name
    if named and folder.is_dir():
        return folder
    why = f"HFFS_TRAINERS names no folder with a checkout of {name}: git clone {CHECKOUTS[name]}"
    if os.environ.get("HFFS_REQUIRE_TRAINERS") == "1":
        pytest.fail(f"HFFS_REQUIRE_TRAINERS=1, but {why}", pytrace=False)
    pytest.skip(why)


def require_library(*names: str) -> None:
    """Skip the test where one of these is neither installed nor in HFFS_TRAINERS_LIBS.

    HFFS_REQUIRE_TRAINERS=1 makes that a failure.
    """
    folders = filter(None, os.environ.get("HFFS_TRAINERS_LIBS", "").split(os.pathsep))
    places = [*folders, *sys.path]
    absent = [name for name in names if PathFinder.find_spec(name, places) is None]
    if not absent:
        return
    why = f"HFFS_TRAINERS_LIBS names no folder with {', '.join(absent)}: see libraries.txt"
    if os.environ.get("HFFS_REQUIRE_TRAINERS") == "1":
        pytest.fail(f"HFFS_REQUIRE_TRAINERS=1, but {why}", pytrace=False)
    pytest.skip(why)


def drive(
    driver: str, checkout: Path | None, *arguments: str | Path, trace: Path | None = None
) -> dict[str, Any]:
    """Run a driver in an empty folder; what its `main` returned.

    With `trace`, a folder, `failed` counts the system calls on paths at or below that folder which
    did not succeed: {"openat ENOENT": 12}. It needs strace.
    """
    module = [sys.executable, "-P", "-m", "tests.trainers.drivers", driver]
    command = [*module, str(checkout or NO_CHECKOUT), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as own:
        record = Path(own, "strace")
        cwd = Path(own, "cwd")
        cwd.mkdir()
        done = subprocess.run(
            [*(_strace(record) if trace else ()), *command],
            cwd=cwd,
            env=_environ(),
            capture_output=True,
            text=True,
            timeout=DRIVE_TIMEOUT_S,
            check=False,
        )
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"{driver} failed:\n{done.stderr[-6000:]}"
        assert lines, f"{driver} said nothing:\n{done.stderr[-6000:]}"
        said: dict[str, Any] = json.loads(lines[-1])
        if trace:
            with record.open(errors="surrogateescape") as calls:
                said["failed"] = count_failed_calls(calls, trace)
    return said


def has_strace() -> bool:
    """Whether `drive` can trace."""
    return shutil.which("strace") is not None


def _strace(record: Path) -> list[str]:
    # seccomp: what is not asked for costs nothing; without it a driver takes four times as long.
    kinds = ["-e", "trace=%file,%desc", "-e", "status=failed", "-e", "signal=none"]
    return ["strace", "-f", "-y", "-qq", "--seccomp-bpf", *kinds, "-o", str(record)]


def _environ() -> dict[str, str]:
    paths = [str(REPOSITORY), os.environ.get("HFFS_TRAINERS_LIBS", ""), str(APART)]
    quiet = {"PYTHONWARNINGS": "ignore", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONUTF8": "1"}
    alone = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    one = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    path = os.pathsep.join(filter(None, paths))
    return os.environ | quiet | alone | one | {"PYTHONPATH": path}


def count_failed_calls(lines: Iterable[str], folder: Path) -> dict[str, int]:
    """Count `CALL ERRNO` over a record of `strace -y` for calls on paths at or below a folder."""
    counts: Counter[str] = Counter()
    for line in lines:
        failed = _FAILED_CALL.match(line)
        if failed and _names_a_path_below(failed["arguments"], str(folder)):
            counts[f"{failed['call']} {failed['errno']}"] += 1
    return dict(sorted(counts.items()))


def _names_a_path_below(arguments: str, folder: str) -> bool:
    found = ("".join(groups) for groups in _QUOTED_OR_OF_A_DESCRIPTOR.findall(arguments))
    return any(path == folder or path.startswith(folder + "/") for path in found)
