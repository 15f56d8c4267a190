"""Sources in object stores and at web addresses: what they come to, and what is said of others."""

from __future__ import annotations

import io
import socket
import ssl
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trustme

from hffs.core.formats import Media
from hffs.data.hub.resolution import DataFiles, Request
from hffs.data.locating.acquiring import acquire
from hffs.data.locating.elsewhere import locate
from hffs.data.locating.record import Wanted
from hffs.data.remote import filesystems
from hffs.data.remote.files import STORE_SCHEMES, is_elsewhere
from hffs.data.shards import Shard, identify
from hffs.errors import AccessError, DataError, HffsError, SourceError
from tests.data.buckets import serving_buckets, use_endpoint, write_keys
from tests.data.media import Silent, expect, make_clips, read_cells
from tests.data.urls.server import Exchange, serving

KEYS = {
    "pushed/data/train-00001-of-00002.parquet": b"one",
    "pushed/data/train-00000-of-00002.parquet": b"zero",
    "pushed/data/test-00000-of-00001.parquet": b"test",
    "pushed/stats.parquet": b"of no split",
    "plain/part-10.parquet": b"ten",
    "plain/part-2.parquet": b"two",
    "plain/.hidden.parquet": b"x",
    "plain/__old/x.parquet": b"x",
    "plain/deep/er/a b[1].parquet": b"odd",
    "plain/list.csv": b"a,b",
    "photos/1.jpg": b"jpeg",
    "photos/2.jpg": b"jpeg",
    "meta/metadata.parquet": b"of images",
    "empty/a.parquet": b"",
    "told/README.md": b"---\nconfigs:\n- config_name: default\n  data_files:\n"
    b"  - split: odd\n    path: b-*.parquet\n---\n# Art\n",
    "told/b-1.parquet": b"b1",
    "told/b-0.parquet": b"b0",
    "told/c.parquet": b"c",
    "unclear/README.md": b"---\nconfigs:\n- config_name: a\n- config_name: b\n---\n",
    "unclear/a.parquet": b"a",
    "broken/README.md": b"---\nconfigs: [\n---\n",
    "broken/a.parquet": b"a",
}


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving_buckets() as buckets, pytest.MonkeyPatch.context() as monkeypatch:
        use_endpoint(monkeypatch, buckets.endpoint)
        write_keys("art", KEYS)
        yield buckets.endpoint


@pytest.fixture(autouse=True)
def _s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    use_endpoint(monkeypatch, endpoint)


def _names(name: str, split: str = "train", data_files: DataFiles | None = None) -> list[str]:
    return [shard.name for shard in locate(name, split, data_files).shards]


def test_a_folder_is_read_by_the_rules_of_local_folders() -> None:
    found = ["deep/er/a b[1].parquet", "part-10.parquet", "part-2.parquet"]
    assert _names("s3://art/plain/") == found
    assert _names("s3://art/plain") == found
    pushed = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
    assert _names("s3://art/pushed") == pushed
    assert _names("s3://art/pushed", "test[:50%]+train") == [
        "data/test-00000-of-00001.parquet", *pushed,
    ]  # fmt: skip
    with pytest.raises(SourceError, match=r"split val of s3://art/pushed: there are: test, train$"):
        locate("s3://art/pushed", "val")


def test_a_shard_is_pinned_where_it_lies() -> None:
    located = locate("s3://art/pushed", "test")
    name, etag = "data/test-00000-of-00001.parquet", '"098f6bcd4621d373cade4e832627b4f6"'
    url = f"s3://art/pushed/{name}"
    assert located.shards == (Shard(Path(name), name, 4, 0, "parquet", url=url, etag=etag),)
    assert [(pin.name, pin.size_bytes, pin.tag) for pin in located.pins[1:]] == [(name, 4, etag)]
    assert located.terms == (((located.terms[0][0]), 1),)
    assert identify(located) == identify(locate("s3://art/pushed/", "test"))


def test_the_identity_changes_with_the_content_and_with_the_place() -> None:
    same = {"a.parquet": b"same"}
    write_keys("ids", {f"{folder}/{name}": data for folder in "xy" for name, data in same.items()})
    before = identify(locate("s3://ids/x/"))
    assert identify(locate("s3://ids/x/*.parquet")) == before
    assert identify(locate("s3://ids/y/")) != before
    write_keys("ids", {"x/a.parquet": b"else"})
    assert identify(locate("s3://ids/x/")) != before


def test_files_and_patterns_are_what_they_name() -> None:
    assert _names("s3://art/plain/part-2.parquet") == ["part-2.parquet"]
    assert _names("s3://art/plain/part-*.parquet") == ["part-10.parquet", "part-2.parquet"]
    assert _names("s3://art/plain/*") == ["part-10.parquet", "part-2.parquet"]
    assert _names("s3://art/plain/**/a b[[]1].parquet") == ["deep/er/a b[1].parquet"]
    pushed = "s3://art/pushed/data/*.parquet"
    assert _names(pushed, "test") == ["test-00000-of-00001.parquet"]
    assert len(_names(pushed)) == 2
    assert _names("s3://art/pushed/data/test-00000-of-00001.parquet") == [
        "test-00000-of-00001.parquet"
    ]


def test_data_files_are_patterns_below_a_folder() -> None:
    assert _names("s3://art/plain", data_files=("part-2*", "part-1*.parquet")) == [
        "part-2.parquet",
        "part-10.parquet",
    ]
    files = {"val": ("plain/part-2.parquet",), "train": ("pushed/**",)}
    assert _names("s3://art", "val", files) == ["plain/part-2.parquet"]
    with pytest.raises(SourceError, match=r"split test of s3://art: there are: train, val$"):
        locate("s3://art", "test", files)
    for bad in ("../plain/*", "s3://other/a.parquet", "simplecache::a.parquet"):
        with pytest.raises(SourceError, match=r"data_files has .*; give paths below it$"):
            locate("s3://art/plain", data_files=(bad,))


def test_a_readme_says_which_files_are_of_which_split() -> None:
    assert _names("s3://art/told", "odd") == ["b-0.parquet", "b-1.parquet"]
    for folder in ("unclear", "broken"):
        with pytest.raises(DataError, match=r"README.md or its names .*; give data_files, or a pa"):
            locate(f"s3://art/{folder}")
    assert _names("s3://art/unclear", data_files=("a.parquet",)) == ["a.parquet"]


@pytest.mark.parametrize(
    ("name", "kind", "line"),
    [
        ("s3://nobody/a.parquet", SourceError, "no such bucket (NoSuchBucket); check the address"),
        ("s3://nobody/", SourceError, "no such bucket (NoSuchBucket); check the address"),
        ("s3://art/none.parquet", SourceError, "no such bucket or key; check the address"),
        ("s3://art/none/", SourceError, "nothing is there; check the address"),
        ("s3://art/none*", SourceError, "no file matches; check the address, or data_files"),
        ("s3://a b/c.parquet", SourceError, "the store does not understand it; check the address"),
        ("s3://*/a.parquet", SourceError, "a bucket is named, not matched; check the address"),
        ("s3:///a.parquet", SourceError, "it names no bucket"),
        ("s3://art/photos", DataError, "no Parquet file here (found 2 .jpg files); other form"),
        ("s3://art/photos/1.jpg", DataError, "no Parquet file here (found 1 .jpg file); other"),
        ("s3://art/photos/*", DataError, "no Parquet file here (found 2 .jpg files); other"),
        ("s3://art/meta", DataError, "no Parquet file here (found 1 .parquet file); other"),
        ("s3://art/empty", DataError, "the file is empty"),
        ("simplecache::s3://art/plain", SourceError, "chained URLs are not taken; give the"),
        ("s3://art/a::b.parquet", SourceError, "chained URLs are not taken; give the"),
        ("s3://me:secret@art/plain", SourceError, "a user name or password in a URL is not ta"),
        ("abfs://me:secret@art.dfs.test/a", SourceError, "a user name or password in a URL is n"),
        ("https://me:secret@host/a.parquet", SourceError, "a user name or password in a URL"),
        ("https:///a.parquet", SourceError, "the web lists no folders, and this is no .parquet"),
        ("https://host/folder/", SourceError, "the web lists no folders, and this is no .parquet"),
    ],
)
def test_what_cannot_be_opened_is_one_line(name: str, kind: type[HffsError], line: str) -> None:
    with pytest.raises(HffsError) as caught:
        locate(name)
    assert type(caught.value) is kind
    assert line in str(caught.value)
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("scheme", "package", "extra"),
    [("gs", "gcsfs", "gcs"), ("gcs", "gcsfs", "gcs"), ("abfss", "adlfs", "azure")],
)
def test_a_package_that_is_missing_is_named(
    scheme: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(SourceError) as caught:
        locate(f"{scheme}://art/plain")
    why = f"the package {package} is missing; pip install 'hffs-mount[{extra}]'"
    assert str(caught.value) == f"cannot open {scheme}://art/plain: {why}"


def test_credentials_that_are_missing_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(AccessError, match=r"no credentials were found; set AWS_PROFILE, or AWS_A"):
        locate("s3://art/plain")
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    with pytest.raises(AccessError, match=r"there is no profile of this name; check AWS_PROFILE$"):
        locate("s3://art/plain")


def test_a_store_that_cannot_be_reached_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(SourceError, match=r"the connection is refused; check the network and the"):
        locate("s3://art/plain")


def test_a_store_that_is_mute_is_left_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    patience = filesystems.SCHEMES["s3"].options["config_kwargs"]
    monkeypatch.setitem(patience, "read_timeout", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        with pytest.raises(SourceError, match=r"it does not answer in time; check the network"):
            locate("s3://art/plain")


def test_which_names_are_elsewhere() -> None:
    there = ["s3://a/b", "gs://a", "az://a", "abfs://a@b/c", "https://host/a.parquet", "a::s3://b"]
    assert all(map(is_elsewhere, there))
    here = ["owner/name", "hf://datasets/owner/name", "/data/s3", "file:///a", "s3:", "ftp://a/b"]
    assert not any(map(is_elsewhere, here))
    assert set(filesystems.SCHEMES) == set(STORE_SCHEMES)


def _answer(exchange: Exchange, headers: str = 'ETag: "v1"\r\n') -> None:
    ranged = "Content-Range: bytes 0-0/1000\r\n" + headers
    exchange.answer(b"P", "206 Partial Content", ranged)


def test_a_file_on_the_web_is_asked_for_one_byte() -> None:
    with serving({"/art/a.parquet": _answer}) as server:
        url = server.url("/art/a.parquet", "127.0.0.1")
        located = locate(f"{url}?sign=secret")
        (shard,) = located.shards
        assert (shard.name, shard.size_bytes, shard.etag) == ("a.parquet", 1000, '"v1"')
        assert shard.url == url
        assert "secret" not in located.name
        assert identify(located) == identify(locate(url))
        (head, *_) = [exchange.head.lower() for exchange in server.asked]
    assert "range: bytes=0-0\r\n" in head
    assert head.startswith("get ")


def test_files_on_the_web_are_named_one_by_one() -> None:
    with serving({"/b.parquet": _answer, "/a.parquet": _answer}) as server:
        root = server.url("/", "127.0.0.1")
        assert _names(root, data_files=("b.parquet", "a.parquet")) == ["b.parquet", "a.parquet"]
        with pytest.raises(SourceError, match=r"the web lists no folders to find \*\.parquet in"):
            locate(root, data_files=("*.parquet",))


def test_a_file_is_pinned_by_its_time_where_there_is_no_etag() -> None:
    times = ["Last-Modified: Sat, 28 Nov 2026 10:00:00 GMT\r\n", 'ETag: W/"weak"\r\n']
    with serving({"/a.parquet": lambda exchange: _answer(exchange, times.pop(0))}) as server:
        url = server.url("/a.parquet", "127.0.0.1")
        assert locate(url).shards[0].etag == "Sat, 28 Nov 2026 10:00:00 GMT"
        assert locate(url).shards[0].etag == 'W/"weak"'


@pytest.mark.parametrize(
    ("status", "headers", "kind", "line"),
    [
        ("200 OK", 'ETag: "a"\r\n', DataError, "the server gives no ranges of it; download it, an"),
        ("206 Partial Content", "Content-Range: bytes 0-0/9\r\n", DataError, "without ETag and La"),
        ("206 Partial Content", 'ETag: "a"\r\n', DataError, "does not tell how long it is; downl"),
        ("416 Range Not Satisfiable", "", DataError, "the file is empty"),
        ("403 Forbidden", "", AccessError, "the server refuses to give it (403); check that it is"),
        ("404 Not Found", "", SourceError, "no such file (404); check the address"),
        ("503 Service Unavailable", "", SourceError, "the server answers 503; try again later"),
        ("302 Found", "Location: /a.parquet\r\n", SourceError, "it redirects too often; check"),
        ("302 Found", "Location: ftp://host/a\r\n", SourceError, "the connection broke"),
    ],
)
def test_what_a_server_answers_is_one_line(
    status: str, headers: str, kind: type[HffsError], line: str
) -> None:
    def answer(exchange: Exchange) -> None:
        exchange.answer(b"secret", status, headers)

    with serving({"/a.parquet": answer}) as server, pytest.raises(HffsError) as caught:
        locate(server.url("/a.parquet", "127.0.0.1"))
    assert type(caught.value) is kind
    assert line in str(caught.value)
    assert "secret" not in str(caught.value)


def test_https_is_verified_and_never_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def leave(exchange: Exchange) -> None:
        exchange.redirect("http://127.0.0.1:9/a.parquet")

    with serving({"/a.parquet": _answer, "/b.parquet": leave}, context) as server:
        url = server.url("/a.parquet", "127.0.0.1", "https")
        with pytest.raises(SourceError, match="its certificate is not accepted"):
            locate(url)
        authority.cert_pem.write_to_path(tmp_path / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
        assert locate(url).shards[0].size_bytes == 1000
        with pytest.raises(AccessError, match="redirects to an address that is not https"):
            locate(server.url("/b.parquet", "127.0.0.1", "https"))


def test_a_host_that_is_not_there_is_one_line() -> None:
    with pytest.raises(SourceError, match=r"a\.parquet: the connection is refused; check the net"):
        locate("http://127.0.0.1:9/a.parquet")


@pytest.mark.parametrize(("media", "end"), [("video", "mp4"), ("audio", "flac")])
def test_a_table_of_a_store_that_names_videos_or_sounds_beside_it(
    tmp_path: Path, media: Media, end: str
) -> None:
    files = make_clips(f"clips/0.{end}", f"clips/1.{end}")
    out = io.BytesIO()
    pq.write_table(pa.table({f"{media}_path": [*files, "clips/none.mp4"]}), out)
    write_keys("art", {f"{media}/rows.parquet": out.getvalue()})
    write_keys("art", {f"{media}/{name}": content for name, content in files.items()})
    wanted = Wanted(Request(f"s3://art/{media}/", media=media))
    located = acquire(wanted, tmp_path, Silent())
    cells, dropped = read_cells(located, wanted, tmp_path)
    assert cells == expect(files, *((name, end.upper()) for name in files))
    assert dropped == {"file missing": 1}
