"""`make soak`: readers of two mounts of one view for hours, and whether anything is wrong or grows.

    python -m tests.soak [--seconds N] [--readers N] [--seed N] [--json FILE]

One mount is steady: its daemon is watched. The other is restless: it is unmounted or killed every
few seconds and mounted again. They share a cache that is too small for the view. Some readers are
killed in the middle of what they do. Exit code 1 if a byte, a name or an errno was another than the
model's, a daemon ended by itself, or a figure of the steady one grows (`tests.soak.sampling`).
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random

from tests.command import Hffs
from tests.readers import make_draw
from tests.soak.sampling import FLOORS, Sample, Trend, find_trend, take_sample
from tests.soak.source import make_source

_CACHE = "4MB"
_STEP_S = 0.5
_RESTLESS_S, _KILL_S, _DROP_S = 20.0, 3.0, 60.0
_SAMPLES = 600
_WARM_S = 60.0
"""Where a soak is shorter, what grows may be what a daemon loads and opens at first."""
_DROP_CACHES = Path("/proc/sys/vm/drop_caches")


@dataclass(slots=True)
class Soak:
    """One run below a folder of its own."""

    base: Path
    seed: int
    hffs: Hffs = field(init=False)
    source: Path = field(init=False)
    draw: Random = field(init=False)
    started: int = 0
    remounts: int = 0
    kills: int = 0
    faults: list[str] = field(default_factory=list)
    readers: list[tuple[str, subprocess.Popen[str]]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hffs = Hffs.below(self.base, forks=False)
        self.draw = make_draw(self.seed)
        self.source = make_source(self.base)

    def folder(self, kind: str) -> Path:
        """Where one of the mounts is."""
        return self.base / kind

    def mount(self, kind: str) -> int:
        """Mount the view; the pid of the daemon."""
        self.folder(kind).mkdir(exist_ok=True)
        self.hffs("mount", self.source, self.folder(kind), "--cache-size", _CACHE)
        return self.hffs.pid(self.folder(kind))

    def start_reader(self, kind: str) -> None:
        """One more reader of a mount, with draws of its own."""
        self.started += 1
        seed = self.seed * 100_000 + self.started
        arguments = [str(self.folder(kind)), str(self.base), str(seed), kind]
        with (self.base / "told").open("a") as told:  # a pipe would be full some time
            reader = subprocess.Popen(
                [sys.executable, "-m", "tests.soak.reader", *arguments],
                stdout=told,
                stderr=subprocess.PIPE,
                text=True,
                cwd=Path(__file__).parents[2],
            )
        self.readers.append((kind, reader))

    def look_at_readers(self) -> None:
        """Note what readers found that have ended, and start others."""
        for kind, reader in list(self.readers):
            if reader.poll() is not None:
                self._end(kind, reader)
                self.start_reader(kind)

    def count_operations(self) -> int:
        """Operations that readers have told of."""
        return sum(map(int, (self.base / "told").read_text().split()))

    def kill_reader(self) -> None:
        """Kill some reader in the middle of what it does."""
        kind, reader = self.draw.choice(self.readers)
        reader.kill()
        self.kills += 1
        self._end(kind, reader)
        self.start_reader(kind)

    def remount(self) -> None:
        """End the restless mount, gently or not, and mount it again."""
        described = self.hffs.describe(self.folder("restless"))
        if described is None:
            self.faults.append("the restless mount ended by itself")
        elif self.draw.random() < 0.5:
            os.kill(described["pid"], signal.SIGKILL)
        else:
            self.hffs("umount", "--force", self.folder("restless"))
        self.mount("restless")
        self.remounts += 1

    def _end(self, kind: str, reader: subprocess.Popen[str]) -> None:
        _, said = reader.communicate()
        if reader.returncode != -signal.SIGKILL:
            self.faults.append(said.strip() or f"a reader ended with {reader.returncode}")
        self.readers.remove((kind, reader))

    def finish(self) -> None:
        """End everything that was started."""
        for kind, reader in list(self.readers):
            ended = reader.poll() is not None
            if not ended:
                reader.kill()
            self._end(kind, reader)
        for kind in ("steady", "restless"):
            self.hffs.run("umount", "--force", self.folder(kind))


@dataclass(slots=True)
class Timer:
    """Says when something is due that happens every so often."""

    every_s: float
    _last_s: float = 0.0

    def is_due(self, now_s: float) -> bool:
        """Whether it is; then it was just done."""
        if now_s - self._last_s < self.every_s:
            return False
        self._last_s = now_s
        return True


def run(soak: Soak, seconds: float, readers: int) -> list[Sample]:
    """Go on for so long; samples of the steady daemon. It stops at the first fault."""
    pid = soak.mount("steady")
    soak.mount("restless")
    for number in range(readers):
        soak.start_reader("restless" if number % 3 == 2 else "steady")
    remounting, killing, dropping = Timer(_RESTLESS_S), Timer(_KILL_S), Timer(_DROP_S)
    sampling, samples, begun = Timer(max(seconds / _SAMPLES, 0.5)), list[Sample](), time.monotonic()
    while (passed := time.monotonic() - begun) < seconds and not soak.faults:
        soak.look_at_readers()
        if killing.is_due(passed):
            soak.kill_reader()
        if remounting.is_due(passed):
            soak.remount()
        if dropping.is_due(passed) and os.access(_DROP_CACHES, os.W_OK):
            _DROP_CACHES.write_text("2")
        if sampling.is_due(passed):
            try:
                samples.append(take_sample(pid, passed))
            except OSError as error:
                soak.faults.append(f"the steady daemon is gone: {error}; {soak.hffs.log()[-500:]}")
        time.sleep(_STEP_S)
    return samples


def show(trends: dict[str, Trend]) -> None:
    """The figures as a table of Markdown."""
    print("| figure | first | last | most | slope of the second half, per hour |")
    print("|---|---|---|---|---|")
    for name, trend in trends.items():
        slope = f"{trend.slope_per_hour:+.1f} ± {trend.error_per_hour:.1f}"
        slope += " **grows**" if trend.grows else ""
        print(f"| {name} | {trend.first:.1f} | {trend.last:.1f} | {trend.most:.1f} | {slope} |")


def main(arguments: Sequence[str]) -> int:
    """Soak, tell, and say whether it went well."""
    parser = argparse.ArgumentParser(prog="tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=3600.0)
    parser.add_argument("--readers", type=int, default=6)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--json", type=Path)
    wanted = parser.parse_args(arguments)
    print(f"soak of {wanted.seconds:.0f} s, --seed {wanted.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hffs-soak-") as folder:
        soak = Soak(Path(folder), wanted.seed)
        try:
            samples = run(soak, wanted.seconds, wanted.readers)
        finally:
            with suppress(subprocess.TimeoutExpired):
                soak.finish()
        operations = soak.count_operations()
    trends = {name: find_trend(samples, name) for name in (*FLOORS, "slab_mb")}
    show(trends)
    print(f"{operations} operations, {soak.kills} readers killed, {soak.remounts} remounts")
    for fault in soak.faults:
        print(f"wrong: {fault}")
    if wanted.json:
        told = {"seed": wanted.seed, "operations": operations, "faults": soak.faults}
        kept = [asdict(sample) for sample in samples]
        figures = {name: asdict(trend) for name, trend in trends.items()}
        wanted.json.write_text(json.dumps(told | {"trends": figures, "samples": kept}))
    grows = wanted.seconds >= _WARM_S and any(trend.grows for trend in trends.values())
    return int(bool(soak.faults) or grows)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
