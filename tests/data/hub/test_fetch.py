"""Downloading: what is sent, what is not sent again, and what is never taken for the file."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.data.hub.conftest import Asker, file_of, parquet
from tests.hub import Cut, Fail, HubServer, Truncate
from tests.hub_store import Repo

MB = 1 << 20
QUICK = {"stalled_s": 20, "first_wait_s": 0.01, "longest_wait_s": 0.05}


def _bytes(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)  # noqa: S311 - no secret


def _listed(repo: Repo, *names: str, large_from: int = 1 << 16) -> list[dict[str, Any]]:
    """Files of a repository as a resolution has them."""
    files = repo.files(repo.commit)
    return [
        {"name": name, "size_bytes": blob.size, "etag": etag}
        for name, blob in ((name, files[name]) for name in names or sorted(files))
        for etag in [blob.sha256 if blob.size >= large_from else blob.oid]
    ]


def _given(repo: Repo, *names: str) -> dict[str, Any]:
    return {"commit": repo.commit, "files": _listed(repo, *names), "patience": QUICK}


def _partials(home: Path) -> list[Path]:
    return sorted(home.rglob("*.incomplete"))


def test_files_appear_in_the_shared_cache_and_are_asked_for_once(
    site: HubServer, asker: Asker
) -> None:
    repo = site.add("get/all")
    contents = {"a/0.bin": _bytes(3 * MB), "a/1.txt": b"one", "é b.txt": b"", "same": b"one"}
    repo.write_all(contents)
    got = asker("fetch", "get/all", **_given(repo))
    folder = Path(got["folder"])
    assert folder == asker.home / f"hub/datasets--get--all/snapshots/{repo.commit}"
    assert {name: (folder / name).read_bytes() for name in contents} == contents
    assert (folder / "a/0.bin").is_symlink()
    total = sum(map(len, contents.values()))
    assert got["progress"][-1] == [total, total]
    assert got["progress"] == sorted(got["progress"])
    assert {each.method for each in site.requests} == {"GET"}
    site.clear()
    assert asker("fetch", "get/all", **_given(repo))["folder"] == str(folder)
    assert site.requests == []
    assert asker("cached_commit", "get/all") == repo.commit
    assert not _partials(asker.home)


def test_other_programs_find_it_and_theirs_is_found(site: HubServer, tmp_path: Path) -> None:
    repo = site.add("get/shared")
    repo.write_all({"ours.bin": _bytes(MB, 1), "theirs.bin": _bytes(MB, 2)})
    code = (
        "from huggingface_hub import hf_hub_download as get\n"
        "print(get('get/shared', {!r}, repo_type='dataset', local_files_only={}))"
    )

    def other(name: str, is_offline: bool) -> Path:
        command = [sys.executable, "-c", code.format(name, is_offline)]
        environ = os.environ | site.env(tmp_path / "hf")
        done = subprocess.run(command, env=environ, check=True, capture_output=True, text=True)
        return Path(done.stdout.strip())

    theirs = other("theirs.bin", False)
    site.clear()
    with Asker.start(tmp_path, site.env(tmp_path / "hf")) as own:
        got = own("fetch", "get/shared", **_given(repo))
    assert site.sent_bytes("theirs.bin") == 0
    assert got["progress"][-1] == [2 * MB, 2 * MB]
    assert theirs == Path(got["folder"], "theirs.bin")
    assert other("ours.bin", True) == Path(got["folder"], "ours.bin")


def test_a_cut_connection_goes_on_where_it_was_cut(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/cut")
    repo.write("x.bin", _bytes(4 * MB))
    site.faults = [Cut("x.bin", 3 * MB), Cut("x.bin", MB // 2), Fail("x.bin", 503)]
    got = asker("fetch", "get/cut", **_given(repo))
    assert Path(got["folder"], "x.bin").read_bytes() == _bytes(4 * MB)
    assert not site.faults
    assert site.sent_bytes("x.bin") - len(b"failing as asked for") == 4 * MB
    assert [each.range for each in site.requests if each.status == 206] == [
        f"bytes={3 * MB}-",
        f"bytes={3 * MB + MB // 2}-",
    ]


def test_what_fails_again_and_again_goes_on_as_long_as_bytes_arrive(
    site: HubServer, asker: Asker
) -> None:
    """It would not, if patience counted from the first request."""
    repo = site.add("get/poor")
    repo.write("x.bin", _bytes(6 * MB))
    site.faults = [Cut("x.bin", MB, 5)]
    site.bytes_per_s = 3 * MB / 2
    given = _given(repo) | {"patience": {"stalled_s": 3, "first_wait_s": 0.01}}
    try:
        got = asker("fetch", "get/poor", **given)
    finally:
        site.bytes_per_s, site.faults = None, []
    assert Path(got["folder"], "x.bin").read_bytes() == _bytes(6 * MB)


def test_a_killed_process_goes_on_where_it_was_killed(site: HubServer, tmp_path: Path) -> None:
    repo = site.add("get/killed")
    repo.write("x.bin", _bytes(8 * MB))
    own = Asker.start(tmp_path, site.env(tmp_path / "hf"))
    site.bytes_per_s = 8 * MB
    try:
        site.clear()
        own.begin("fetch", "get/killed", **_given(repo))
        site.wait_until_sent(3 * MB, "x.bin")
        own.kill()
    finally:
        site.bytes_per_s = None
    [partial] = _partials(tmp_path)
    kept = partial.stat().st_size
    assert kept > 2 * MB
    site.clear()
    with Asker.start(tmp_path, site.env(tmp_path / "hf")) as own:
        got = own("fetch", "get/killed", **_given(repo))
    assert site.sent_bytes("x.bin") == 8 * MB - kept
    assert got["progress"][0][0] >= kept
    assert Path(got["folder"], "x.bin").read_bytes() == _bytes(8 * MB)
    assert not _partials(tmp_path)


def test_a_partial_file_that_is_wrong_begins_anew(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/spoilt")
    repo.write_all({f"{n}.bin": _bytes(MB, n) for n in range(3)})
    blobs = asker.home / "hub/datasets--get--spoilt/blobs"
    blobs.mkdir(parents=True)
    for file, size in zip(_listed(repo), (MB // 2, MB, 2 * MB), strict=True):
        (blobs / f"{file['etag']}.hffs.incomplete").write_bytes(bytes(size))
    got = asker("fetch", "get/spoilt", **_given(repo))
    for number in range(3):
        assert Path(got["folder"], f"{number}.bin").read_bytes() == _bytes(MB, number)
    assert got["progress"][-1] == [3 * MB, 3 * MB]


def test_a_blob_of_another_size_is_not_taken_for_the_file(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/half")
    repo.write("x.bin", _bytes(MB))
    [file] = _listed(repo)
    blob = asker.home / "hub/datasets--get--half/blobs" / file["etag"]
    blob.parent.mkdir(parents=True)
    blob.write_bytes(_bytes(MB)[: MB // 2])
    got = asker("fetch", "get/half", **_given(repo))
    assert Path(got["folder"], "x.bin").read_bytes() == _bytes(MB)


@pytest.mark.parametrize("etag", [None, "no-hash"])
@pytest.mark.parametrize("switch", ["ignore_ranges", "wrong_content_range", "compresses"])
def test_a_server_of_its_own_mind_cannot_spoil_a_file(
    site: HubServer, asker: Asker, switch: str, etag: str | None
) -> None:
    """Of an ETag that is no hash nothing else would show it."""
    name = f"get/{switch}-{etag}"
    repo = site.add(name)
    repo.write("x.bin", _bytes(2 * MB))
    given = _given(repo)
    given["files"][0]["etag"] = etag or given["files"][0]["etag"]
    site.faults = [Cut("x.bin", MB)]
    setattr(site, switch, True)
    try:
        got = asker("fetch", name, **given)
    finally:
        setattr(site, switch, False)
    assert Path(got["folder"], "x.bin").read_bytes() == _bytes(2 * MB)


def test_a_file_that_is_short_or_another_one_is_refused(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/wrong")
    repo.write_all({"x.bin": _bytes(MB), "y.txt": b"text", "z.txt": b"longer"})
    site.faults = [Truncate("x.bin", MB // 2)]
    kind, line = asker.refusal("fetch", "get/wrong", **_given(repo, "x.bin"))
    assert (kind, f"{MB // 2} bytes are sent" in line) == ("DataError", True)
    assert len(site.requests) == 1, "it would be the same again"
    site.faults = []
    for change, word in [
        ({"size_bytes": 3}, "were announced"),
        ({"etag": "0" * 40}, "does not match its hash"),
        ({"name": "z.txt"}, "were announced"),
    ]:
        given = _given(repo, "y.txt")
        given["files"][0] |= change
        kind, line = asker.refusal("fetch", "get/wrong", **given)
        assert (kind, word in line) == ("DataError", True), line
        assert given["files"][0]["name"] in line
    assert not _partials(asker.home)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../../../escaped"},
        {"name": "/tmp/escaped"},  # noqa: S108 - it must not be written
        {"name": "a/../../escaped"},
        {"name": "a\0b"},
        {"name": "a\\b"},
        {"name": ""},
        {"etag": "../escaped"},
        {"etag": "a/b"},
        {"etag": ".hidden"},
        {"etag": ""},
        {"size_bytes": -1},
    ],
)
def test_names_and_etags_cannot_leave_the_cache(
    site: HubServer, asker: Asker, change: dict[str, Any]
) -> None:
    file = {"name": "x", "size_bytes": 1, "etag": "0" * 40} | change
    kind, line = asker.refusal("fetch", "get/escape", commit="0" * 40, files=[file])
    assert (kind, "not safe" in line) == ("DataError", True)
    assert site.requests == []
    assert not list(asker.home.rglob("escaped"))


def test_a_redirect_gets_no_token_and_is_renewed_when_it_expires(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    repo = site.add("get/redirect")
    repo.write("x.bin", _bytes(2 * MB))
    repo.private, repo.token = True, "hf_mine"
    token = tmp_path / "token"
    token.write_text("hf_mine")
    site.redirect, site.signature_uses = True, 1
    site.faults = [Cut("/cdn/", MB), Fail("/cdn/", 403)]
    try:
        got = asker("fetch", "get/redirect", token_file=str(token), **_given(repo))
    finally:
        site.redirect, site.signature_uses = False, None
    assert Path(got["folder"], "x.bin").read_bytes() == _bytes(2 * MB)
    assert {each.token for each in site.requests if "/cdn/" in each.path} == {None}
    assert {each.token for each in site.requests if "/cdn/" not in each.path} == {"hf_mine"}


def test_the_hub_says_how_long_to_wait(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/limited")
    repo.write("x.txt", b"x")
    limit = {"RateLimit": '"api";r=0;t=0'}
    site.faults = [Fail("x.txt", 429, 2, {"Retry-After": "0"}), Fail("x.txt", 429, 1, limit)]
    assert asker("fetch", "get/limited", **_given(repo))
    assert not site.faults
    repo.write("y.txt", b"y")
    site.faults = [Fail("y.txt", 429, None, {"Retry-After": "1000"})]
    kind, line = asker.refusal("fetch", "get/limited", **_given(repo))
    site.faults = []
    assert (kind, "429" in line) == ("SourceError", True)
    assert len([each for each in site.requests if "y.txt" in each.path]) == 1


def test_a_server_that_stays_broken_is_given_up(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/broken")
    repo.write("x.bin", _bytes(MB))
    site.faults = [Fail("x.bin", 500, None)]
    given = _given(repo) | {"patience": {"stalled_s": 0.5, "first_wait_s": 0.01}}
    kind, line = asker.refusal("fetch", "get/broken", **given)
    assert (kind, "answers 500" in line) == ("SourceError", True)
    assert len(site.requests) > 2
    site.faults = [Cut("x.bin", 0, None)]
    kind, line = asker.refusal("fetch", "get/broken", **given)
    site.faults = []
    assert (kind, "what has arrived is kept" in line) == ("SourceError", True)


def test_what_one_file_has_is_kept_when_another_fails(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/sibling")
    repo.write_all({"a.bin": _bytes(8 * MB), "b.txt": b"b"})
    site.faults = [Fail("b.txt", 503, None)]
    site.bytes_per_s = 4 * MB
    try:
        asker.begin("fetch", "get/sibling", **_given(repo))
        site.wait_until_sent(2 * MB, "a.bin")
        site.faults = [Fail("b.txt", 403)]
        kind, line = asker.end_refused()
    finally:
        site.bytes_per_s, site.faults = None, []
    assert (kind, "403" in line) == ("AccessError", True)
    partials = _partials(asker.home / "hub/datasets--get--sibling")
    kept = max(partial.stat().st_size for partial in partials)
    assert kept > MB
    site.clear()
    got = asker("fetch", "get/sibling", **_given(repo))
    assert site.sent_bytes("a.bin") == 8 * MB - kept
    assert Path(got["folder"], "a.bin").read_bytes() == _bytes(8 * MB)


def test_several_files_are_on_their_way_at_once(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/many")
    repo.write_all({f"{n}.txt": _bytes(10, n) for n in range(24)})
    site.latency_s = 0.2
    try:
        asker.begin("fetch", "get/many", **_given(repo))
        site.wait_until_asked(8)
    finally:
        site.latency_s = 0
    asker.end()
    assert len(site.requests) == 24


def test_a_token_file_is_read_again_when_it_changes(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    repo = site.add("get/token")
    repo.write_all({"a.bin": _bytes(MB, 1), "b.bin": _bytes(2 * MB, 2)})
    repo.private, repo.token = True, "hf_first"
    token = tmp_path / "token"
    token.write_text("hf_first\n")
    site.bytes_per_s = 4 * MB
    site.faults = [Cut("b.bin", MB)]
    try:
        asker.begin("fetch", "get/token", token_file=str(token), **_given(repo))
        site.wait_until_sent(MB // 2, "b.bin")
        token.write_text("hf_second")
        repo.token = "hf_second"  # noqa: S105 - a token of a Hub for tests
        site.bytes_per_s = None
        assert asker.end()
    finally:
        site.bytes_per_s = None
    assert {each.token for each in site.requests} == {"hf_first", "hf_second"}


def test_a_token_that_is_replaced_while_it_is_refused_is_given(
    site: HubServer, asker: Asker, tmp_path: Path
) -> None:
    repo = site.add("get/rotated")
    repo.write("x.bin", _bytes(MB))
    repo.private, repo.token = True, "hf_new"
    token = tmp_path / "token"
    token.write_text("hf_old")
    site.latency_s = 3
    try:
        asker.begin("fetch", "get/rotated", token_file=str(token), **_given(repo))
        site.wait_until_asked(1)
        token.write_text("hf_new")
    finally:
        site.latency_s = 0
    got = asker.end()
    assert Path(got["folder"], "x.bin").read_bytes() == _bytes(MB)
    assert [each.token for each in site.requests] == ["hf_old", "hf_new"]


def test_resolved_files_are_those_that_are_fetched(site: HubServer, asker: Asker) -> None:
    repo = site.add("get/split")
    repo.write_all({"train.parquet": parquet(), "test.parquet": parquet(9)})
    found = asker("resolve", "get/split")
    site.clear()
    got = asker("fetch", "get/split", commit=found["commit"], files=file_of(found))
    assert [each.path.rsplit("/", 1)[1] for each in site.requests] == ["train.parquet"]
    assert Path(got["folder"], "train.parquet").read_bytes() == parquet()


def test_regression_a_cache_that_is_only_read_serves_a_revision_it_does_not_know(
    site: HubServer, tmp_path: Path, small_disk: Path
) -> None:
    repo = site.add("get/shared-cache")
    repo.write("x.txt", b"x")
    own = Asker.start(tmp_path, site.env(small_disk / "hf"))
    own("fetch", "get/shared-cache", **_given(repo))
    repo.tag("v1")
    libc = ctypes.CDLL(None, use_errno=True)
    read_only = 0x20 | 0x1  # MS_REMOUNT, MS_RDONLY of linux/mount.h
    assert libc.mount(b"tmpfs", str(small_disk).encode(), b"tmpfs", read_only, b"") == 0
    got = own("fetch", "get/shared-cache", revision="v1", **_given(repo))
    assert Path(got["folder"], "x.txt").read_bytes() == b"x"
    own.close()
    assert "cannot note which commit v1 of get/shared-cache is" in own.stderr.read_text()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small"
    folder.mkdir()
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, b"size=4m"):
        pytest.skip("nothing can be mounted here")
    yield folder
    libc.umount2(str(folder).encode(), 2)


def test_a_disk_that_is_too_small_is_told_before_and_in_the_middle(
    site: HubServer, tmp_path: Path, small_disk: Path
) -> None:
    repo = site.add("get/disk")
    repo.write("x.bin", _bytes(6 * MB))
    with Asker.start(tmp_path, site.env(small_disk / "hf")) as own:
        site.clear()
        kind, line = own.refusal("fetch", "get/disk", **_given(repo))
        assert kind == "DataError"
        for word in ("6.3 MB needed", "4.2 MB free", str(small_disk), "HF_HOME"):
            assert word in line
        assert site.requests == []
        repo.write_all({"y.bin": _bytes(3 * MB), "same.bin": _bytes(3 * MB)})
        given = _given(repo, "y.bin", "same.bin")  # contents are kept once, and need room once
        site.bytes_per_s = 8 * MB
        own.begin("fetch", "get/disk", **given)
        site.wait_until_sent(MB, "(y|same).bin")
        (small_disk / "filler").write_bytes(bytes(3 * MB // 2))
        site.bytes_per_s = None
        kind, line = own.end_refused()
        assert (kind, "no space left" in line, "HF_HOME" in line) == ("DataError", True, True)
        kept = sum(path.stat().st_size for path in _partials(small_disk))
        assert kept > MB
        (small_disk / "filler").unlink()
        site.clear()
        own("fetch", "get/disk", **given)
        assert site.sent_bytes("(y|same).bin") == 3 * MB - kept
