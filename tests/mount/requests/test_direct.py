"""What is answered at once is what pyfuse3 would say, and no copy; the rest is left to it."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.data.mapped import open_mapped
from hffs.errors import DataError
from hffs.mount.observing.counting import Counters
from hffs.mount.requests.answers import give_data
from hffs.mount.requests.direct import Direct, Place
from hffs.mount.requests.files import Owner
from hffs.mount.requests.operations import REQUESTS
from hffs.mount.requests.wire import (
    ATTR_HEAD,
    ATTR_TAIL,
    DIRENT,
    ENTRY_HEAD,
    OPEN_IN,
    OPENED,
    READ_IN,
    Opcode,
)
from hffs.view.tree import Tree
from tests.mount.requests.kernel import Kernel, make_read, make_request, open_kernel
from tests.view.conftest import OpenTree, encode, open_tree, watcher, write_set

__all__ = ["open_tree", "watcher"]

JPEGS = [encode("JPEG", seed) for seed in range(3)]
PLUS_BYTES = ENTRY_HEAD.size + ATTR_TAIL.size + DIRENT.size
OWNER = Owner(1000, 1001, 0o027)
MAPPED, RENDERED = "mapped", "rendered"
MakeDirect = Callable[..., Direct]


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    with open_kernel() as opened:
        yield opened


@pytest.fixture
def tree(open_tree: OpenTree, tmp_path: Path) -> Tree:
    """Files that are slices of a map."""
    return open_tree(write_set(tmp_path / "a.parquet", JPEGS, caption=["one", "two", "three"]))


@pytest.fixture
def rendered(open_tree: OpenTree, tmp_path: Path) -> Tree:
    """Files that nobody has rendered."""
    return open_tree(write_set(tmp_path / "b.parquet", [encode("PNG", 1), JPEGS[0]]))


def direct_of(tree: Tree, **place: bool) -> Direct:
    return Direct(tree, OWNER, Counters(REQUESTS), Place(**place))


def answer(direct: Direct, kernel: Kernel, request: bytes) -> tuple[int, bytes]:
    """The errno and the answer to a request, which has to be answered."""
    assert direct.answer(kernel.device, memoryview(bytearray(request)))
    unique, error, body = kernel.hear()
    assert unique == 9
    return error, body


def leaves(direct: Direct, kernel: Kernel, request: bytes) -> bool:
    """Whether a request is left to pyfuse3, and nobody was told anything."""
    done = direct.answer(kernel.device, memoryview(bytearray(request)))
    return not done and kernel.is_silent()


def inode_of(tree: Tree, name: bytes) -> Inode:
    found = tree.lookup(ROOT, name)
    assert found is not None
    return found


def test_a_name_has_inode_size_and_what_all_files_have(tree: Tree, kernel: Kernel) -> None:
    error, body = answer(direct_of(tree), kernel, make_request(Opcode.LOOKUP, 9, 1, b"1.jpg\0"))
    assert error == 0
    head = ENTRY_HEAD.unpack_from(body)
    inode, size = inode_of(tree, b"1.jpg"), len(JPEGS[1])
    assert head[:2] == (inode, 0)
    assert head[2] == head[3] > 10**6  # seconds that it may be kept
    assert head[6:] == (inode, size, -(-size // 512))
    tail = ATTR_TAIL.unpack(body[ENTRY_HEAD.size :])
    assert tail[6:] == (stat.S_IFREG | 0o440, 1, 1000, 1001, 0, 4096, 0)
    assert tail[0] * 10**9 + tail[3] == tree.mtime_ns


def test_a_name_that_is_not_there_is_remembered_as_such(tree: Tree, kernel: Kernel) -> None:
    error, body = answer(direct_of(tree), kernel, make_request(Opcode.LOOKUP, 9, 1, b"3.jpg\0"))
    head = ENTRY_HEAD.unpack_from(body)
    assert (error, head[0]) == (0, 0)
    assert head[2] > 10**6


def test_attributes_of_an_inode(tree: Tree, kernel: Kernel) -> None:
    inode = inode_of(tree, b"2.txt")
    error, body = answer(direct_of(tree), kernel, make_request(Opcode.GETATTR, 9, inode, bytes(16)))
    head = ATTR_HEAD.unpack_from(body)
    assert error == 0
    assert head[3:] == (inode, len("three"), 1)


def test_a_view_whose_files_are_all_there_is_opened_by_the_kernel_itself(
    tree: Tree, kernel: Kernel
) -> None:
    request = make_request(Opcode.OPEN, 9, inode_of(tree, b"0.jpg"), OPEN_IN.pack(os.O_RDONLY))
    assert answer(direct_of(tree), kernel, request)[0] == errno.ENOSYS


def test_a_file_that_is_there_in_another_view_is_opened_by_its_inode(
    rendered: Tree, kernel: Kernel
) -> None:
    inode = inode_of(rendered, b"1.jpg")
    request = make_request(Opcode.OPEN, 9, inode, OPEN_IN.pack(os.O_RDONLY))
    error, body = answer(direct_of(rendered), kernel, request)
    assert error == 0
    assert OPENED.unpack(body) == (inode, 2, 0)


def test_what_was_rendered_before_is_opened_at_once_and_read_by_who_may_wait_for_the_disk(
    rendered: Tree, kernel: Kernel, open_tree: OpenTree, tmp_path: Path
) -> None:
    inode = inode_of(rendered, b"0.jpg")
    made = bytes(rendered.request(inode).result(100))
    again = open_tree(tmp_path / "b.parquet")  # which has nothing in memory
    opening = make_request(Opcode.OPEN, 9, inode, OPEN_IN.pack(os.O_RDONLY))
    reading = make_read(9, inode, 0, len(made))
    daemon, sibling = direct_of(again), direct_of(again, may_wait=True)
    assert answer(daemon, kernel, opening)[0] == 0
    assert leaves(daemon, kernel, reading)
    assert answer(sibling, kernel, reading) == (0, made)


@pytest.mark.parametrize(("start", "size"), [(0, 10**6), (0, 10), (100, 50), (10**6, 100)])
def test_bytes_are_those_of_the_row(tree: Tree, kernel: Kernel, start: int, size: int) -> None:
    direct = direct_of(tree)
    error, body = answer(direct, kernel, make_read(9, inode_of(tree, b"2.jpg"), start, size))
    assert (error, body) == (0, JPEGS[2][start : start + size])
    assert direct.counters.read_bytes == len(body)
    assert sum(direct.counters.meters["read"].buckets) == 1


def list_all(direct: Direct, kernel: Kernel, size: int) -> list[tuple[bytes, int, int]]:
    """Name, inode and size of every file, listed by answers of `size` bytes at most."""
    listed, at = list[tuple[bytes, int, int]](), 0
    while True:
        request = make_request(Opcode.READDIRPLUS, 9, 1, READ_IN.pack(0, at, size) + bytes(20))
        _, body = answer(direct, kernel, request)
        assert len(body) <= size
        if not body:
            return listed
        while body:
            inode, _, _, keep, _, _, again, length, _ = ENTRY_HEAD.unpack_from(body)
            same, at, name_length, kind = DIRENT.unpack_from(body, PLUS_BYTES - DIRENT.size)
            assert inode == again == same
            assert kind == stat.S_IFREG >> 12
            assert bool(keep) == bool(length)
            listed.append((body[PLUS_BYTES : PLUS_BYTES + name_length], inode, length))
            body = body[-(-(PLUS_BYTES + name_length) // 8) * 8 :]


def list_names(
    direct: Direct, kernel: Kernel, size: int, folder: int = ROOT, at: int = 0
) -> list[tuple[bytes, int, int]]:
    """Name, inode and type of everything in a folder from an entry on, without attributes."""
    listed = list[tuple[bytes, int, int]]()
    while True:
        body = READ_IN.pack(0, at, size) + bytes(20)
        _, body = answer(direct, kernel, make_request(Opcode.READDIR, 9, folder, body))
        assert len(body) <= size
        if not body:
            return listed
        while body:
            inode, at, length, kind = DIRENT.unpack_from(body)
            listed.append((body[DIRENT.size : DIRENT.size + length], inode, kind << 12))
            body = body[-(-(DIRENT.size + length) // 8) * 8 :]


PNG = encode("PNG", 9)
LISTED: dict[str, tuple[list[bytes], dict[str, object]]] = {
    "one digit to three": (JPEGS[:1] * 120, {}),
    "extensions that change": ([JPEGS[0], PNG, PNG, JPEGS[1]] * 3, {"image_format": "source"}),
    "padded": (JPEGS[:1] * 12, {"name_width": 3}),
    "by row": (JPEGS[:1] * 30, {"names": "row", "filter_func__where": "number % 3 = 1"}),
    "images alone": (JPEGS[:1] * 12, {"images_only": True}),
    "with metadata": (JPEGS[:1] * 12, {"metadata_jsonl": True}),
    "in folders": (JPEGS[:1] * 12, {"group_by": "kind"}),
}


@pytest.mark.parametrize("size", [100, 1000, 32768])
@pytest.mark.parametrize("kind", LISTED)
def test_names_alone_are_those_of_the_tree_from_any_entry_on(
    open_tree: OpenTree, tmp_path: Path, kernel: Kernel, kind: str, size: int
) -> None:
    images, keys = LISTED[kind]
    numbers = range(len(images))
    columns: dict[str, list[object]] = {"number": [*numbers]}
    columns["caption"] = [f"text {n}" for n in numbers]
    columns["kind"] = ["even" if n % 2 == 0 else "odd" for n in numbers]
    tree = open_tree(write_set(tmp_path / "l.parquet", images, **columns), **keys)
    direct = direct_of(tree)
    folders = [ROOT, *(e.inode for e in tree.entries(ROOT, 0) if tree.is_folder(e.inode))]
    assert len(folders) == (3 if kind == "in folders" else 1)
    for folder in folders:
        entries = list(tree.entries(folder, 0))
        expected = [
            (e.name, e.inode, stat.S_IFDIR if tree.is_folder(e.inode) else stat.S_IFREG)
            for e in entries
        ]
        assert list_names(direct, kernel, size, folder) == expected
        for number, entry in enumerate(entries):
            assert list_names(direct, kernel, size, folder, entry.next_id) == expected[number + 1 :]


@pytest.mark.parametrize("size", [200, 400, 4096])
def test_a_listing_has_every_file_once_whatever_an_answer_takes(
    tree: Tree, rendered: Tree, kernel: Kernel, size: int
) -> None:
    for each in (tree, rendered):
        expected = [(e.name, e.inode, e.size_bytes or 0) for e in each.entries(ROOT, 0)]
        assert list_all(direct_of(each), kernel, size) == expected


def test_names_of_what_is_no_folder_are_an_error(tree: Tree, kernel: Kernel) -> None:
    direct = direct_of(tree)
    request = make_request(Opcode.READDIR, 9, 10**6, READ_IN.pack(0, 0, 4096) + bytes(20))
    assert answer(direct, kernel, request) == (errno.ENOENT, b"")
    assert direct.counters.meters["readdir"].errnos == {errno.ENOENT: 1}


def test_no_file_is_a_terminal(tree: Tree, kernel: Kernel) -> None:
    assert answer(direct_of(tree), kernel, make_request(Opcode.IOCTL, 9, 2))[0] == errno.ENOTTY


@pytest.mark.parametrize("opcode", [Opcode.RELEASE, Opcode.RELEASEDIR])
def test_what_is_given_back_is_agreed_to(tree: Tree, kernel: Kernel, opcode: Opcode) -> None:
    assert answer(direct_of(tree), kernel, make_request(opcode, 9, 2, bytes(24))) == (0, b"")


@pytest.mark.parametrize("opcode", [Opcode.FORGET, Opcode.BATCH_FORGET])
def test_what_the_kernel_waits_for_no_answer_to_has_none(
    tree: Tree, kernel: Kernel, opcode: Opcode
) -> None:
    assert direct_of(tree).answer(
        kernel.device, memoryview(bytearray(make_request(opcode, 9, 2, bytes(16))))
    )
    assert kernel.is_silent()


def test_whatever_has_to_wait_or_fails_is_left_to_pyfuse3(
    tree: Tree, rendered: Tree, kernel: Kernel
) -> None:
    direct, other = direct_of(tree), direct_of(rendered)
    below = direct_of(rendered, is_below_overlay=True)
    png, file = inode_of(rendered, b"0.jpg"), inode_of(tree, b"0.jpg")
    opening = OPEN_IN.pack(os.O_RDONLY)
    assert leaves(other, kernel, make_read(9, png, 0, 100))
    assert leaves(other, kernel, make_request(Opcode.OPEN, 9, png, opening))
    assert leaves(other, kernel, make_request(Opcode.GETATTR, 9, png, bytes(16)))
    assert leaves(below, kernel, make_request(Opcode.LOOKUP, 9, 1, b"0.jpg\0"))
    assert leaves(direct, kernel, make_request(Opcode.OPEN, 9, file, OPEN_IN.pack(os.O_RDWR)))
    assert leaves(direct, kernel, make_request(Opcode.GETATTR, 9, 1, bytes(16)))
    assert leaves(direct, kernel, make_request(Opcode.LOOKUP, 9, 1, b"x" * 256 + b"\0"))
    assert leaves(direct, kernel, make_request(Opcode.INIT, 9, 0, bytes(64)))
    assert leaves(direct, kernel, make_request(Opcode.INTERRUPT, 9, 0, bytes(8)))
    for inode in (10**6, 0, 2**63):  # no such file
        assert leaves(direct, kernel, make_read(9, inode, 0, 100))
        assert leaves(direct, kernel, make_request(Opcode.GETATTR, 9, inode, bytes(16)))
    counted = [sum(meter.buckets) for meter in direct.counters.meters.values()]
    assert sum(counted) == 0  # pyfuse3's handlers count these


def test_a_source_that_changed_is_left_to_pyfuse3(
    tree: Tree, kernel: Kernel, tmp_path: Path
) -> None:
    os.utime(tmp_path / "a.parquet", ns=(1, 1))
    assert leaves(direct_of(tree), kernel, make_read(9, inode_of(tree, b"0.jpg"), 0, 100))


def test_an_answer_that_cannot_be_given_is_logged_and_ends_nothing(
    tree: Tree, caplog: pytest.LogCaptureFixture
) -> None:
    with open("/dev/full", "wb") as full:  # neither the answer nor EIO can be given
        request = memoryview(bytearray(make_read(9, inode_of(tree, b"0.jpg"), 0, 100)))
        assert direct_of(tree).answer(full.fileno(), request)
    assert [entry.levelname for entry in caplog.records] == ["WARNING", "WARNING"]


def test_bytes_that_cannot_be_read_are_left_to_pyfuse3(
    tree: Tree, kernel: Kernel, tmp_path: Path
) -> None:
    source = tmp_path / "a.parquet"
    status = source.stat()
    direct, inode = direct_of(tree), inode_of(tree, b"2.jpg")
    os.truncate(source, 0)
    with pytest.MonkeyPatch.context() as patched:  # as if it were cut short just after it was asked
        patched.setattr(os, "fstat", lambda _: status)
        assert leaves(direct, kernel, make_read(9, inode, 0, 10**6))
        with pytest.raises(DataError, match="shorter than it was"):
            tree.read_into(memoryview(bytearray(100)), inode, 0)


def test_pages_of_a_map_that_cannot_be_read_are_eio(kernel: Kernel, tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(bytes(100))
    with open_mapped(path) as file:
        os.truncate(path, 0)
        give_data(kernel.device, 9, file.view)
    assert kernel.hear() == (9, errno.EIO, b"")


def test_a_read_makes_no_copy_and_leaves_nothing_behind(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    large = JPEGS[0] + bytes(1 << 20)
    tree = open_tree(write_set(tmp_path / "c.parquet", [large], caption=["one"]))
    direct = direct_of(tree)
    inode = inode_of(tree, b"0.jpg")
    reading = memoryview(bytearray(make_read(9, inode, 0, 1 << 20)))
    asking = memoryview(bytearray(make_request(Opcode.LOOKUP, 9, 1, b"0.jpg\0")))
    with open(os.devnull, "wb") as device:
        direct.answer(device.fileno(), reading)
        direct.answer(device.fileno(), asking)
        tracemalloc.start()
        try:
            for _ in range(100):
                assert direct.answer(device.fileno(), reading)
                assert direct.answer(device.fileno(), asking)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        before = sys.getallocatedblocks()
        for _ in range(1000):
            direct.answer(device.fileno(), reading)
            direct.answer(device.fileno(), asking)
        grown = sys.getallocatedblocks() - before
    assert peak < 16_000  # bytes, of a file of a million
    assert grown < 100  # of 2000 requests
