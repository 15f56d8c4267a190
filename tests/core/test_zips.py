"""Zip directories, beside `zipfile` as the one who knows; hostile ones give errors or no member."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.core import zips
from hffs.core.zips import (
    BROKEN,
    DEFLATED,
    NOT_THERE,
    Directory,
    find_members,
    inflate,
    inflate_head,
    locate_members,
    read_directory,
)
from hffs.errors import FormatError

NAMES = st.text("ab./\u00e9\U0001f600", min_size=1, max_size=6).filter(lambda n: n[-1] != "/")
MEMBERS = st.lists(st.tuples(NAMES, st.binary(max_size=60), st.booleans()), max_size=8)


def _zip(
    members: list[tuple[str, bytes, bool]], comment: bytes = b"", before: bytes = b""
) -> bytes:
    file = io.BytesIO()
    file.write(before)
    with zipfile.ZipFile(file, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that come twice
        for name, data, deflated in members:
            method = zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED
            archive.writestr(zipfile.ZipInfo(name), data, method)
        archive.comment = comment
    return file.getvalue()


def _quiet(_: NDArray[np.int64]) -> None:
    """Nothing is read ahead here."""


def _read(data: bytes, name: bytes) -> bytes | None:
    """A member as this module reads it; None if it is not there or broken."""
    view = memoryview(data)
    directory = read_directory(view)
    members = find_members(view, directory, [name])
    if members[0] == NOT_THERE:
        return None
    start = int(locate_members(view, directory, members, _quiet)[0])
    if start == BROKEN:
        return None
    number = members[0]
    stored = view[start : start + int(directory.stored[number])]
    if directory.method[number] == DEFLATED:
        return inflate(stored, int(directory.length[number]), int(directory.crc[number]))
    return bytes(stored)


@given(MEMBERS, st.binary(max_size=10), st.binary(max_size=20))
def test_members_are_what_zipfile_reads(
    members: list[tuple[str, bytes, bool]], comment: bytes, before: bytes
) -> None:
    data = _zip(members, comment.replace(b"PK", b""), before.replace(b"PK", b""))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in {name for name, _, _ in members}:
            assert _read(data, name.encode()) == archive.read(name)
    assert len(read_directory(memoryview(data))) == len(members)
    assert _read(data, b"zz") is None


def test_names_of_old_archives_are_in_the_code_page_that_zipfile_takes() -> None:
    data = bytearray(_zip([("c\u00e9.jpg", b"x", False)]))
    utf8, old = "c\u00e9.jpg".encode(), b"c\x82?.jpg"
    for place in (data.find(utf8), data.rfind(utf8)):
        data[place : place + len(utf8)] = old
    for place, flags in ((0, 6), (data.find(b"PK\x01\x02"), 8)):
        data[place + flags : place + flags + 2] = b"\0\0"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.namelist() == ["c\u00e9?.jpg"]
    assert _read(bytes(data), "c\u00e9?.jpg".encode()) == b"x"


def test_archives_of_64_bits() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        with archive.open("a.jpg", "w", force_zip64=True) as member:
            member.write(b"image")
        archive.writestr("b.jpg", b"other")
    data = _widen(file.getvalue())
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.read("b.jpg") == b"other"
    assert [_read(data, name) for name in (b"a.jpg", b"b.jpg")] == [b"image", b"other"]


def _widen(data: bytes) -> bytes:
    """The archive with the last member's sizes and the end record in their ZIP64 forms."""
    end = data.rfind(b"PK\x05\x06")
    entry = data.rfind(b"PK\x01\x02")
    fields = list(struct.unpack_from("<4s6H3L5H2L", data, entry))
    name = data[entry + 46 : entry + 46 + fields[10]]
    extra = struct.pack("<HHQQQ", 1, 24, fields[9], fields[8], fields[16])
    fields[8] = fields[9] = fields[16] = 0xFFFFFFFF
    fields[11] = len(extra)
    start = struct.unpack_from("<L", data, end + 16)[0]
    head = data[:entry] + struct.pack("<4s6H3L5H2L", *fields) + name + extra
    wide = struct.pack(
        "<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 2, 2, len(head) - start, start
    )
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(head), 1)
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return head + wide + locator + last


@settings(max_examples=300)
@given(MEMBERS.filter(bool), st.data())
def test_any_damage_is_an_error_or_a_member_that_is_not_there(
    members: list[tuple[str, bytes, bool]], draw: st.DataObject
) -> None:
    data = bytearray(_zip(members))
    for _ in range(draw.draw(st.integers(1, 4))):
        place = draw.draw(st.integers(0, len(data) - 1))
        data[place] = draw.draw(st.sampled_from([0, 1, 0x7F, 0xFF]))
    cut = draw.draw(st.integers(0, len(data)))
    for bytes_ in (bytes(data), bytes(data[:cut])):
        for name, _, _ in members:
            with contextlib.suppress(FormatError):
                _read(bytes_, name.encode())


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no end record"),
        (b"PK\x05\x06" + bytes(10), "no end record"),
        (b"\xff\xd8\xff" * 100, "no end record"),
        (struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 46, 0, 0), "does not lie in it"),
        (struct.pack("<4s4H2LH", b"PK\x05\x06", 1, 0, 1, 1, 0, 0, 0), "one of several disks"),
        (bytes(50) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 50, 0, 0), "damaged"),
        (bytes(5) + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, 5, 0, 0), "cut short"),
    ],
)
def test_what_is_no_archive_says_so(data: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        read_directory(memoryview(data))


def test_an_archive_of_too_many_members_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MAX_MEMBERS", 3)
    assert len(read_directory(memoryview(_zip([("a", b"", False)] * 3)))) == 3
    with pytest.raises(FormatError, match="more than 3 members"):
        read_directory(memoryview(_zip([("a", b"", False)] * 4)))


def test_sizes_that_no_file_can_have_are_broken() -> None:
    data = bytearray(_widen(_zip([("a.jpg", b"one", False), ("b.jpg", b"two", False)])))
    extra = data.rfind(b"PK\x01\x02") + 46 + len(b"b.jpg")
    for field in range(3):
        wrong = bytearray(data)
        wrong[extra + 4 + 8 * field : extra + 12 + 8 * field] = b"\xff" * 8
        directory = read_directory(memoryview(wrong))
        assert min(d.min() for d in (directory.length, directory.stored, directory.header)) < 0
        assert field == 0 or _read(bytes(wrong), b"b.jpg") is None
        assert _read(bytes(wrong), b"a.jpg") == b"one"


def test_names_whose_hashes_are_the_same_are_told_apart() -> None:
    view = memoryview(_zip([("a", b"1", False), ("b", b"2", False), ("a", b"3", False)]))
    found = read_directory(view)
    same = np.full(3, hash(b"a"), np.int64)
    order = np.argsort(found.entry)
    arrays = (getattr(found, name)[order] for name in list(Directory.__slots__)[1:])
    directory = Directory(same, *arrays)
    assert find_members(view, directory, [b"a", b"b", b"c"]).tolist() == [2, NOT_THERE, NOT_THERE]


def test_a_name_is_found_behind_others_of_its_hash() -> None:
    view = memoryview(_zip([("a", b"1", False), ("b", b"2", False)]))
    found = read_directory(view)
    order = np.argsort(found.entry)
    arrays = (getattr(found, name)[order] for name in list(Directory.__slots__)[1:])
    directory = Directory(np.full(2, hash(b"a"), np.int64), *arrays)
    assert find_members(view, directory, [b"a"]).tolist() == [0]


@pytest.mark.parametrize(
    ("magic", "place", "wrong", "why"),
    [
        (b"PK\x06\x07", 16, b"\x02", "one of several disks"),
        (b"PK\x06\x06", 0, b"X", "ZIP64 end record is damaged"),
    ],
)
def test_end_records_of_64_bits_that_are_wrong(
    magic: bytes, place: int, wrong: bytes, why: str
) -> None:
    data = bytearray(_widen(_zip([("a.jpg", b"x", False)] * 2)))
    at = data.rfind(magic) + place
    data[at : at + 1] = wrong
    with pytest.raises(FormatError, match=why):
        read_directory(memoryview(data))


def test_sizes_of_64_bits_are_found_behind_other_fields() -> None:
    other = struct.pack("<HHQ", 0x5455, 8, 9)
    wide = struct.pack("<HHQQ", 1, 16, 5, 7)
    assert zips._widen(other + wide, 0xFFFFFFFF, 3, 0xFFFFFFFF) == [5, 3, 7]
    assert zips._widen(other, 0xFFFFFFFF, 3) == [-1, 3]


def test_a_member_that_its_local_header_names_otherwise_is_broken() -> None:
    data = bytearray(_zip([("a.jpg", b"x", False)]))
    data[data.find(b"a.jpg")] = ord("b")
    assert _read(bytes(data), b"a.jpg") is None


def _deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def test_what_inflates_to_anything_but_what_was_declared_is_an_error() -> None:
    data = b"image" * 1000
    stored, crc = memoryview(_deflate(data)), zlib.crc32(data)
    assert inflate(stored, len(data), crc) == data
    for length, why in ((len(data) - 1, "more than the 4999"), (len(data) + 1, "not inflate to")):
        with pytest.raises(FormatError, match=why):
            inflate(stored, length, crc)
    with pytest.raises(FormatError, match="checksum"):
        inflate(stored, len(data), crc ^ 1)
    with pytest.raises(FormatError, match="not inflate to"):
        inflate(stored[:-4], len(data), crc)
    with pytest.raises(FormatError, match="cannot inflate"):
        inflate(memoryview(b"\xff" * 50), len(data), crc)


def test_heads_are_inflated_as_far_as_they_can() -> None:
    stored = memoryview(_deflate(bytes(range(256)) * 40))
    assert inflate_head(stored[:400], 12) == bytes(range(12))
    assert inflate_head(memoryview(b"\xff" * 50), 12) == b""
