"""What figures depend on: the machine, the versions of everything that takes part, the commit.

Owns how each is found out. What is not there is left out of the versions, never an error.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".venv-bench"
"""An environment of its own for the peers that are Python programs; `make bench` makes it."""

PACKAGES = (
    "datasets", "diffusers", "duckdb", "huggingface_hub", "numpy", "pillow", "pyarrow", "pyfuse3",
    "torch", "trio",
)  # fmt: skip
_PEER_PACKAGES = ("ratarmount", "megatron-energon", "mfusepy", "py-spy")
_PROGRAMS = {
    "libfuse": ("fusermount3", "--version"),
    "squashfuse": ("squashfuse_ll", "--help"),
    "mksquashfs": ("mksquashfs", "-version"),
}
_MOST_S = 20
_TELL = """
import sys
from importlib.metadata import PackageNotFoundError, version
for name in sys.argv[1:]:
    try:
        print(name, version(name))
    except PackageNotFoundError:
        pass
"""


Say = Callable[[str], None]
"""Told what a benchmark is about to do."""


def be_quiet(_: str) -> None:
    """A Say that nobody hears."""


class LeftOutError(Exception):
    """A contender or a line that cannot run here; the text says why."""


def describe_machine() -> dict[str, Any]:
    """What the figures depend on."""
    cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = next((line.split(":")[1] for line in cpu.splitlines() if "model name" in line), "")
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": model.strip() or platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(pages / 2**30, 1),
        "kernel": platform.release(),
        "load": os.getloadavg()[0],
        "versions": {"Python": platform.python_version(), **_find_versions()},
        "commit": _read_commit(),
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
    }


def find_program(name: str) -> str:
    """Where a program is: on the path, beside this interpreter, or among the peers.

    Raises LeftOutError.
    """
    folders = (Path(sys.executable).parent, PEERS / "bin")
    found = shutil.which(name, path=":".join([*map(str, folders), os.environ["PATH"]]))
    if found is None:
        raise LeftOutError(f"{name} is not installed")
    return found


def _find_versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    peers = _run([str(PEERS / "bin/python"), "-c", _TELL, *_PEER_PACKAGES])
    found |= {name: told for name, told in (line.split() for line in peers.splitlines())}
    for name, command in _PROGRAMS.items():
        numbers = re.search(r"\d+(\.\d+)+", _run(command, both=True))
        found |= {name: numbers[0]} if numbers else {}
    return found


def _read_commit() -> str:
    """The commit that is checked out, and whether anything is changed since."""
    commit = _run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]).strip()
    changed = _run(["git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no"])
    return (commit or "unknown") + (", changed" if changed.strip() else "")


def _run(command: Sequence[str], *, both: bool = False) -> str:
    """What a program says, on standard error too if asked for; nothing where it is not there."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_MOST_S)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + (done.stderr if both else "")
