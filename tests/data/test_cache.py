from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import mmap
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.data import cache as under_test
from hffs.data import folders
from hffs.data.cache import DiskCache
from hffs.data.space import Space, read_space
from hffs.errors import ConfigError

BLOCK = 4096
LARGE = b"0123456789abcdef" * (1 << 17)
"""Two megabytes: stored large enough to be mapped."""


class Clock:
    """A clock that a test sets."""

    def __init__(self, now: float) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def small(root: Path, blocks: int = 1000) -> DiskCache:
    return DiskCache(root / "cache", blocks * BLOCK, floor_bytes=0)


def files(root: Path) -> list[Path]:
    """All files in the shards, temporary ones included."""
    return sorted((root / "cache").glob("??/*")) + sorted((root / "cache").glob("??/.*"))


def blocks_of(root: Path) -> int:
    """Blocks of disk that all entries take."""
    entries = (file for file in files(root) if not file.name.startswith(".tmp-"))
    return sum(-(-entry.stat().st_size // BLOCK) for entry in entries)


def entry_of(root: Path, key: str) -> Path:
    """The entry of a key, which stands in its header."""
    (entry,) = (file for file in files(root) if key.encode() in file.read_bytes())
    return entry


def age(entry: Path, seconds: float) -> None:
    """Set the entry's last use to so many seconds after the epoch."""
    os.utime(entry, (seconds, seconds))


def got(cache: DiskCache, key: str) -> bytes | None:
    found = cache.get(key)
    return None if found is None else bytes(found)


def test_what_was_put_is_got_by_any_process(tmp_path: Path) -> None:
    assert bytes(small(tmp_path).put("key", b"data")) == b"data"
    assert got(small(tmp_path), "key") == b"data"
    assert got(small(tmp_path), "other") is None


@given(st.text(st.characters()), st.binary(max_size=200))
def test_any_key_and_blob_round_trip(
    tmp_path_factory: pytest.TempPathFactory, key: str, data: bytes
) -> None:
    cache = DiskCache(tmp_path_factory.getbasetemp() / "round-trip", 1 << 30)
    assert bytes(cache.put(key, data)) == data
    assert got(cache, key) == data


def test_a_key_may_hold_a_file_name_that_is_no_text(tmp_path: Path) -> None:
    small(tmp_path).put("a\udcff.jpg", b"data")
    assert got(small(tmp_path), "a\udcff.jpg") == b"data"
    assert got(small(tmp_path), "a?.jpg") is None


@pytest.mark.parametrize("data", [b"data", LARGE])
def test_views_are_read_only_and_aligned_on_disk(tmp_path: Path, data: bytes) -> None:
    stored = small(tmp_path).put("key", bytearray(data))
    found = small(tmp_path).get("key")
    assert found is not None
    assert stored.readonly
    assert found.readonly
    assert entry_of(tmp_path, "key").read_bytes().index(data) % 64 == 0


def test_a_large_blob_is_mapped_and_outlives_its_entry(tmp_path: Path) -> None:
    stored = small(tmp_path).put("key", LARGE)
    found = small(tmp_path).get("key")
    shutil.rmtree(tmp_path / "cache")
    for view in (stored, found):
        assert view is not None
        assert isinstance(view.obj, mmap.mmap)
        assert bytes(view) == LARGE


def test_the_last_put_wins(tmp_path: Path) -> None:
    cache = small(tmp_path)
    old = cache.put("key", LARGE)
    cache.put("key", b"new")
    assert got(cache, "key") == b"new"
    assert bytes(old) == LARGE


def test_keys_that_share_a_hash_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(under_test, "_place", lambda key: ("ab", "cdef"))
    cache = small(tmp_path)
    cache.put("key", b"data")
    assert got(cache, "yek") is None
    assert got(cache, "key") == b"data"
    assert not caplog.records


def flip(at: int) -> Callable[[bytes], bytes]:
    """What changes one byte of an entry; from the end if negative."""

    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[at] ^= 1
        return bytes(changed)

    return change


@pytest.mark.parametrize("data", [b"data", LARGE])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: b"",
        lambda data: data[:23],
        lambda data: data[:-1],
        lambda data: data + b"a",
        flip(0),  # magic
        flip(8),  # checksum
        flip(12),  # length of the key
        flip(15),
        flip(16),  # length of the payload
        flip(24),  # key
        flip(-1),  # payload
    ],
)
def test_a_broken_entry_is_dropped_and_told_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: Callable[[bytes], bytes],
    data: bytes,
) -> None:
    cache = small(tmp_path)
    cache.put("key", data)
    (entry,) = files(tmp_path)
    entry.write_bytes(change(entry.read_bytes()))
    assert got(cache, "key") is None
    assert not files(tmp_path)
    assert got(cache, "key") is None
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "dropped a broken entry of the disk cache" in record.message
    cache.put("key", data)
    assert got(cache, "key") == data


def test_folders_and_entries_are_for_the_user_alone(tmp_path: Path) -> None:
    root = tmp_path / "cache"
    root.mkdir()
    root.chmod(0o777)
    before = os.umask(0)
    try:
        small(tmp_path).put("key", b"data")
    finally:
        os.umask(before)
    (entry,) = files(tmp_path)
    modes = [path.stat().st_mode & 0o777 for path in (root, entry.parent, entry)]
    assert modes == [0o700, 0o700, 0o600]


def test_a_root_behind_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "cache").symlink_to(tmp_path / "real")
    with pytest.raises(ConfigError, match=r"symbolic link; set cache_dir to .*/real itself"):
        small(tmp_path)


def test_a_root_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(ConfigError, match="it belongs to another user"):
        small(tmp_path)


def test_a_root_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_bytes(b"")
    with pytest.raises(ConfigError, match="cannot use the cache folder"):
        small(tmp_path)


def test_a_shard_behind_a_link_is_neither_read_nor_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = small(tmp_path)
    cache.put("key", b"data")
    (entry,) = files(tmp_path)
    entry.parent.rename(tmp_path / "elsewhere")
    entry.parent.symlink_to(tmp_path / "elsewhere")
    assert got(cache, "key") is None
    before = (tmp_path / "elsewhere" / entry.name).stat()
    assert bytes(cache.put("key", b"other")) == b"other"
    assert (tmp_path / "elsewhere" / entry.name).stat() == before
    assert cache.failures == 2
    assert [record.message.split(" the ")[0] for record in caplog.records] == [
        "cannot read",
        "cannot write to",
    ]


def test_an_entry_behind_a_link_is_not_read_and_is_replaced(tmp_path: Path) -> None:
    cache = small(tmp_path)
    cache.put("key", b"data")
    (entry,) = files(tmp_path)
    entry.rename(tmp_path / "target")
    entry.symlink_to(tmp_path / "target")
    assert got(cache, "key") is None
    cache.put("key", b"new")
    assert got(cache, "key") == b"new"
    assert b"data" in (tmp_path / "target").read_bytes()


def test_an_entry_of_another_user_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = small(tmp_path)
    cache.put("key", b"data")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    assert got(cache, "key") is None
    assert cache.failures == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
@pytest.mark.parametrize("data", [b"data", LARGE])
def test_a_disk_that_takes_no_more_costs_a_warning_only(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    data: bytes,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    cache = small(tmp_path)
    monkeypatch.setattr(os, "replace", refuse)
    assert bytes(cache.put("one", data)) == data
    assert bytes(cache.put("two", data)) == data
    assert not files(tmp_path)
    assert cache.failures == 2
    (record,) = caplog.records
    assert os.strerror(code) in record.message


def test_a_disk_that_cannot_be_written_is_still_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    cache = small(tmp_path)
    cache.put("key", b"data")
    age(entry_of(tmp_path, "key"), 0)
    monkeypatch.setattr(os, "utime", refuse)
    assert got(cache, "key") == b"data"
    assert not caplog.records


def test_a_blob_larger_than_the_cache_is_served_and_not_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = small(tmp_path, blocks=2)
    cache.put("fits", bytes(BLOCK))
    assert bytes(cache.put("large", LARGE)) == LARGE
    assert got(cache, "large") is None
    assert got(cache, "fits") == bytes(BLOCK)
    (record,) = caplog.records
    assert "cache_size 8192" in record.message


def test_a_cache_that_was_deleted_begins_anew(tmp_path: Path) -> None:
    cache = small(tmp_path)
    shutil.rmtree(tmp_path / "cache")
    assert got(cache, "key") is None
    cache.put("key", b"data")
    assert got(cache, "key") == b"data"
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


def test_the_least_recently_used_go_down_to_nine_tenths(tmp_path: Path) -> None:
    cache = small(tmp_path, blocks=20)
    order = [7, 3, 11, *(number for number in range(20) if number not in (7, 3, 11))]
    for number in range(20):
        cache.put(f"key {number}.", b"data")
    for seconds, number in enumerate(order):
        age(entry_of(tmp_path, f"key {number}."), 1000 + seconds)
    cache.put("one more", b"data")
    gone = {number for number in range(20) if cache.get(f"key {number}.") is None}
    assert gone == {7, 3, 11}
    assert got(cache, "one more") == b"data"


def test_the_cap_holds_after_every_put(tmp_path: Path) -> None:
    cache = small(tmp_path, blocks=50)
    for number in range(120):
        cache.put(f"key {number}", bytes(number * 100))
        assert blocks_of(tmp_path) <= 50
    assert len(files(tmp_path)) > 10


def test_a_cache_found_over_its_cap_is_cut_at_the_first_put(tmp_path: Path) -> None:
    for number in range(30):
        small(tmp_path).put(f"key {number}", b"data")
    small(tmp_path, blocks=10).put("key", b"data")
    assert len(files(tmp_path)) == 9


@pytest.mark.parametrize(("count", "longest"), [(2, 1 << 20), (8, 1 << 20), (3, 10)])
def test_the_cap_holds_after_every_put_of_any_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, longest: int
) -> None:
    monkeypatch.setattr(under_test, "_LONGEST_TALLY", longest)
    caches = [small(tmp_path, blocks=100) for _ in range(count)]
    for number in range(400):
        caches[number * 7 % count].put(f"key {number}", bytes(number * 20))
        assert blocks_of(tmp_path) <= 100
    assert len(files(tmp_path)) > 20


def test_a_count_that_was_lost_is_made_right(tmp_path: Path) -> None:
    one, other = small(tmp_path, blocks=100), small(tmp_path, blocks=100)
    one.put("first", b"data")
    for number in range(95):
        other.put(f"key {number}", b"data")
    (tmp_path / "cache/.put").unlink()
    for number in range(12):
        one.put(f"more {number}", b"data")
    assert len(files(tmp_path)) <= 100


def test_the_folder_is_scanned_once_a_tenth_of_the_cap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans: list[object] = []
    listdir = os.listdir

    def watch(path: Path | int) -> list[str]:
        if path == tmp_path / "cache":
            scans.append(path)
        return [os.fsdecode(name) for name in listdir(path)]

    monkeypatch.setattr(os, "listdir", watch)
    cache = small(tmp_path, blocks=100)
    for number in range(80):
        cache.put(f"key {number}", b"data")
    assert 2 <= len(scans) <= 8


def test_use_is_noted_once_a_minute(tmp_path: Path) -> None:
    clock = Clock(1000)
    cache = DiskCache(tmp_path / "cache", 1 << 20, clock)
    cache.put("key", b"data")
    (entry,) = files(tmp_path)
    age(entry, 1000)
    for now, noted in ((1060, 1000), (1061, 1061), (1100, 1061), (1130, 1130)):
        clock.now = now
        cache.get("key")
        assert entry.stat().st_mtime == noted


@pytest.mark.parametrize("odd", ["a file", "a link", "another's", "a folder in a shard"])
def test_regression_what_is_not_the_caches_own_does_not_end_eviction(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cache = small(tmp_path, blocks=10)
    cache.put("first", b"data")
    path = tmp_path / "cache" / "zz"
    if odd == "a file":
        path.write_text("x")
    elif odd == "a link":
        path.symlink_to(tmp_path)
    elif odd == "another's":
        path.mkdir()

        def open_own(path: str, *flags: int) -> contextlib.AbstractContextManager[int]:
            if path.endswith("zz"):
                raise PermissionError(errno.EPERM, "it belongs to another user")
            return folders.open_own(path, *flags)

        monkeypatch.setattr(under_test, "open_own", open_own)
    else:
        path = entry_of(tmp_path, "first").parent / "folder"
        path.mkdir()
        age(path, 0)
    for number in range(100):
        cache.put(f"key {number}", b"data")
        assert sum(file.is_file() for file in files(tmp_path)) <= 10
    assert path.exists()
    assert cache.failures == 0
    assert len(caplog.records) == (odd != "a folder in a shard")


def test_temporary_files_are_swept_when_an_hour_old(tmp_path: Path) -> None:
    clock = Clock(10_000)
    small(tmp_path).put("key", b"data")
    folder = files(tmp_path)[0].parent
    for name, seconds in ((".tmp-old", 6399), (".tmp-young", 6401)):
        (folder / name).write_bytes(b"half")
        age(folder / name, seconds)
    DiskCache(tmp_path / "cache", 1 << 20, clock).put("key", b"data")
    assert [file.name for file in folder.glob(".*")] == [".tmp-young"]


def test_eviction_is_left_to_whoever_is_at_it(tmp_path: Path) -> None:
    cache = small(tmp_path, blocks=5)
    cache.put("key 0", b"data")
    with open(tmp_path / "cache" / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        for number in range(1, 8):
            cache.put(f"key {number}", b"data")
        assert len(files(tmp_path)) == 8
    cache.put("key 8", b"data")
    assert len(files(tmp_path)) == 4
    assert cache.failures == 0


def test_an_entry_that_another_deletes_during_eviction_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = small(tmp_path, blocks=5)
    for number in range(5):
        cache.put(f"key {number}", b"data")
    unlink = os.unlink

    def unlink_late(path: str, *, dir_fd: int | None = None) -> None:
        unlink(path, dir_fd=dir_fd)
        unlink(path, dir_fd=dir_fd)

    monkeypatch.setattr(os, "unlink", unlink_late)
    for number in range(5, 8):
        cache.put(f"key {number}", b"data")
    assert cache.failures == 0


WORKER = """
import random, sys
from pathlib import Path
from hffs.data.cache import DiskCache

cache = DiskCache(Path(sys.argv[1]), 40 * 4096, floor_bytes=0)
chosen = random.Random(int(sys.argv[2]))
while True:
    number = chosen.randrange(30)
    data = bytes([number]) * (number * 700)
    found = cache.get(str(number))
    if found is None:
        found = cache.put(str(number), data)
    if found != data or cache.failures:
        sys.exit("wrong bytes, or a failure")
    print(number, flush=True)
"""


def start_worker(root: Path, seed: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", WORKER, str(root), str(seed)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_killed_processes_leave_no_broken_entry_and_never_see_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "cache"
    workers = [start_worker(root, seed) for seed in range(3)]
    for worker in workers:
        assert worker.stdout is not None
        lines = [worker.stdout.readline() for _ in range(400)]
        assert all(lines)
    for worker in workers:
        worker.kill()
        _, complaints = worker.communicate()
        assert complaints == b""  # a broken entry would have been logged
    cache = DiskCache(root, 40 * BLOCK)
    for number in range(30):
        assert got(cache, str(number)) in (None, bytes([number]) * (number * 700))
    assert not caplog.records
    cache.put("last", b"data")
    assert blocks_of(tmp_path) <= 40


def test_threads_share_a_cache(tmp_path: Path) -> None:
    cache = small(tmp_path, blocks=40)
    wrong: list[int] = []

    def work(seed: int) -> None:
        for step in range(200):
            number = (seed * 31 + step * 17) % 30
            data = bytes([number]) * (number * 700)
            found = cache.get(str(number))
            if (cache.put(str(number), data) if found is None else found) != data:
                wrong.append(number)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.failures == 0


@pytest.mark.parametrize("count", [2, 4])
def test_processes_that_put_the_same_key_at_once_all_get_it(tmp_path: Path, count: int) -> None:
    code = """
import sys
from pathlib import Path
from hffs.data.cache import DiskCache

cache = DiskCache(Path(sys.argv[1]), 1 << 30, floor_bytes=0)
print(flush=True)
sys.stdin.readline()
for number in range(200):
    data = bytes([number]) * 5000
    assert cache.put(f"key {number}", data) == data
    assert cache.get(f"key {number}") == data
assert not cache.failures
"""
    command = [sys.executable, "-c", code, str(tmp_path / "cache")]
    pipe = subprocess.PIPE
    workers = [
        subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe) for _ in range(count)
    ]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline()
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    assert [worker.communicate()[1] for worker in workers] == [b""] * count
    assert len(files(tmp_path)) == 200


KILLED = """
import os, resource, signal, sys
from pathlib import Path
from hffs.data.cache import DiskCache

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

cache = DiskCache(Path(sys.argv[1]), 6 << 20, floor_bytes=0)
cache.put("old", b"data")
if sys.argv[2] == "writing":
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
else:
    setattr(os, sys.argv[2], die)
for number in range(4):
    cache.put(f"key {number}", b"0123456789abcdef" * (1 << 17))
"""


@pytest.mark.parametrize("where", ["writing", "replace", "unlink"])
def test_a_process_killed_within_a_put_leaves_nothing_broken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path / "cache"), where]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode < 0, done.stderr
    later = Clock(files(tmp_path)[-1].stat().st_mtime + 3601)
    cache = DiskCache(tmp_path / "cache", 6 << 20, later, floor_bytes=0)
    assert got(cache, "old") == b"data"
    assert got(cache, "key 0") in (None, LARGE)
    assert bytes(cache.put("key 0", LARGE)) == LARGE
    assert got(cache, "key 0") == LARGE
    assert not [file for file in files(tmp_path) if file.name.startswith(".tmp-")]
    assert cache.failures == 0
    assert not caplog.records


class Disk:
    """A file system on which the entries of a cache lie, and files of others."""

    def __init__(self, root: Path, blocks: int) -> None:
        self.root, self.blocks, self.others = root, blocks, 0
        self.held = False  # what is deleted is still open

    def __call__(self, folder: Path) -> Space:
        used = 0 if self.held else blocks_of(self.root)
        return Space((self.blocks - used - self.others) * BLOCK, 100 * self.blocks * BLOCK)


def count_scans(cache: DiskCache, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows by one with each scan."""
    scans: list[object] = []
    evict = cache._evict

    def watch(lacking_bytes: int = 0) -> bool:
        scans.append(lacking_bytes)
        return evict(lacking_bytes)

    monkeypatch.setattr(cache, "_evict", watch)
    return scans


def test_the_floor_of_free_space_holds_after_every_put(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, blocks=100)
    cache = DiskCache(tmp_path / "cache", 10_000 * BLOCK, floor_bytes=40 * BLOCK, space=disk)
    scans = count_scans(cache, monkeypatch)
    for number in range(300):
        cache.put(f"key {number}.", b"data")
        assert disk(tmp_path).free_bytes >= 40 * BLOCK
    assert got(cache, "key 299.") == b"data"
    assert 53 <= len(files(tmp_path)) <= 60
    assert len(scans) < 60  # a tenth goes each time
    assert cache.failures == 0


def test_the_least_recently_used_go_for_the_floor(tmp_path: Path) -> None:
    disk = Disk(tmp_path, blocks=100)
    cache = DiskCache(tmp_path / "cache", 10_000 * BLOCK, floor_bytes=0, space=disk)
    for number in range(20):
        cache.put(f"key {number}.", b"data")
        age(entry_of(tmp_path, f"key {number}."), 2000 - number)
    disk.others = 80
    cache.put("new", b"data")
    gone = {number for number in range(20) if cache.get(f"key {number}.") is None}
    assert gone == {17, 18, 19}
    assert got(cache, "new") == b"data"


def test_a_disk_filled_by_others_keeps_what_is_cached_and_takes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    disk, clock = Disk(tmp_path, blocks=100_000), Clock(1000)
    cache = DiskCache(tmp_path / "cache", 10_000 * BLOCK, clock, 40 * BLOCK, disk)
    cache.put("key", b"data")
    scans = count_scans(cache, monkeypatch)
    disk.others = 99_970
    for number in range(50):
        assert bytes(cache.put(f"key {number}", b"data")) == b"data"
    assert cache.failures == 50
    assert len(scans) == 1
    assert [file.name for file in files(tmp_path)] == [entry_of(tmp_path, "key").name]
    (record,) = caplog.records
    assert "its file system is nearly full" in record.message
    clock.now = 1060
    cache.put("later", b"data")
    assert len(scans) == 2
    disk.others = 50_000
    cache.put("room", b"data")
    assert len(scans) == 2
    assert got(cache, "room") == b"data"


def test_a_change_of_the_free_space_is_noticed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path, blocks=100_000)
    cache = DiskCache(tmp_path / "cache", 1 << 40, Clock(1000), 50_000 * BLOCK, disk)
    cache.put("key", b"data")
    scans = count_scans(cache, monkeypatch)
    for others, expected in ((80_000, 1), (79_000, 1), (60_000, 2), (60_000, 2)):
        disk.others = others
        cache.put("other", b"data")
        assert len(scans) == expected


def test_entries_that_are_still_open_are_not_evicted_again_and_again(tmp_path: Path) -> None:
    disk = Disk(tmp_path, blocks=100)
    cache = DiskCache(tmp_path / "cache", 10_000 * BLOCK, Clock(1000), 10 * BLOCK, disk)
    for number in range(50):
        cache.put(f"key {number}", b"data")
    disk.held, disk.others = True, 90
    for number in range(50, 60):
        cache.put(f"key {number}", b"data")
    assert 40 < len(files(tmp_path)) < 50
    assert cache.failures == 10


def test_a_put_while_another_makes_room_is_not_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    disk = Disk(tmp_path, blocks=20)
    cache = DiskCache(tmp_path / "cache", 10_000 * BLOCK, floor_bytes=10 * BLOCK, space=disk)
    for number in range(10):
        cache.put(f"key {number}", b"data")
    with open(tmp_path / "cache" / ".lock") as lock:
        fcntl.flock(lock, fcntl.LOCK_SH)
        assert bytes(cache.put("more", b"data")) == b"data"
    assert got(cache, "more") is None
    assert cache.failures == 1
    assert not caplog.records
    cache.put("more", b"data")
    assert got(cache, "more") == b"data"


@pytest.mark.parametrize(
    ("total", "floor"), [(10**12, 2 * 10**9), (40 * 10**9, 2 * 10**9), (10**9, 5 * 10**7), (0, 0)]
)
def test_the_floor_is_two_gigabytes_or_a_twentieth(tmp_path: Path, total: int, floor: int) -> None:
    for free, stored in ((floor + BLOCK, b"data"), (floor + BLOCK - 1, None)):
        cache = DiskCache(tmp_path / str(free), 1 << 30, space=lambda _: Space(free, total))  # noqa: B023 - used in this turn
        cache.put("key", b"data")
        assert got(cache, "key") == stored


def test_the_space_is_that_of_the_file_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    assert read_space(tmp_path).total_bytes == usage.total
    assert 0 <= read_space(tmp_path).free_bytes <= usage.total
    silent = os.statvfs_result((4096, 4096, *[0] * 8))
    monkeypatch.setattr(os, "statvfs", lambda _: silent)
    assert read_space(tmp_path).free_bytes > 1 << 60


def test_regression_a_clock_that_is_set_back_stops_neither_notes_nor_puts(tmp_path: Path) -> None:
    clock = Clock(10_000_000)
    space = [Space(0, 100 * BLOCK)]
    cache = DiskCache(tmp_path / "cache", 1000 * BLOCK, clock, 10 * BLOCK, lambda _: space[0])
    cache.put("key", b"x")
    assert cache.get("key") is None  # nothing can be evicted to make room
    clock.now = 5_000_000
    space[0] = Space(50 * BLOCK, 100 * BLOCK)
    cache.put("key", b"x")
    assert bytes(cache.get("key") or b"") == b"x"
    age(entry_of(tmp_path, "key"), 10_000_000)
    assert bytes(cache.get("key") or b"") == b"x"
    assert entry_of(tmp_path, "key").stat().st_mtime == clock.now
