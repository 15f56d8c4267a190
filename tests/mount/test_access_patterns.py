"""How trainers go about a folder: many at once, in any order, from processes of every kind.

What a file must hold comes from `tests.mixed_photos`, which knows no mount.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.command import Hffs, Mount
from tests.mixed_photos import Mixed, hollow_jpeg
from tests.readers import digest, finish, make_draw, start

pytestmark = pytest.mark.fuse

THREADS = 12
LISTINGS, LISTERS = 65, 5
ROWS = 3000
TIMEOUT_S = 60
SIDECARS = (
    "0.bbox", "1.npz", "0-masklabel.png", ".aitk_size.json", "cache", "_latent_cache",
    "metadata_cache.json", "0.caption", "captions.json", "0.jpeg", "00.jpg", "-1.jpg", "x" * 255,
)  # fmt: skip
"""What trainers ask for beside the images, and what looks like a file of the view."""


@dataclass(frozen=True)
class Wide:
    """A folder of thousands of names: those of each `step`-th row, in their order."""

    folder: Path
    step: int
    names: list[str] = field(repr=False)


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many small rows of two kinds."""
    source = tmp_path_factory.mktemp("wide") / "a.parquet"
    images = [{"bytes": hollow_jpeg(10, row), "path": None} for row in range(ROWS)]
    captions, kinds = [f"{row}" for row in range(ROWS)], ["ab"[row % 2] for row in range(ROWS)]
    table = pa.table({"image": images, "caption": captions, "kind": kinds})
    pq.write_table(table, source, compression="none", use_dictionary=False)
    return source


KINDS: dict[str, tuple[tuple[str, ...], str, int]] = {
    "flat": ((), "", 1),
    "grouped": (("--group-by", "kind"), "a", 2),
}
"""Flags, the folder that is looked at, and each how many rows it has one: the kernel keeps the
listing of a view without folders, and asks for that of any other.
"""


def _names(step: int) -> list[str]:
    return [f"{row}.{end}" for row in range(0, ROWS, step) for end in ("jpg", "txt")]


@pytest.fixture(scope="module", params=KINDS)
def wide(
    request: pytest.FixtureRequest, rows: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Wide]:
    flags, inside, step = KINDS[request.param]
    base = tmp_path_factory.mktemp("wide-mount")
    hffs = Hffs.below(base)
    (base / "mnt").mkdir()
    hffs("mount", rows, base / "mnt", *flags)
    yield Wide(base / "mnt" / inside, step, _names(step))
    hffs("umount", "--force", base / "mnt")


def _try(call: Callable[[], object]) -> object:
    """What a call gives, or its errno."""
    try:
        return call()
    except OSError as error:
        return error.errno


def _drop_listing(folder: Path) -> None:
    """Let the kernel forget what it keeps of a listing."""
    opened = os.open(folder, os.O_RDONLY)
    os.posix_fadvise(opened, 0, 0, os.POSIX_FADV_DONTNEED)
    os.close(opened)


@contextmanager
def _repeating(step: Callable[[], object]) -> Iterator[None]:
    """Something that goes on happening meanwhile, and may not fail."""
    going = [True]

    def repeat() -> None:
        while going:
            step()

    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(repeat)
        try:
            yield
        finally:
            going.clear()
        work.result(TIMEOUT_S)


def test_65_listings_beside_reads_are_complete_and_equal(wide: Wide) -> None:
    draw = make_draw(0)

    def read() -> None:
        number = draw.randrange(0, ROWS, wide.step)
        assert (wide.folder / f"{number}.txt").read_text() == f"{number}"
        assert (wide.folder / f"{number}.jpg").read_bytes() == hollow_jpeg(10, number)

    with _repeating(read):
        listers = [start("list", wide.folder, LISTINGS // LISTERS) for _ in range(LISTERS)]
        assert [finish(lister) for lister in listers] == [[wide.names]] * LISTERS


def test_listings_are_complete_while_the_kernel_forgets_them(wide: Wide) -> None:
    with _repeating(lambda: _drop_listing(wide.folder)):
        listers = [start("list", wide.folder, 10) for _ in range(2)]
        assert [finish(lister) for lister in listers] == [[wide.names]] * 2


class _Entry(ctypes.Structure):
    _fields_ = (
        ("ino", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_ushort),
        ("kind", ctypes.c_ubyte),
        ("name", ctypes.c_char * 256),
    )


_libc = ctypes.CDLL(None, use_errno=True)
_libc.opendir.restype = _libc.readdir.restype = ctypes.c_void_p
_libc.telldir.restype = ctypes.c_long


class Stream:
    """A folder as C programs read it, entry by entry."""

    def __init__(self, folder: Path) -> None:
        self._stream = ctypes.c_void_p(_libc.opendir(os.fsencode(folder)))
        assert self._stream

    def read(self) -> str | None:
        """Name of the next entry but "." and ".."; None at the end."""
        while entry := _libc.readdir(self._stream):
            name: bytes = _Entry.from_address(entry).name
            if name not in (b".", b".."):
                return name.decode()
        return None

    def read_on(self) -> list[str]:
        """The names that are left."""
        return list(iter(self.read, None))

    def tell(self) -> int:
        place: int = _libc.telldir(self._stream)
        return place

    def seek(self, place: int) -> None:
        _libc.seekdir(self._stream, ctypes.c_long(place))

    def rewind(self) -> None:
        _libc.rewinddir(self._stream)

    def close(self) -> None:
        _libc.closedir(self._stream)


def test_a_listing_goes_on_from_any_place_told(wide: Wide) -> None:
    stream, places = Stream(wide.folder), []
    for name in wide.names:
        places.append(stream.tell())
        assert stream.read() == name
    end = stream.tell()
    assert len({*places, end}) == len(wide.names) + 1
    draw = make_draw(1)
    for number in draw.sample(range(len(places)), 60):
        if number % 4 == 0:
            _drop_listing(wide.folder)
        stream.seek(places[number])
        assert [stream.read(), stream.read()] == [*wide.names[number : number + 2], None][:2]
    stream.seek(end)
    assert stream.read() is None
    stream.close()
    other = Stream(wide.folder)  # a place holds for every reader, and after the first has gone
    other.seek(places[1500])
    assert other.read_on() == wide.names[1500:]
    other.close()


def test_a_listing_begins_anew_half_way(wide: Wide) -> None:
    stream = Stream(wide.folder)
    for stop in (0, 1, 700, len(wide.names), 1234):
        assert [stream.read() for _ in range(stop)] == wide.names[:stop]
        stream.rewind()
    assert stream.read_on() == wide.names
    stream.close()


def test_listings_half_read_disturb_none(wide: Wide) -> None:
    listings = [os.scandir(wide.folder) for _ in range(50)]
    found: list[list[str]] = [[] for _ in listings]
    draw = make_draw(2)
    for _ in range(200):
        which = draw.randrange(len(listings))
        for _ in range(draw.randrange(200)):
            if entry := next(listings[which], None):
                found[which].append(entry.name)
    abandoned = listings.pop()
    found.pop()
    abandoned.close()
    for names, listing in zip(found, listings, strict=True):
        names += [entry.name for entry in listing]
        assert names == wide.names


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("listed_before", [True, False])
def test_a_listing_that_is_cut_off_is_an_error_and_never_short(
    mount: Mount, hffs: Hffs, rows: Path, kind: str, listed_before: bool
) -> None:
    flags, inside, step = KINDS[kind]
    folder = mount(rows, *flags)
    if listed_before:
        assert os.listdir(folder / inside) == _names(step)
    listing = os.scandir(folder / inside)
    found = [next(listing).name for _ in range(10)]
    hffs("umount", "--force", folder)
    ended = _try(lambda: found.extend(entry.name for entry in listing))
    assert ended == errno.ENOTCONN or (ended is None and found == _names(step))


def test_12_threads_read_all_in_orders_of_their_own_from_the_first_moment_on(
    mount: Mount, mixed: Mixed
) -> None:
    folder = mount(mixed.source)  # its own: no size of a rendered image is known yet

    def read_all(seed: int) -> None:
        for epoch in range(2):
            names = list(mixed.files)
            make_draw(2 * seed + epoch).shuffle(names)
            for name in names:
                assert (folder / name).read_bytes() == mixed.files[name], name

    with _repeating(lambda: os.listdir(folder)), ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(read_all, range(THREADS)))
    sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
    assert sizes == {name: len(data) for name, data in mixed.files.items()}


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_workers_of_every_kind_read_the_same(mixed: Mixed, method: str) -> None:
    expected = {name: digest(data) for name, data in mixed.files.items()}
    found = finish(start("pool", method, mixed.folder))
    assert all(read == expected for read in found)
    assert len(found) == 4


@pytest.mark.parametrize("role", ["inherited", "passed"])
def test_a_descriptor_goes_to_other_processes(mixed: Mixed, role: str) -> None:
    for name in (mixed.passing[-5], mixed.rendered[0], mixed.take_unread(), "0.txt"):
        found = finish(start(role, mixed.folder / name))
        assert set(found) == {digest(mixed.files[name])}, name


def test_maps_reads_and_direct_reads_of_an_image_agree(mixed: Mixed) -> None:
    names = [mixed.take_unread() for _ in range(4)]
    paths = [mixed.folder / name for name in names]
    readers = [start(role, *paths) for role in ("mapped", "mapped", "direct")]
    read = [digest(path.read_bytes()) for path in paths]
    expected = [digest(mixed.files[name]) for name in names]
    assert [read, *map(finish, readers)] == [expected] * 4


def test_a_listing_cuts_no_map_of_an_image_that_is_being_rendered(mixed: Mixed) -> None:
    paths = [mixed.folder / mixed.take_unread() for _ in range(6)]

    def list_anew() -> None:
        _drop_listing(mixed.folder)
        assert os.listdir(mixed.folder) == list(mixed.files)

    with _repeating(list_anew):
        found = finish(start("mapped", *paths))
    assert found == [digest(mixed.files[path.name]) for path in paths]


def _ask(folder: Path, opened: int, name: str) -> tuple[object, ...]:
    """What each way to ask for a name says of it: its size or an errno; whether it may be opened.

    `opened` is a descriptor of the folder.
    """
    path = f"{folder}/{name}"  # as it is: a slash at the end means something
    return (
        _try(lambda: os.stat(path).st_size),
        _try(lambda: os.lstat(path).st_size),
        _try(lambda: os.stat(name, dir_fd=opened).st_size),
        os.access(path, os.R_OK),
        os.access(path, os.R_OK | os.W_OK),
    )


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDONLY)
    try:
        yield opened
    finally:
        os.close(opened)


def test_a_storm_of_questions_is_answered_exactly(mixed: Mixed) -> None:
    sizes = {name: len(mixed.files[name]) for name in (*mixed.passing, "0.txt", "30.txt")}
    asked = [(name, ((size,) * 3 + (True, False))) for name, size in sizes.items()]
    absent = (errno.ENOENT,) * 3 + (False, False)
    asked += [(name, absent) for name in (*SIDECARS, "cache/x", "new/../0.jpg")]
    asked += [(name, (errno.ENOTDIR,) * 3 + (False, False)) for name in ("0.jpg/", "0.txt/x")]
    asked *= 20
    make_draw(3).shuffle(asked)
    with _opened(mixed.folder) as folder, ThreadPoolExecutor(THREADS) as pool:
        found = pool.map(lambda each: _ask(mixed.folder, folder, each[0]), asked)
        assert [expected for _, expected in asked] == list(found)


def test_a_storm_on_an_unread_image_renders_it_for_all(mixed: Mixed) -> None:
    name = mixed.take_unread()
    with ThreadPoolExecutor(THREADS) as pool:
        sizes = list(pool.map(lambda _: (mixed.folder / name).stat().st_size, range(50)))
    assert set(sizes) == {len(mixed.files[name])}


@contextmanager
def _stopped(pid: int) -> Iterator[None]:
    """A daemon that answers nothing meanwhile."""
    os.kill(pid, signal.SIGSTOP)
    try:
        stat = Path(f"/proc/{pid}/stat")
        while stat.read_text().rpartition(")")[2].split()[0] != "T":
            os.sched_yield()
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def test_the_kernel_answers_again_what_it_was_told(mixed: Mixed) -> None:
    unread, names = mixed.take_unread(), [*mixed.passing, *SIDECARS]
    path = mixed.folder / unread

    def look() -> tuple[object, ...]:
        told = [_ask(mixed.folder, folder, name)[:3] for name in [*names, unread]]
        return told, os.pread(image, 10**7, 0), os.listdir(mixed.folder)

    with _opened(mixed.folder) as folder, _opened(path) as image:
        first = look()
        with ThreadPoolExecutor(1) as pool, _stopped(mixed.pid()):
            assert pool.submit(look).result(10) == first
    assert first[1:] == (mixed.files[unread], list(mixed.files))
