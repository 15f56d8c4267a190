"""What a real mount tells of itself: the numbers are right, and nobody hangs who asks for them."""

from __future__ import annotations

import json
import mmap
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

import hffs.mount.observing.overview as overview_module
from hffs.cli import run
from hffs.mount.mountinfo import Health
from hffs.mount.observing.asking import Status, ask_status
from hffs.mount.observing.overview import look_around
from hffs.mount.registry import Registry
from tests.command import Hffs, Mount
from tests.far_photos import ROWS, photo_of
from tests.hub import HubServer
from tests.hub_store import Repo
from tests.mixed_photos import hollow_jpeg
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse

_DOCUMENT = Path(__file__).parents[3] / "docs/operations.md"
JPEGS = [hollow_jpeg(size, size) for size in (5000, 300_000)]
PNGS = range(len(JPEGS), len(JPEGS) + 3)
BROKEN = range(PNGS.stop, PNGS.stop + 2)


def _write(path: Path) -> Path:
    images = [*JPEGS]
    for number in (*PNGS, *BROKEN):
        pixels = np.random.default_rng(number).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(pixels).save(path, "PNG")
        png = path.read_bytes()
        images.append(png if number in PNGS else png[:200] + bytes(len(png) - 200))
    cells = [{"bytes": image, "path": None} for image in images]
    table = pa.table({"image": cells, "caption": [f"{n}" for n in range(len(cells))]})
    pq.write_table(table, path, compression="none", use_dictionary=False)
    return path


@dataclass(frozen=True)
class Observed:
    """A mount and the command that knows it."""

    hffs: Hffs
    folder: Path
    source: Path
    pid: int
    socket: Path

    def status(self) -> Status:
        status = ask_status(self.socket)
        assert status is not None
        return status

    def metrics(self) -> dict[str, Metric]:
        command = ["curl", "-sf", "--unix-socket", str(self.socket), "http://localhost/metrics"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return {family.name: family for family in text_string_to_metric_families(done.stdout)}

    def value(self, name: str, **labels: str) -> float:
        """A sample of a mount."""
        wanted = {"mountpoint": str(self.folder), **labels}
        found = [
            sample.value
            for family in self.metrics().values()
            for sample in family.samples
            if sample.name == name and sample.labels == wanted
        ]
        (value,) = found
        return value

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The daemon does nothing, to the end of the block."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)


@pytest.fixture(scope="module")
def observed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Observed]:
    base = tmp_path_factory.mktemp("observed")
    source, hffs = _write(base / "set.parquet"), Hffs.below(base)
    (base / "mnt").mkdir()
    hffs("mount", source, base / "mnt")
    line = hffs.describe(base / "mnt")
    assert line is not None
    yield Observed(hffs, base / "mnt", source, line["pid"], Path(line["socket"]))
    hffs("umount", "--force", base / "mnt")


def _read_past_the_cache(path: Path) -> bytes:
    """All of a file, of which the kernel keeps nothing: the daemon is asked for every byte."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, 1 << 20) as room:
            return room[: os.preadv(descriptor, [room], 0)]
    finally:
        os.close(descriptor)


def test_bytes_and_requests_are_those_that_were_read(observed: Observed) -> None:
    before = observed.status()
    assert _read_past_the_cache(observed.folder / "1.jpg") == JPEGS[1]
    after = observed.status()
    assert after["read_bytes"] - before["read_bytes"] == len(JPEGS[1])
    opened = [each["requests"]["open"]["count"] for each in (before, after)]
    assert opened[1] - opened[0] == 1
    line = observed.hffs.describe(observed.folder)
    assert line is not None
    assert line["bytes_served"] >= len(JPEGS[1])
    assert line["requests"] >= after["requests"]["read"]["count"]
    assert (line["waiting"], line["queue"]) == (0, 0)
    assert line["in_flight"] in (0, 1)  # others of this host may ask how it is
    assert line["rss_bytes"] > line["anon_bytes"] > 1 << 20
    assert line["uptime_s"] > 0


def test_a_broken_row_is_counted_by_its_kind_each_time(observed: Observed) -> None:
    kinds = [observed.value("hffs_errors_total", kind="RenderError")]
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            (observed.folder / f"{BROKEN[0]}.jpg").read_bytes()
        kinds.append(observed.value("hffs_errors_total", kind="RenderError"))
    assert kinds[0] < kinds[1] < kinds[2]
    assert observed.value("hffs_broken_files") >= 1
    answered = sum(each["errnos"].get("EIO", 0) for each in observed.status()["requests"].values())
    assert answered == kinds[2]
    line = observed.hffs.describe(observed.folder)
    assert line is not None
    assert line["errors"] == {"RenderError": kinds[2]}


def test_a_second_read_is_a_hit_and_renders_nothing(observed: Observed) -> None:
    path, figures = observed.folder / f"{PNGS[0]}.jpg", []
    for _ in range(3):
        status = observed.status()
        line = observed.hffs.describe(observed.folder)
        assert line is not None
        kept = status["view"]["disk"]["kinds"].get("image", {"made": 0, "hits": 0})
        hits = status["view"]["memory"]["hits"] + kept["hits"]
        figures.append((status["view"]["rendered"], kept["made"], hits, line["hit_rates"]["files"]))
        _read_past_the_cache(path)
    rendered, made, hits, rates = zip(*figures, strict=True)
    assert (rendered[1] - rendered[0], rendered[2] - rendered[1]) == (1, 0)
    assert made == rendered
    assert hits[2] > hits[1]
    assert rates[2] > rates[1]


def test_metrics_have_the_names_that_prometheus_wants_and_the_docs_tell(
    observed: Observed,
) -> None:
    os.listdir(observed.folder)  # so that an errno was answered, and a cache was asked
    _read_past_the_cache(observed.folder / f"{PNGS[1]}.jpg")
    families = observed.metrics()
    for name, family in families.items():
        assert re.fullmatch(r"hffs_[a-z_]+", name)
        assert family.documentation
        samples = family.samples
        assert samples
        assert all(each.labels["mountpoint"] == str(observed.folder) for each in samples)
        if family.type == "counter":
            assert {each.name for each in samples} == {f"{name}_total"}
        else:
            assert not name.endswith("_total")
    exported = {
        f"{name}_total" if family.type == "counter" else name for name, family in families.items()
    }
    text = _DOCUMENT.read_text().partition("\n## Metrics\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(hffs_\w+)`", text, re.M)) == exported


def test_durations_are_a_histogram(observed: Observed) -> None:
    _read_past_the_cache(observed.folder / "0.jpg")
    samples = observed.metrics()["hffs_request_duration_seconds"].samples
    reads = [each for each in samples if each.labels["request"] == "read"]
    buckets = [each.value for each in reads if each.name.endswith("_bucket")]
    (count,) = (each.value for each in reads if each.name.endswith("_count"))
    assert buckets == sorted(buckets)
    assert buckets[-1] == count > 0
    bounds = [float(each.labels["le"]) for each in reads if "le" in each.labels]
    assert (bounds[0], bounds[-2], bounds[-1]) == (0.00005, 60.0, float("inf"))


def test_a_stopped_daemon_stops_nobody_who_looks(observed: Observed) -> None:
    with observed.stopped():
        line = observed.hffs.describe(observed.folder)
        told = json.loads(observed.hffs("top", observed.folder, "--once", "--json"))
    assert line is not None
    assert (line["health"], line["pid"]) == ("stuck", observed.pid)
    assert line["rss_bytes"] > 0
    for name in ("bytes_served", "requests", "hit_rates", "errors", "queue", "log_level"):
        assert line[name] is None
    (mount,) = told["mounts"]
    assert (mount["health"], mount["files_per_s"], mount["queue"]) == ("stuck", None, None)
    wait_until(lambda: ask_status(observed.socket) is not None)


def test_the_level_changes_what_is_logged_from_now_on(observed: Observed) -> None:
    broken = observed.folder / f"{BROKEN[1]}.jpg"

    def touch() -> str:
        """What comes into the log when a broken file is opened once more."""
        before = len(observed.hffs.log())
        with pytest.raises(OSError, match="Input/output error"):
            broken.read_bytes()
        return observed.hffs.log()[before:]

    assert "ERROR cannot render" in touch()
    assert touch() == ""
    observed.hffs("log", observed.folder, "--level", "debug")
    assert "DEBUG" in touch()
    described = observed.hffs.describe(observed.folder)
    assert described is not None
    assert described["log_level"] == "debug"
    observed.hffs("log", observed.folder, "--level", "info")
    assert touch() == ""
    done = observed.hffs.run("log", observed.folder, "--level", "loud")
    assert done.returncode == 2
    assert done.stderr == (
        "hffs: cannot set the log level to loud: it is none of debug, info, warning, error\n"
    )


def test_the_last_lines_of_a_log_are_shown(observed: Observed) -> None:
    every = observed.hffs.log().splitlines()
    assert observed.hffs("log", observed.folder, "-n", "1").splitlines() == every[-1:]
    assert observed.hffs("log", observed.folder).splitlines() == every[-10:]
    done = observed.hffs.run("log", observed.folder.parent)
    assert done.returncode == 4
    assert "no mount of yours is there" in done.stderr


def _start(hffs: Hffs, *arguments: str | Path, stdout: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hffs", *map(str, arguments)]
    environ = hffs.environ | {"COLUMNS": "200", "LINES": "40", "TERM": "xterm"}
    return subprocess.Popen(command, stdout=stdout, env=environ)


def test_top_tells_programs_what_happens_until_it_is_interrupted(observed: Observed) -> None:
    arguments = ("top", observed.folder, "--json", "--interval", "0.1")
    with _start(observed.hffs, *arguments, stdout=subprocess.PIPE) as watching:
        assert watching.stdout is not None
        seen: list[dict[str, Any]] = []
        while not (seen and seen[-1]["reads_per_s"]):
            _read_past_the_cache(observed.folder / "1.jpg")
            (line,) = json.loads(watching.stdout.readline())["mounts"]
            seen.append(line)
        watching.send_signal(signal.SIGINT)
        watching.stdout.read()
    assert watching.returncode == 0
    assert seen[-1]["mountpoint"] == str(observed.folder)
    assert seen[-1]["read_bytes_per_s"] > 0
    assert 0 < seen[-1]["p50_s"] <= seen[-1]["p99_s"]
    assert {"health", "hit_rate", "errors", "queue", "rss_bytes", "files_per_s"} <= set(seen[-1])


@pytest.mark.parametrize("flag", ["--json", None])
def test_regression_who_reads_top_may_have_seen_enough(
    observed: Observed, flag: str | None
) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    arguments = ["top", str(observed.folder), *([flag] if flag else [])]
    command = [sys.executable, "-m", "hffs", *arguments]
    done = subprocess.run(
        command, stdout=writing, stderr=subprocess.PIPE, text=True, env=observed.hffs.environ,
        timeout=100, check=False,
    )  # fmt: skip
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_top_draws_on_a_terminal_and_writes_lines_elsewhere(observed: Observed) -> None:
    ours, theirs = pty.openpty()
    with _start(
        observed.hffs, "top", observed.folder, "--interval", "0.1", stdout=theirs
    ) as watching:
        os.close(theirs)
        shown = b""
        while b"READS/S" not in shown or b" ok " not in shown:
            shown += os.read(ours, 1 << 16)
        watching.send_signal(signal.SIGINT)
    os.close(ours)
    assert watching.returncode == 0
    assert b"\x1b[?1049h" in shown  # a screen of its own
    head, line = observed.hffs("top", "--once", "--interval", "0.1", observed.folder).splitlines()
    assert head.split()[:4] == ["MOUNTPOINT", "HEALTH", "FILES/S", "MB/S"]
    assert line.split()[:2] == [str(observed.folder), "ok"]


def test_top_says_so_where_nothing_is_mounted(
    observed: Observed, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    done = observed.hffs.run("top", observed.folder.parent)
    assert (done.returncode, done.stdout) == (4, "")
    assert "no mount of hffs is there" in done.stderr
    monkeypatch.setattr(overview_module, "read_shown", list)
    assert run(["top"]) == 0
    assert capsys.readouterr().err == "nothing is mounted\n"
    assert run(["top", "--json", "--once"]) == 0
    assert json.loads(capsys.readouterr().out)["mounts"] == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root sees the daemons of others")
def test_root_finds_the_daemon_of_a_mount_that_is_not_its_own(
    observed: Observed, tmp_path: Path
) -> None:
    (sight,) = look_around(Registry(tmp_path), {str(observed.folder)})
    assert (sight.record, sight.status, sight.health) == (None, None, Health.OK)
    assert sight.pid == observed.pid
    assert sight.process is not None
    assert sight.process.rss_bytes > 1 << 20


def test_what_a_kill_leaves_goes_and_the_next_mount_is_asked(
    observed: Observed, mount: Mount, hffs: Hffs
) -> None:
    folder = mount(observed.source)
    line = hffs.describe(folder)
    assert line is not None
    socket = Path(line["socket"])
    with _start(hffs, "log", folder, "--follow", stdout=subprocess.PIPE) as following:
        assert following.stdout is not None
        assert b"INFO mounted" in following.stdout.readline()
        os.kill(line["pid"], signal.SIGKILL)
        following.stdout.read()  # it ends with the daemon
    assert following.returncode == 0

    def is_dropped() -> bool:
        found = hffs.describe(folder)
        return found is not None and found["health"] == "dead" and found["socket"] is None

    wait_until(is_dropped)
    assert not socket.exists()
    hffs("mount", observed.source, folder)
    assert ask_status(socket) is not None
    hffs("umount", folder)
    assert list(socket.parent.iterdir()) == []


def test_metrics_go_to_a_file_that_ends_with_the_mount(
    observed: Observed, mount: Mount, hffs: Hffs, tmp_path: Path
) -> None:
    done = hffs.run("mount", observed.source, tmp_path, "--metrics-file", tmp_path / "x.txt")
    assert done.returncode == 2
    assert "its name does not end in .prom" in done.stderr
    blocked = tmp_path / "state/hffs/sockets"
    blocked.parent.mkdir(parents=True)
    blocked.touch()
    told = tmp_path / "photos.prom"
    folder = mount(observed.source, "--metrics-file", told)
    wait_until(told.exists)
    (files,) = (
        each
        for each in text_string_to_metric_families(told.read_text())
        if each.name == "hffs_files"
    )
    assert files.samples[0].labels == {"mountpoint": str(folder)}
    assert told.stat().st_mode & 0o777 == 0o644
    # A mount whose socket cannot be made is a mount all the same.
    assert "cannot make the control socket" in hffs.log()
    done = hffs.run("log", folder, "--level", "debug")
    assert done.returncode == 4
    assert "it has no control socket" in done.stderr
    hffs("umount", folder)
    assert not told.exists()


def test_several_mounts_have_a_file_each(observed: Observed, hffs: Hffs, tmp_path: Path) -> None:
    config, place = tmp_path / "both.json", tmp_path / "both"
    entries = [{"id": name, "dataset_name": str(observed.source)} for name in "ab"]
    config.write_text(json.dumps(entries))
    place.mkdir()
    hffs("mount", config, place, "--metrics-file", tmp_path / "both.prom")
    try:
        wait_until(lambda: len(list(tmp_path.glob("both-?.prom"))) == 2)
        assert 'mountpoint="' + str(place / "b") in (tmp_path / "both-b.prom").read_text()
    finally:
        hffs("umount", place)


def test_what_is_fetched_is_counted(
    far_photos: Repo, hub: HubServer, hffs: Hffs, mount: Mount
) -> None:
    folder = mount("owner/photos", "--streaming")

    def fetched() -> dict[str, int]:
        line = hffs.describe(folder)
        assert line is not None
        status = ask_status(Path(line["socket"]))
        assert status is not None
        traffic: dict[str, int] = status["view"]["traffic"]
        return traffic

    assert fetched()["requests"] == 0
    for number in range(ROWS):
        assert (folder / f"{number}.jpg").read_bytes() == photo_of(number)
    once = fetched()
    assert once["requests"] > 0
    assert once["fetched_bytes"] > sum(len(photo_of(number)) for number in range(ROWS))
    assert (once["under_way"], once["late"], once["retries"]) == (0, 0, 0)
    for number in range(ROWS):
        _read_past_the_cache(folder / f"{number}.jpg")
    assert fetched() == once
