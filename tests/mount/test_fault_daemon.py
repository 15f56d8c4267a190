"""A daemon that is killed, stopped, short of something, or asked by many; readers that are killed.

After each: no wrong byte, no call that does not end, other files fine, and a mount that can be used
or is cleanly gone.
"""

from __future__ import annotations

import errno
import io
import mmap
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from hffs.view.failures import MOST_NAMED
from tests import faults
from tests.command import Hffs, Mount
from tests.mixed_photos import draw_png, hollow_jpeg, render_jpeg
from tests.view.workers.conftest import find_children
from tests.waiting import wait_until

pytestmark = pytest.mark.fuse

JPEGS, PNGS = 4, 60
READERS = 64
CORRUPT = 10_000 if os.environ.get(faults.MEASURING) == "1" else MOST_NAMED + 100


@dataclass(frozen=True)
class Photos:
    """A mounted set of files that pass through and files that are rendered."""

    hffs: Hffs = field(repr=False)
    source: Path
    folder: Path
    files: dict[str, bytes] = field(repr=False)
    _unread: list[str] = field(repr=False)

    def take_unread(self) -> str:
        """A rendered file that was never read: to one test alone."""
        return self._unread.pop()

    def pid(self) -> int:
        return self.hffs.pid(self.folder)

    def is_whole(self) -> bool:
        """Whether every file that was read before, or passes through, has its bytes."""
        names = [name for name in self.files if name not in self._unread]
        return all((self.folder / name).read_bytes() == self.files[name] for name in names)

    def try_all(self) -> set[str]:
        """The errnos that files answer; bytes have to be right."""
        seen = set()
        for name, data in self.files.items():
            try:
                assert (self.folder / name).read_bytes() == data
            except OSError as error:
                seen.add(errno.errorcode[error.errno or 0])
        return seen


def _draw_large_png() -> bytes:
    """Few bytes that are 48 MB of pixels."""
    file = io.BytesIO()
    Image.new("RGB", (4000, 4000), "red").save(file, "PNG")
    return file.getvalue()


def _mount_photos(base: Path) -> Photos:
    jpegs = [hollow_jpeg(300_000 + number, number) for number in range(JPEGS)]
    pngs = [draw_png(seed, 96, 96) for seed in range(PNGS)] + [_draw_large_png()]
    cells = [{"bytes": image, "path": None} for image in (*jpegs, *pngs)]
    source = base / "a.parquet"
    pq.write_table(pa.table({"image": cells}), source, compression="none", use_dictionary=False)
    files = {f"{n}.jpg": data for n, data in enumerate((*jpegs, *map(render_jpeg, pngs)))}
    (base / "mnt").mkdir()
    hffs = Hffs.below(base)
    hffs("mount", source, base / "mnt")
    return Photos(hffs, source, base / "mnt", files, list(files)[JPEGS:-1])


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Photos]:
    mounted = _mount_photos(tmp_path_factory.mktemp("photos"))
    yield mounted
    mounted.hffs.run("umount", "--force", mounted.folder)


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        # Each thread stops by itself: one that does not yet may take a request on.
        wait_until(lambda: all(map(_is_stopped, Path(f"/proc/{pid}/task").iterdir())))
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _is_stopped(thread: Path) -> bool:
    return (thread / "stat").read_text().rpartition(")")[2].split()[0] == "T"


def test_a_daemon_that_is_stopped_makes_readers_wait(photos: Photos) -> None:
    name = photos.take_unread()
    with ThreadPoolExecutor(1) as pool:
        with _stopped(photos.pid()):
            # The first one: names of a folder are looked up one after the other, and no signal ends
            # who waits for another's lookup.
            killed = subprocess.Popen(["cat", photos.folder / photos.take_unread()])
            wait_until(lambda: _waits_for_an_answer(killed.pid))
            waiting = pool.submit((photos.folder / name).read_bytes)
            killed.kill()
            assert killed.wait(60) == -signal.SIGKILL
            assert not waiting.done()
        begun = time.monotonic()
        assert waiting.result(100) == photos.files[name]
    faults.record(
        "SIGSTOP, then SIGCONT of the daemon",
        "calls wait, and give the right bytes; who waits for an answer can be killed",
        time.monotonic() - begun,
    )


def _waits_for_an_answer(pid: int) -> bool:
    """Whether a process waits in the kernel for what it has asked a FUSE file system."""
    return "request_wait" in Path(f"/proc/{pid}/wchan").read_text()


def test_a_reader_that_is_killed_or_leaves_maps_open_harms_nobody(photos: Photos) -> None:
    name = photos.take_unread()
    program = (
        "import mmap, os, sys\n"
        "file = os.open(sys.argv[1], os.O_RDONLY)\n"
        "mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)\n"
        "print(len(mapped), flush=True)\n"
        "while True:\n"
        "    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)\n"
        "    os.pread(file, 99999, 0)\n"
    )
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-S", "-c", program, photos.folder / name], stdout=subprocess.PIPE
        ) as reader:
            assert reader.stdout is not None
            assert int(reader.stdout.readline()) == len(photos.files[name])
            reader.kill()
    assert photos.is_whole()
    faults.record("a reader is killed in mid-read, with maps open", "nothing, for all others")


def test_many_readers_at_once_read_right(photos: Photos, tmp_path: Path) -> None:
    for number in range(3):
        name = photos.take_unread()
        (tmp_path / str(number)).write_bytes(photos.files[name])
        readers = [
            subprocess.Popen(["cmp", photos.folder / name, tmp_path / str(number)])
            for _ in range(READERS)
        ]
        assert [reader.wait(100) for reader in readers] == [0] * READERS
    faults.record("64 readers of an image that is not rendered yet", "the right bytes, all of them")


@contextmanager
def _limited(pid: int, most: int) -> Iterator[None]:
    """Another soft limit of a process's descriptors."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (most, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_a_daemon_without_descriptors_serves_and_keeps_nothing(photos: Photos) -> None:
    names = [photos.take_unread() for _ in range(3)]
    with _limited(photos.pid(), 3):
        for name in ("0.jpg", *names):
            assert (photos.folder / name).read_bytes() == photos.files[name]
    assert photos.is_whole()
    faults.record(
        "the daemon runs out of file descriptors", "the right bytes, which are not cached"
    )


def test_files_of_a_folder_are_there_again_with_descriptors(
    mount: Mount, hffs: Hffs, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    for number in range(3):
        (tmp_path / f"set/{number}.jpg").write_bytes(hollow_jpeg(5000, number))
    folder = mount(tmp_path / "set")
    described = hffs.describe(folder)
    assert described is not None
    with _limited(described["pid"], 3), pytest.raises(OSError, match="Input/output") as caught:
        (folder / "0.jpg").read_bytes()
    assert caught.value.errno == errno.EIO
    begun = time.monotonic()
    for number in range(3):
        assert (folder / f"{number}.jpg").read_bytes() == hollow_jpeg(5000, number)
    faults.record(
        "the same, of a folder of images, where each is opened when it is read",
        "EIO, and the right bytes as soon as there are descriptors",
        time.monotonic() - begun,
    )


_CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def _grouped(controller: str, pid: int, limits: dict[str, int]) -> Iterator[Path]:
    """A process and its children in a control group of their own (version 1), with limits."""
    parent = _CGROUPS / controller
    if not os.access(parent / "cgroup.procs", os.W_OK):
        pytest.skip(f"no controller {controller} of version 1 that can be written")
    group = parent / f"hffs-test-{os.getpid()}-{pid}"
    group.mkdir()
    try:
        for member in (pid, *_descendants(pid)):
            (group / "cgroup.procs").write_text(str(member))
        for name, value in limits.items():
            (group / name).write_text(str(value))
        yield group
    finally:
        for each in (group / "cgroup.procs").read_text().split():
            (parent / "cgroup.procs").write_text(each)
        wait_until(lambda: _is_removed(group))


def _descendants(pid: int) -> Iterator[int]:
    for child in find_children(pid):
        yield child
        yield from _descendants(child)


def _is_removed(group: Path) -> bool:
    """Whether a control group could be removed, which takes until its last process has ended."""
    with suppress(OSError):
        group.rmdir()
    return not group.exists()


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Photos]:
    """A mount that a test may ruin."""
    (tmp_path / "own").mkdir()
    photos = _mount_photos(tmp_path / "own")
    yield photos
    photos.hffs.run("umount", "--force", photos.folder)


def test_a_daemon_that_may_start_no_thread_recovers(own: Photos) -> None:
    pid = own.pid()
    threads = len(os.listdir(f"/proc/{pid}/task"))
    with _grouped("pids", pid, {"pids.max": threads}):
        assert own.try_all() <= {"EIO"}
    begun = time.monotonic()
    assert own.try_all() == set()
    faults.record(
        "the daemon may start no more threads or processes (pids.max)",
        "EIO of what has to be rendered; what passes through as ever",
        time.monotonic() - begun,
    )


def test_a_daemon_that_is_short_of_memory_is_right_or_gone(own: Photos) -> None:
    with _grouped("memory", own.pid(), {"memory.limit_in_bytes": 16 << 20}):
        seen = own.try_all()
        assert seen <= {"ENOTCONN", "ECONNABORTED", "EIO"}  # aborted: the call under way
        assert seen  # else there was memory enough
    begun = time.monotonic()
    own.hffs("umount", "--force", own.folder)
    own.hffs("mount", own.source, own.folder)
    assert own.try_all() == set()
    faults.record(
        "a memory limit that an image does not fit in",
        "EIO, or ENOTCONN where the kernel kills the daemon; right again when mounted again",
        time.monotonic() - begun,
    )


def test_a_daemon_that_is_killed_is_enotconn_and_mounted_over(
    own: Photos, hold_open: Callable[[Path], None]
) -> None:
    hold_open(own.folder / "1.jpg")
    file = os.open(own.folder / "0.jpg", os.O_RDONLY)
    mapped = mmap.mmap(file, 0, prot=mmap.PROT_READ)
    assert mapped[:] == own.files["0.jpg"]
    begun = time.monotonic()
    os.kill(own.pid(), signal.SIGKILL)
    wait_until(lambda: own.try_all() == {"ENOTCONN"})
    assert mapped[:] == own.files["0.jpg"]  # pages that were read stay
    own.hffs("mount", own.source, own.folder)
    assert (own.folder / "0.jpg").read_bytes() == own.files["0.jpg"]
    recovered = time.monotonic() - begun
    assert own.try_all() == set()
    with pytest.raises(OSError, match="not connected"):
        os.close(file)
    faults.record(
        "kill -9 of the daemon, and `hffs mount` again",
        "ENOTCONN until it is mounted again, from files that were open for good",
        recovered,
    )


@contextmanager
def _small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of its own on a folder."""
    if os.geteuid():
        pytest.skip("only root mounts a small disk")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_cache_folder_that_is_full_then_read_only(photos: Photos, tmp_path: Path) -> None:
    cache, folder = tmp_path / "cache", tmp_path / "mnt"
    folder.mkdir()
    with _small_disk(cache, "8m"):
        photos.hffs("mount", photos.source, folder, "--cache-dir", cache)
        try:
            subprocess.run(["dd", "if=/dev/zero", f"of={cache}/fill", "bs=64k"], check=False)
            assert not os.statvfs(cache).f_bavail
            half = len(photos.files) // 2
            for name, data in [*photos.files.items()][:half]:
                assert (folder / name).read_bytes() == data
            photos.hffs("umount", folder)
            wait_until(lambda: _is_made_read_only(cache))
            photos.hffs("mount", photos.source, folder, "--cache-dir", cache)
            for name, data in photos.files.items():
                assert (folder / name).read_bytes() == data
        finally:
            photos.hffs.run("umount", "--force", folder)
    faults.record(
        "the disk of `cache_dir` is full, or is mounted read-only",
        "the right bytes; the log says once that nothing is kept",
    )
    assert "disk cache" in photos.hffs.log()


def _is_made_read_only(folder: Path) -> bool:
    """Whether a file system could be: not while a daemon that ends has a file open to write."""
    return not subprocess.run(["mount", "-o", "remount,ro", folder], check=False).returncode


def _spoil(entries: list[Path]) -> None:
    """Flip bits of some entries, cut others short, and exchange two."""
    for entry in entries[0::3]:
        data = bytearray(entry.read_bytes())
        data[-5] ^= 0xFF
        entry.write_bytes(data)
    for entry in entries[1::3]:
        os.truncate(entry, entry.stat().st_size // 2)
    first, second = entries[2], entries[5]
    both = first.read_bytes(), second.read_bytes()
    first.write_bytes(both[1])
    second.write_bytes(both[0])


def test_cached_files_that_are_spoiled_are_made_again(own: Photos) -> None:
    assert own.try_all() == set()
    blobs = Path(own.hffs.environ["XDG_CACHE_HOME"]) / "hffs/store/blobs"
    entries = sorted(blobs.glob("??/*"))
    assert len(entries) >= PNGS
    _spoil(entries)
    assert own.try_all() == set()
    begun = time.monotonic()
    own.hffs("umount", own.folder)
    own.hffs("mount", own.source, own.folder)
    assert own.try_all() == set()
    assert "dropped a broken entry of the disk cache" in own.hffs.log()
    faults.record(
        "cached images are corrupted, cut short or exchanged",
        "the right bytes: each is checked when it is opened, and made again",
        time.monotonic() - begun,
    )


def test_thousands_of_corrupt_rows_cost_an_eio_each(
    mount: Mount, hffs: Hffs, tmp_path: Path
) -> None:
    cells = [{"bytes": b"no image %d" % row, "path": None} for row in range(CORRUPT)]
    cells.append({"bytes": hollow_jpeg(5000, 1), "path": None})
    table = pa.table({"image": cells})
    pq.write_table(table, tmp_path / "a.parquet", compression="none", use_dictionary=False)
    folder = mount(tmp_path / "a.parquet")
    described = hffs.describe(folder)
    assert described is not None
    before, begun = _read_rss(described["pid"]), time.monotonic()
    for row in range(CORRUPT):
        with pytest.raises(OSError, match="Input/output"):
            os.stat(folder / f"{row}.jpg")
    took = time.monotonic() - begun
    assert (folder / f"{CORRUPT}.jpg").read_bytes() == hollow_jpeg(5000, 1)
    assert _read_rss(described["pid"]) - before < 60 << 20
    named = hffs.log().count("cannot render")
    assert named == MOST_NAMED
    faults.record(
        "10 000 corrupt rows are read", f"EIO of each; the log names the first {MOST_NAMED}", took
    )


def _read_rss(pid: int) -> int:
    (line,) = (
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "RssAnon" in line
    )
    return int(line.split()[1]) << 10
