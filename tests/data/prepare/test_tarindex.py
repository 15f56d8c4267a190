from __future__ import annotations

import io
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.data.prepare.tarindex import Member, Take, read_members
from hffs.errors import FormatError

FORMATS = {"ustar": tarfile.USTAR_FORMAT, "gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT}


def pack(members: dict[str, bytes], form: int = tarfile.GNU_FORMAT) -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=form) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return data.getvalue()


def pack_headers(*infos: tarfile.TarInfo, form: Literal[1, 2] = tarfile.PAX_FORMAT) -> bytes:
    return b"".join(info.tobuf(form) for info in infos) + bytes(1024)


def members_of(data: bytes) -> list[Member]:
    return list(read_members(_take(data), len(data), "x.tar"))


def _take(data: bytes) -> Take:
    return lambda start, stop: memoryview(data)[start:stop]


def contents_of(data: bytes) -> dict[str, bytes]:
    return {m.name: data[m.offset : m.offset + m.length] for m in members_of(data)}


def refusal(data: bytes) -> str:
    with pytest.raises(FormatError) as caught:
        members_of(data)
    return str(caught.value)


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=150).filter(
    lambda name: name.strip("/") == name and name not in (".", "..")
)


@given(
    st.dictionaries(names, st.binary(max_size=1100), max_size=5),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
)
def test_members_are_those_that_were_packed(members: dict[str, bytes], form: int) -> None:
    assert contents_of(pack(members, form)) == members


@pytest.mark.parametrize("form", FORMATS.values(), ids=FORMATS)
def test_each_form_of_header_is_read(form: int) -> None:
    long = "folder/" * 16 + "name.jpg"
    members = {"a.jpg": b"one", long: b"two" * 300, "b.txt": b""}
    assert contents_of(pack(members, form)) == members


@given(st.data())
@settings(max_examples=200)
def test_bytes_that_are_wrong_anywhere_give_members_or_a_refusal(data: st.DataObject) -> None:
    form = data.draw(st.sampled_from(list(FORMATS.values())))
    tar = bytearray(pack({"a.jpg": b"x" * 600, "n" * 90 + ".txt": b"text"}, form))
    for _ in range(data.draw(st.integers(1, 4))):
        tar[data.draw(st.integers(0, len(tar) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(tar[: data.draw(st.integers(1, len(tar)))])
    last = 0
    with suppress(FormatError):
        for member in read_members(_take(cut), len(cut), "x.tar"):
            assert last <= member.offset <= member.offset + member.length <= len(cut)
            last = member.offset


def test_only_files_are_members(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "twin.jpg").hardlink_to(tmp_path / "a.jpg")
    (tmp_path / "sub.d").mkdir()
    (tmp_path / "z.txt").write_bytes(b"two")
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a.jpg", "link.jpg", "twin.jpg", "sub.d", "z.txt"):
            tar.add(tmp_path / name, name)
    data = (tmp_path / "x.tar").read_bytes()
    assert contents_of(data) == {"a.jpg": b"one", "z.txt": b"two"}


def test_a_sparse_file_is_left_out_with_its_map_and_data() -> None:
    info = tarfile.TarInfo("sparse.jpg")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[482] = 1  # its map goes on in a block of its own
    checksum = sum(header) - sum(header[148:156]) + 8 * 32
    header[148:156] = b"%06o\0 " % checksum
    data = bytes(header) + bytes(512) + b"d" * 512 + pack({"b.txt": b"two"})
    assert contents_of(data) == {"b.txt": b"two"}


def test_a_pax_sparse_file_is_left_out() -> None:
    info = tarfile.TarInfo("sparse.jpg")
    info.pax_headers = {"GNU.sparse.major": "1"}
    other = tarfile.TarInfo("b.txt")
    assert [m.name for m in members_of(pack_headers(info, other))] == ["b.txt"]


def test_a_pax_size_holds_for_the_member_behind_its_long_name() -> None:
    info = tarfile.TarInfo("n" * 120)
    info.pax_headers = {"size": "3"}
    data = info.tobuf(tarfile.PAX_FORMAT) + b"abc" + bytes(509)
    data += pack({"b.txt": b"two"})
    assert contents_of(data) == {"n" * 120: b"abc", "b.txt": b"two"}


def test_what_lies_behind_the_end_mark_is_no_member() -> None:
    assert contents_of(pack({"a.txt": b"1"}) + pack({"b.txt": b"2"})) == {"a.txt": b"1"}


def test_an_end_without_a_mark_is_an_end() -> None:
    data = pack({"a.txt": b"1" * 512})
    assert contents_of(data[:1024]) == {"a.txt": b"1" * 512}


@pytest.mark.parametrize("kept", [1, 511, 513, 600, 1023, 1025, 1500])
def test_a_tar_that_is_cut_off_is_refused(kept: int) -> None:
    data = pack({"a.txt": b"1" * 512, "b.txt": b"2"})
    assert "x.tar" in refusal(data[:kept])


def test_a_refusal_says_what_is_cut_off() -> None:
    data = pack({"a.txt": b"1" * 2000})
    assert refusal(data[:900]) == (
        "cannot read x.tar: member a.txt ends behind the end of the file; fetch it again"
    )


def test_a_broken_header_in_the_middle_is_refused() -> None:
    data = bytearray(pack({"a.txt": b"1", "b.txt": b"2"}))
    data[1024 + 20] ^= 1
    assert "there is no header at byte 1024" in refusal(bytes(data))


@pytest.mark.parametrize("data", [b"", b"no tar", b"no tar" * 500])
def test_what_is_no_tar_is_refused(data: bytes) -> None:
    assert "cannot read x.tar" in refusal(data)


def test_a_size_below_zero_is_refused() -> None:
    header = bytearray(pack_headers(tarfile.TarInfo("a.txt"), form=tarfile.GNU_FORMAT)[:512])
    header[124:136] = b"\xff" * 12  # -1 in base 256
    header[148:156] = b"%06o\0 " % (sum(header) - sum(header[148:156]) + 8 * 32)
    assert "cannot read x.tar" in refusal(bytes(header) + bytes(1024))


@pytest.mark.parametrize("size", ["-1", "1e3", "9" * 30, ""])
def test_a_pax_size_that_is_none_is_refused(size: str) -> None:
    info = tarfile.TarInfo("a.txt")
    info.pax_headers = {"size": size}
    assert "cannot read x.tar" in refusal(pack_headers(info))


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME])
def test_records_without_end_are_refused(kind: bytes) -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = kind, 1 << 21
    data = info.tobuf(tarfile.GNU_FORMAT) + b"a" * (1 << 21)
    assert "2097152 bytes of records" in refusal(data)


def test_a_name_without_end_is_refused() -> None:
    assert "name has" in refusal(pack({"n" * 5000: b""}))
