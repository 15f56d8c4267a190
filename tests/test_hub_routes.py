"""What the Hub for tests answers, asked without a socket: ranges, signatures, what is not there."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import replace
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hub_routes import Asked, Site, answer
from tests.hub_store import Repo

LARGE = bytes(1 << 16)
FILE = "/datasets/ann/set/resolve/main/x.bin"


def _asked(path: str, ranged: str | None = None) -> Asked:
    url = urlsplit(path)
    return Asked("GET", url.path, dict(parse_qsl(url.query)), None, ranged, b"", "")


def _site(content: bytes) -> Site:
    repo = Repo("ann/set")
    repo.write("x.bin", content)
    return Site("http://hub", "http://cdn", {"ann/set": repo})


@given(st.binary(max_size=40), st.integers(0, 50), st.integers(0, 50) | st.none())
def test_any_range_is_that_slice_of_the_file(content: bytes, first: int, last: int | None) -> None:
    ends = "" if last is None else last
    got = answer(_site(content), _asked(FILE, f"bytes={first}-{ends}"))
    wanted = content[first : None if last is None else last + 1]
    if wanted:
        told = f"bytes {first}-{first + len(wanted) - 1}/{len(content)}"
        assert (got.status, bytes(got.body), got.headers["Content-Range"]) == (206, wanted, told)
    else:
        assert (got.status, got.headers["Content-Range"]) == (416, f"bytes */{len(content)}")


@given(st.binary(min_size=1, max_size=40), st.integers(1, 50))
def test_a_range_may_count_from_the_end(content: bytes, count: int) -> None:
    got = answer(_site(content), _asked(FILE, f"bytes=-{count}"))
    assert (got.status, bytes(got.body)) == (206, content[-count:])


@pytest.mark.parametrize("ranged", ["bytes=-", "bytes=x-3", "bytes=0-1,3-4", "lines=0-1"])
def test_a_range_that_is_none_is_ignored(ranged: str) -> None:
    got = answer(_site(b"content"), _asked(FILE, ranged))
    assert (got.status, bytes(got.body)) == (200, b"content")


def test_ranges_can_go_wrong() -> None:
    site = _site(b"0123456789")
    site.ignore_ranges = True
    got = answer(site, _asked(FILE, "bytes=4-6"))
    assert (got.status, bytes(got.body)) == (200, b"0123456789")
    site.ignore_ranges, site.wrong_content_range = False, True
    got = answer(site, _asked(FILE, "bytes=4-6"))
    assert (got.status, bytes(got.body), got.headers["Content-Range"]) == (
        206,
        b"012",
        "bytes 0-2/10",
    )


def test_files_are_compressed_for_those_who_take_them_so() -> None:
    site = _site(b"content")
    site.compresses = True
    assert "Content-Encoding" not in answer(site, _asked(FILE)).headers
    got = answer(site, replace(_asked(FILE), encodings="deflate, gzip"))
    assert (got.headers["Content-Encoding"], gzip.decompress(got.body)) == ("gzip", b"content")


def test_a_signature_expires_or_is_used_up() -> None:
    site = _site(LARGE)
    site.redirect = True

    def sent_to() -> Asked:
        return _asked(answer(site, _asked(FILE)).headers["Location"])

    first, second = sent_to(), sent_to()
    assert [answer(site, each).status for each in (first, first, second)] == [200, 200, 200]
    site.expire_signatures()
    assert [answer(site, each).status for each in (first, second)] == [403, 403]
    site.signature_uses = 1
    third = sent_to()
    assert [answer(site, each).status for each in (third, third)] == [200, 403]
    assert third.query != first.query


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/datasets/ann/set/resolve/main/y.bin", 404, "EntryNotFound"),
        ("/datasets/ann/set/resolve/main/..%2Fx.bin", 404, "EntryNotFound"),
        ("/datasets/ann/set/resolve/refs%2Fpr%2F1/x.bin", 404, "RevisionNotFound"),
        ("/datasets/ann/set/resolve/refs/pr/1/x.bin", 404, "RevisionNotFound"),
        ("/api/datasets/ann/set/tree/main/none", 404, "EntryNotFound"),
        ("/api/datasets/ann/set/tree/none", 404, "RevisionNotFound"),
        ("/api/datasets/ann/none", 401, "RepoNotFound"),
        ("/api/datasets/none", 401, "RepoNotFound"),
        ("/api/datasets/ann/set/parquet", 404, ""),
        ("/api/whoami-v2", 401, ""),
        ("/", 404, ""),
    ],
)
def test_what_is_not_there_is_named(path: str, status: int, code: str) -> None:
    got = answer(_site(b"content"), _asked(path))
    assert (got.status, got.headers.get("X-Error-Code", "")) == (status, code)


@pytest.mark.parametrize("revision", ["refs%2Fpr%2F1", "refs/pr/1"])
def test_a_reference_may_come_quoted_or_not(revision: str) -> None:
    site = _site(b"content")
    site.repos["ann/set"].branch("refs/pr/1")
    got = answer(site, _asked(f"/datasets/ann/set/resolve/{revision}/x.bin"))
    assert (got.status, bytes(got.body)) == (200, b"content")


def test_what_counts_as_large_is_a_switch() -> None:
    site = _site(b"content")
    small = answer(site, _asked(FILE)).headers
    site.lfs_threshold = 7
    large = answer(site, _asked(FILE)).headers
    assert "X-Linked-ETag" not in small
    assert (large["X-Linked-Size"], large["X-Linked-ETag"]) == ("7", large["ETag"])
    assert large["ETag"] == f'"{hashlib.sha256(b"content").hexdigest()}"' != small["ETag"]
