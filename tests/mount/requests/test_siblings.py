"""Mounts for which several processes answer: the same files, whoever of them ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hffs.mount.registry import read_state
from hffs.mount.requests.siblings import Sibling
from hffs.mount.requests.sources import EndedError
from hffs.mount.requests.wire import REQUEST_BYTES
from tests.command import Hffs, Mount
from tests.mixed_photos import Mixed
from tests.mount.requests.kernel import make_read
from tests.view.conftest import encode, write_set
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse
DEADLINE_S = 100


def children_of(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(each) for each in listed.split()]


def wait_for_end(pid: int) -> None:
    wait_until(lambda: read_state(pid) in ("", "Z"))


def wait_for_state(pid: int, function: str) -> None:
    """Until a process waits in a function of the kernel."""
    wait_until(lambda: function in Path(f"/proc/{pid}/wchan").read_text())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A source in which all files lie as they are."""
    captions = [f"photo {number}" for number in range(40)]
    images = [encode("JPEG", seed) for seed in range(40)]
    return write_set(tmp_path / "a.parquet", images, caption=captions)


def check_files(folder: Path, mixed: Mixed) -> None:
    """Every file, by several readers that have nothing from before."""
    names = sorted(os.listdir(mixed.folder))
    with ThreadPoolExecutor(8) as pool:
        found = pool.map(lambda name: (folder / name).read_bytes(), names)
        for name, data in zip(names, found, strict=True):
            assert data == (mixed.folder / name).read_bytes(), name
    assert not (folder / "1000000.jpg").exists()


@pytest.mark.parametrize("procs", [0, 1, 3])
def test_files_are_the_same_however_many_processes_answer(
    mount: Mount, hffs: Hffs, mixed: Mixed, procs: int
) -> None:
    folder = mount(mixed.source, "--procs", str(procs))
    daemon = hffs.pid(folder)
    assert len(children_of(daemon)) >= procs
    check_files(folder, mixed)
    described = hffs.describe(folder)
    assert described is not None
    assert described["bytes_served"] >= sum(
        (folder / name).stat().st_size for name in os.listdir(folder)
    )


def resident_bytes(pid: int, name: str) -> int:
    """How much of the maps of a file a process has touched."""
    found, is_of_file = 0, False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            is_of_file = line.endswith(name)
        elif is_of_file and line.startswith("Rss:"):
            found += 1024 * int(line.split()[1])
    return found


def test_what_was_read_is_the_kernels_memory_and_nobody_elses(
    mount: Mount, hffs: Hffs, photos: Path
) -> None:
    hffs("umount", mount(photos))  # to index them, they are looked at
    folder = mount(photos)
    assert all((folder / name).read_bytes() for name in os.listdir(folder))
    daemon = hffs.pid(folder)
    pids = (daemon, *children_of(daemon))
    assert sum(resident_bytes(pid, "/cells.npy") for pid in pids) > 0
    for name in ("/a.parquet", "/captions.npy"):
        assert name in Path(f"/proc/{daemon}/maps").read_text()
        assert sum(resident_bytes(pid, name) for pid in pids) == 0


def test_a_process_that_is_killed_is_missed_by_nobody(
    mount: Mount, hffs: Hffs, photos: Path
) -> None:
    folder = mount(photos, "--procs", "2")
    daemon = hffs.pid(folder)
    first, second = children_of(daemon)
    for each in (first, second):
        os.kill(each, signal.SIGKILL)
        wait_for_end(each)
        assert len(os.listdir(folder)) > 0
        assert all((folder / name).read_bytes() for name in os.listdir(folder))
    assert hffs.pid(folder) == daemon
    assert hffs.log().count("answers requests ended: SIGKILL") == 2


def test_a_request_in_the_hands_of_a_process_that_dies_is_answered(
    mount: Mount, hffs: Hffs, photos: Path
) -> None:
    folder = mount(photos, "--procs", "1")
    daemon = hffs.pid(folder)
    (sibling,) = children_of(daemon)
    os.kill(sibling, signal.SIGSTOP)  # it is in the kernel: the request that comes ends its wait
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit((folder / "0.jpg").read_bytes)
        time.sleep(0.2)
        assert not reading.done()
        os.kill(sibling, signal.SIGKILL)
        assert reading.result(DEADLINE_S)


@pytest.mark.parametrize("procs", [1, 3])
def test_who_waits_for_a_daemon_that_is_stopped_can_be_killed(
    mount: Mount, hffs: Hffs, tmp_path: Path, procs: int
) -> None:
    source = write_set(tmp_path / "b.parquet", [encode("PNG", seed) for seed in range(4)])
    folder = mount(source, "--procs", str(procs))
    os.listdir(folder)
    daemon = hffs.pid(folder)
    os.kill(daemon, signal.SIGSTOP)
    try:
        readers = [subprocess.Popen(["cat", folder / f"{n}.jpg"]) for n in range(4)]
        for reader in readers:
            wait_for_state(reader.pid, "request_wait_answer")
            reader.send_signal(signal.SIGCHLD)  # which is no reason to fail
        time.sleep(0.2)
        assert all(reader.poll() is None for reader in readers)
        for reader in readers:
            reader.kill()
        assert [reader.wait(DEADLINE_S) for reader in readers] == [-signal.SIGKILL] * 4
    finally:
        os.kill(daemon, signal.SIGCONT)
    assert all((folder / f"{n}.jpg").read_bytes() for n in range(4))


def make_ended(hand: bytes, unread: bytes = b"") -> Sibling:
    """One that has ended with a request in its hand, and before it read what it was sent."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if unread:
        ours.send(unread)
    pid = os.posix_spawnp("true", ["true"], os.environ)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until then it has the other end too
    theirs.close()
    ours.setblocking(False)
    held = memoryview(bytearray(REQUEST_BYTES))
    held[: len(hand)] = hand
    return Sibling(pid, ours, held)


@pytest.mark.parametrize("unread", [b"", b"clones"], ids=["begun", "not begun"])
@pytest.mark.parametrize("hand", [b"", make_read(9, 17, 0, 100)], ids=["idle", "at work"])
def test_what_one_that_ended_had_not_answered_is_found(hand: bytes, unread: bytes) -> None:
    sibling = make_ended(hand, unread)
    with pytest.raises(EndedError) as ended:
        sibling.take()
    sibling.end()
    assert bytes(ended.value.request or b"") == hand
    assert ended.value.device == sibling.device


def test_they_end_with_the_mount_and_with_the_daemon(
    mount: Mount, hffs: Hffs, photos: Path
) -> None:
    for end in (
        lambda folder, _: hffs("umount", folder),
        lambda _, daemon: os.kill(daemon, signal.SIGTERM),
        lambda _, daemon: os.kill(daemon, signal.SIGKILL),
    ):
        folder = mount(photos, "--procs", "2")
        daemon = hffs.pid(folder)
        siblings = children_of(daemon)
        assert len(siblings) == 2
        end(folder, daemon)
        for each in siblings:
            wait_for_end(each)
        hffs.run("umount", "--force", folder)


def test_a_signal_to_the_whole_group_is_the_daemons_to_obey(
    mount: Mount, hffs: Hffs, photos: Path
) -> None:
    folder = mount(photos, "--procs", "2")
    daemon = hffs.pid(folder)
    for each in children_of(daemon):
        os.kill(each, signal.SIGTERM)
        os.kill(each, signal.SIGINT)
        os.kill(each, signal.SIGHUP)
    time.sleep(0.1)
    assert len(children_of(daemon)) == 2
    assert all((folder / name).read_bytes() for name in os.listdir(folder))


@pytest.mark.parametrize("wrong", ["-1", "65", "two"])
def test_a_number_that_cannot_be(hffs: Hffs, photos: Path, tmp_path: Path, wrong: str) -> None:
    done = hffs.run("mount", photos, tmp_path, "--procs", wrong)
    assert done.returncode == 2
    assert "--procs" in done.stderr
