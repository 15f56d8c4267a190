from __future__ import annotations

import gzip
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpcore2
import pytest
import trustme

from hffs.core.formats import NOUNS, Media
from hffs.data.cache import DiskCache
from hffs.data.urls import fetching
from hffs.data.urls.connecting import resolve
from hffs.data.urls.fetching import Network, UrlFetcher, UrlRules
from hffs.data.urls.hosts import Hosts
from hffs.data.urls.requesting import LARGE_BYTES
from hffs.errors import (
    AccessError,
    DeadlineError,
    FetchError,
    HffsError,
    OutageError,
    StaleError,
)
from tests.data.media import make_clip
from tests.data.urls.server import (
    JPEG,
    PNG,
    Answer,
    Dialer,
    Exchange,
    Names,
    Server,
    serving,
)

PUBLIC = "93.184.216.34"
RULES = UrlRules(allow_http=True, deadline_s=10, connect_s=5)
Fetch = Callable[..., UrlFetcher]


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with ExitStack() as stack:

        def start(context: ssl.SSLContext | None = None, **answers: Answer) -> Server:
            named = {f"/{name}": answer for name, answer in answers.items()}
            return stack.enter_context(serving(named, context))

        yield start


@pytest.fixture
def fetcher(tmp_path: Path) -> Iterator[Fetch]:
    """A fetcher for which every name `images` leads to a public address, dialled to this host."""
    with ExitStack() as stack:

        def make(rules: UrlRules = RULES, **parts: Any) -> UrlFetcher:
            known: dict[str, Any] = {"resolve": Names(images=[[PUBLIC]]), "sockets": Dialer()}
            cache = DiskCache(tmp_path / "blobs", 1 << 30)
            made = UrlFetcher(rules, cache, tmp_path / "urls", Network(**(known | parts)))
            stack.callback(made.close)
            return made

        yield make


def jpeg(exchange: Exchange) -> None:
    exchange.answer(JPEG)


def says(text: bytes) -> Answer:
    """An answer word for word, after which the connection is shut."""

    def answer(exchange: Exchange) -> None:
        exchange.send(text)
        raise ConnectionAbortedError

    return answer


def status(line: str, headers: str = "") -> Answer:
    return lambda exchange: exchange.answer(b"<html>sorry", line, headers)


def test_an_image_is_fetched_once_and_kept(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=jpeg)
    url = server.url("/x")
    first = fetcher()
    assert bytes(first.read(url)) == JPEG
    assert bytes(first.read(url)) == JPEG
    assert bytes(fetcher().read(url)) == JPEG
    assert server.paths() == ["/x"]


def test_nothing_is_sent_but_the_url(
    serve: Any, fetcher: Fetch, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def set_cookie(exchange: Exchange) -> None:
        exchange.answer(JPEG, headers="Set-Cookie: a=b; Path=/\r\n")

    server = serve(x=set_cookie, y=jpeg)
    (tmp_path / ".netrc").write_text("machine images.test login me password secret")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    reader = fetcher()
    reader.read(server.url("/x?a=1#part"))
    reader.read(server.url("/y"))
    heads = [exchange.head.splitlines() for exchange in server.asked]
    assert heads[0][0] == "GET /x?a=1 HTTP/1.1"
    for head in heads:
        names = {line.partition(":")[0].lower() for line in head[1:]}
        assert names == {"host", "accept", "accept-encoding", "user-agent"}
    assert f"Host: images.test:{server.port}" in heads[1]


def test_many_who_read_one_url_cost_one_request(serve: Any, fetcher: Fetch) -> None:
    go = threading.Event()

    def slow(exchange: Exchange) -> None:
        assert go.wait(10)
        exchange.answer(JPEG)

    server = serve(x=slow)
    reader = fetcher()
    with ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(reader.read, server.url("/x")) for _ in range(8)]
        go.set()
        assert {bytes(each.result(10)) for each in waiting} == {JPEG}
    assert server.paths() == ["/x"]


def test_many_who_wait_for_one_failure_all_get_it(serve: Any, fetcher: Fetch) -> None:
    go = threading.Event()

    def slow(exchange: Exchange) -> None:
        assert go.wait(10)
        exchange.answer(b"", "404 Not Found")

    server = serve(x=slow)
    reader = fetcher()
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(reader.read, server.url("/x")) for _ in range(4)]
        go.set()
        assert {type(each.exception(10)) for each in waiting} == {FetchError}
    assert server.paths() == ["/x"]


# Certificates.


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def _server_context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def _client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def test_certificates_are_checked_against_the_name(
    serve: Any, fetcher: Fetch, authority: trustme.CA
) -> None:
    server = serve(_server_context(authority, "images.test"), x=jpeg)
    names = Names(images=[[PUBLIC]], other=[[PUBLIC]])
    strict = UrlRules()
    trusting = fetcher(strict, ssl_context=_client_context(authority), resolve=names)
    assert bytes(trusting.read(server.url("/x", scheme="https"))) == JPEG
    with pytest.raises(OutageError, match=r"its certificate is not valid: .*other\.test"):
        trusting.read(server.url("/x", "other.test", "https"))
    with pytest.raises(OutageError, match=r"its certificate is not valid: .*issuer"):
        fetcher(strict).read(server.url("/x?again", scheme="https"))


def test_https_that_is_none_is_an_outage(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=jpeg)
    with pytest.raises(OutageError, match="no TLS connection"):
        fetcher().read(server.url("/x", scheme="https"))


# Where a URL may lead.


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "2130706433", "017700000001", "0x7f000001", "127.1", "0", "0.0.0.1",
        "localhost", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[2002:7f00:1::]",
        "[64:ff9b::7f00:1]", "169.254.169.254", "10.0.0.1", "192.168.0.1", "100.64.0.1",
        "168.63.129.16", "[fd00:ec2::254]", "[fe80::1]", "224.0.0.1", "127\uff0e0\uff0e0\uff0e1",
        "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1",
    ],
)  # fmt: skip
def test_no_address_but_public_ones_is_asked(fetcher: Fetch, host: str) -> None:
    dialer = Dialer()
    reader = fetcher(resolve=resolve, sockets=dialer)
    with pytest.raises((AccessError, FetchError)) as refused:
        reader.read(f"http://{host}:8080/x")
    if not isinstance(refused.value, OutageError | AccessError):
        assert "not a URL" in str(refused.value)
    assert dialer.dialled == []


def test_a_name_that_leads_inside_is_refused_for_good(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=jpeg)
    names, dialer = Names(images=[["10.1.2.3"]]), Dialer()
    reader = fetcher(resolve=names, sockets=dialer)
    for _ in range(2):
        with pytest.raises(AccessError) as refused:
            reader.read(server.url("/x"))
    assert str(refused.value) == (
        f"cannot fetch {server.url('/x')}: images.test leads to 10.1.2.3, which is not an address "
        "of the open internet; allow_private_urls allows it, for a data set that you trust"
    )
    assert (len(names.asked), dialer.dialled, server.asked) == (1, [], [])


def test_one_address_inside_refuses_them_all(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=jpeg)
    dialer = Dialer()
    with pytest.raises(AccessError):
        fetcher(resolve=Names(images=[[PUBLIC, "127.0.0.1"]]), sockets=dialer).read(
            server.url("/x")
        )
    assert dialer.dialled == []


def test_a_name_that_leads_elsewhere_a_moment_later_changes_nothing(
    serve: Any, fetcher: Fetch
) -> None:
    server = serve(x=jpeg, y=says(b""), z=jpeg)
    names, dialer = Names(images=[[PUBLIC], ["127.0.0.1"]]), Dialer()
    reader = fetcher(resolve=names, sockets=dialer)
    assert bytes(reader.read(server.url("/x"))) == JPEG
    assert dialer.dialled == [PUBLIC]
    assert len(names.asked) == 1
    with pytest.raises(AccessError, match=r"leads to 127\.0\.0\.1"):
        reader.read(server.url("/y"))  # the connection is cut, so another one is made
    assert dialer.dialled == [PUBLIC]


def test_private_addresses_may_be_allowed(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=jpeg)
    reader = fetcher(replace(RULES, allow_private=True), resolve=resolve)
    assert bytes(reader.read(server.url("/x", "127.0.0.1"))) == JPEG


def test_the_next_address_is_tried(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=jpeg)
    dialer = Dialer("1.1.1.1")
    reader = fetcher(resolve=Names(images=[["1.1.1.1", PUBLIC]]), sockets=dialer)
    assert bytes(reader.read(server.url("/x"))) == JPEG
    assert dialer.dialled == ["1.1.1.1", PUBLIC]


def test_an_address_that_swallows_all_leaves_time_for_the_next(serve: Any, fetcher: Fetch) -> None:
    """IPv6 that leads nowhere is the common case."""

    class Swallowing(Dialer):
        def connect_tcp(
            self, host: str, port: int, timeout: float | None = None, *rest: Any, **more: Any
        ) -> Any:
            if host == "2606:4700::1":
                threading.Event().wait(timeout)
                raise httpcore2.ConnectTimeout("swallowed")
            return super().connect_tcp(host, port, timeout, *rest, **more)

    server = serve(x=jpeg)
    names = Names(images=[["2606:4700::1", PUBLIC]])
    reader = fetcher(replace(RULES, connect_s=2), resolve=names, sockets=Swallowing())
    assert bytes(reader.read(server.url("/x"))) == JPEG
    assert len(server.asked) == 1


def test_any_number_of_names_is_resolved(fetcher: Fetch) -> None:
    reader = fetcher(resolve=Names())
    for number in range(100):
        with pytest.raises(OutageError, match="cannot resolve"):
            reader.read(f"http://a{number}.test/x")


def test_a_resolver_that_fails_in_any_way_is_an_outage(fetcher: Fetch) -> None:
    def fail(host: str, port: int) -> list[str]:
        raise UnicodeError("label too long")

    with pytest.raises(OutageError, match=r"cannot resolve a\.test"):
        fetcher(resolve=fail).read("http://a.test/x")


def test_http_is_refused_unless_allowed(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=jpeg)
    with pytest.raises(AccessError, match="http URLs are not fetched; allow them with"):
        fetcher(UrlRules()).read(server.url("/x"))
    assert server.asked == []


# Redirects.


def test_redirects_are_followed(serve: Any, fetcher: Fetch) -> None:
    server = serve(
        x=lambda exchange: exchange.redirect("/y"),
        y=lambda exchange: exchange.redirect(exchange.server.url("/z?a=b#c")),
        z=jpeg,
    )
    assert bytes(fetcher().read(server.url("/x"))) == JPEG
    assert server.paths() == ["/x", "/y", "/z?a=b"]


@pytest.mark.parametrize(
    ("location", "kind", "why"),
    [
        ("http://127.0.0.1:8080/", AccessError, r"127\.0\.0\.1 is not an address of the open"),
        ("http://2130706433:8080/", AccessError, r"2130706433 leads to 127\.0\.0\.1"),
        ("http://[::ffff:127.0.0.1]:8080/", AccessError, "is not an address of the open"),
        ("http://169.254.169.254/latest/meta-data/", AccessError, "is not an address"),
        ("http://localhost:8080/", AccessError, "localhost leads to"),
        ("file:///etc/passwd", FetchError, "redirected to file:///etc/passwd"),
        ("gopher://images.test/", AccessError, "redirected to gopher://images.test/: gopher"),
        ("http://me@images.test/", AccessError, "a user name"),
        ("http://images.test:22/", AccessError, "port 22"),
        ("http://images.test:8080\\@x/", FetchError, "no URL may have"),
        ("", FetchError, "redirected to nowhere"),
    ],
)
def test_redirects_are_judged_anew(
    serve: Any, fetcher: Fetch, location: str, kind: type[HffsError], why: str
) -> None:
    server = serve(x=lambda exchange: exchange.redirect(location))
    dialer = Dialer()

    known = {"images.test": [PUBLIC], "localhost": ["127.0.0.1"]}  # not every host knows itself

    def look_up(host: str, port: int) -> list[str]:
        return known.get(host) or resolve(host, port)

    with pytest.raises(HffsError, match=why) as refused:
        fetcher(resolve=look_up, sockets=dialer).read(server.url("/x"))
    assert type(refused.value) is kind
    assert str(refused.value).startswith(f"cannot fetch {server.url('/x')}: ")
    assert dialer.dialled == [PUBLIC]
    assert server.paths() == ["/x"]


@pytest.mark.parametrize("location", ["http://[::1", "//[x]/", "http://a\u2100b.test/"])
def test_regression_a_redirect_to_what_is_no_url_is_a_fetch_error(
    serve: Any, fetcher: Fetch, location: str
) -> None:
    server = serve(x=lambda exchange: exchange.redirect(location))
    reader = fetcher()
    for _ in range(2):
        with pytest.raises(FetchError, match=r"it is redirected to .*: not a URL"):
            reader.read(server.url("/x"))
    assert server.paths() == ["/x"]


def test_a_redirect_from_https_to_http_is_refused(
    serve: Any, fetcher: Fetch, authority: trustme.CA
) -> None:
    server = serve(
        _server_context(authority, "images.test"),
        x=lambda exchange: exchange.redirect("http://images.test/x"),
    )
    reader = fetcher(UrlRules(), ssl_context=_client_context(authority))
    with pytest.raises(AccessError, match=r"redirected to http://images\.test/x: http URLs"):
        reader.read(server.url("/x", scheme="https"))


def test_a_loop_of_redirects_ends(serve: Any, fetcher: Fetch) -> None:
    server = serve(
        x=lambda exchange: exchange.redirect("/y"), y=lambda exchange: exchange.redirect("/x")
    )
    with pytest.raises(FetchError, match="redirected more than 5 times"):
        fetcher().read(server.url("/x"))
    assert len(server.asked) == 6


# What comes.


@pytest.mark.parametrize(
    ("media", "kind", "others"),
    [
        ("video", "mp4", ("jpg", "wav")),
        ("video", "webm", ("png", "mp3")),
        ("audio", "wav", ("jpg", "avi")),
        ("audio", "opus", ("png", "mov.html")),
    ],
)
def test_what_comes_has_to_be_of_the_medium_that_is_asked_for(
    serve: Any, fetcher: Fetch, media: Media, kind: str, others: tuple[str, str]
) -> None:
    """In pieces too, of which the first does not tell."""
    clip = make_clip(kind)

    def in_pieces(exchange: Exchange) -> None:
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(clip)}\r\n\r\n".encode()
        exchange.send(head + clip[:20])
        exchange.send(clip[20:])

    wrong = {f"n{at}": lambda e, k=k: e.answer(_bytes_of(k)) for at, k in enumerate(others)}
    server = serve(x=lambda e: e.answer(clip), pieces=in_pieces, **wrong)
    found = fetcher(replace(RULES, media=media))
    assert bytes(found.read(server.url("/x"))) == clip
    assert bytes(found.read(server.url("/pieces"))) == clip
    for name in wrong:
        with pytest.raises(FetchError, match=f"it gives .*, not a {NOUNS[media][0]}"):
            found.read(server.url(f"/{name}"))
    with pytest.raises(FetchError, match="not an image"):
        fetcher().read(server.url("/x?again"))


def _bytes_of(kind: str) -> bytes:
    return b"<html>" * 30 if kind.endswith("html") else make_clip(kind)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (status("404 Not Found"), r"the server answers 404 \(not found\)"),
        (status("410 Gone"), r"the server answers 410 \(gone\)"),
        (status("403 Forbidden"), r"the server answers 403 \(forbidden\)"),
        (status("418 Teapot"), "the server answers 418"),
        (status("204 No Content"), "the server answers 204"),
        (status("206 Partial Content"), "the server answers 206"),
        (status("200 OK"), "it gives an HTML page, not an image"),
        (lambda e: e.answer(b"\n <!DOCTYPE html><p>"), "it gives an HTML page, not an image"),
        (lambda e: e.answer(b'{"error": 1}'), "it gives JSON, not an image"),
        (lambda e: e.answer(b"<svg xmlns='x'>"), "it gives XML or SVG, not an image"),
        (lambda e: e.answer(b"\0\0\0 ftypavif...."), "AVIF, HEIC or video, not an image"),
        (lambda e: e.answer(b""), "it gives nothing, not an image"),
        (lambda e: e.answer(b"\xff\xd8"), r"other data \(untyped\), not an image"),
        (lambda e: e.answer(b"x" * 99, headers="Content-Type: a/b; c\r\n"), r"data \(a/b\), not"),
        (
            lambda e: e.answer(gzip.compress(JPEG), headers="Content-Encoding: gzip\r\n"),
            r"it is compressed \(gzip\), unasked",
        ),
        (lambda e: e.answer(JPEG, headers="Content-Encoding: br\r\n"), r"compressed \(br\)"),
        (
            lambda e: e.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n" + JPEG),
            "over 268435456 bytes",
        ),
    ],
)
def test_what_is_no_image_is_said_and_not_asked_for_again(
    serve: Any, fetcher: Fetch, answer: Answer, why: str
) -> None:
    server = serve(x=answer)
    reader = fetcher()
    for _ in range(2):
        with pytest.raises(FetchError, match=why) as refused:
            reader.read(server.url("/x"))
        if not isinstance(refused.value, OutageError):
            assert len(server.asked) == 1
        assert str(refused.value).startswith(f"cannot fetch {server.url('/x')}: ")
        assert str(refused.value).isprintable()


def test_a_body_without_a_length_has_a_limit(serve: Any, fetcher: Fetch) -> None:
    sent: list[int] = []

    def endless(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + JPEG)
        while not exchange.server.stopping.is_set():
            exchange.send(bytes(1 << 16))
            sent.append(1 << 16)

    server = serve(x=endless)
    with pytest.raises(FetchError, match="over 1000000 bytes"):
        fetcher(replace(RULES, max_bytes=1_000_000)).read(server.url("/x"))
    assert len(server.asked) == 1


def test_what_is_no_image_is_not_read_to_its_end(serve: Any, fetcher: Fetch) -> None:
    broken_off = threading.Event()

    def film(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n\0\0\0 ftypmp42")
        try:
            while not exchange.server.stopping.is_set():
                exchange.send(bytes(1 << 16))
        except OSError:
            broken_off.set()

    server = serve(x=film)
    with pytest.raises(FetchError, match="AVIF, HEIC or video"):
        fetcher().read(server.url("/x"))
    assert broken_off.wait(10)


@pytest.mark.parametrize(
    "text",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + JPEG,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + JPEG,
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"",
        b"220 mail.example.org ESMTP\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
    ],
)
def test_what_is_cut_short_is_asked_for_again(
    serve: Any, fetcher: Fetch, monkeypatch: pytest.MonkeyPatch, text: bytes
) -> None:
    monkeypatch.setattr(fetching, "_FIRST_WAIT_S", 0.01)
    answers = iter([says(text), says(text), jpeg])
    server = serve(x=lambda exchange: next(answers)(exchange))
    assert bytes(fetcher().read(server.url("/x"))) == JPEG
    assert len(server.asked) == 3


def test_large_images_pass_few_at_a_time(serve: Any, fetcher: Fetch) -> None:
    body = PNG + bytes(LARGE_BYTES)
    server = serve(**{f"x{n}": lambda exchange: exchange.answer(body) for n in range(4)})
    reader = fetcher(replace(RULES, deadline_s=60))
    with ThreadPoolExecutor(4) as pool:
        images = pool.map(reader.read, [server.url(f"/x{n}") for n in range(4)])
        assert [len(image) for image in images] == [len(body)] * 4


# Time.


def test_a_server_that_says_one_byte_at_a_time_is_left(serve: Any, fetcher: Fetch) -> None:
    def drip(exchange: Exchange) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"y" * 5000:
            exchange.send(bytes([byte]))
            if exchange.server.stopping.wait(0.02):
                return

    server = serve(x=drip)
    started = time.monotonic()
    with pytest.raises(DeadlineError, match="it did not come in time"):
        fetcher(replace(RULES, deadline_s=0.5)).read(server.url("/x"))
    assert time.monotonic() - started < 5


def test_a_body_that_drips_is_left(serve: Any, fetcher: Fetch) -> None:
    def drip(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\n" + JPEG)
        while not exchange.server.stopping.wait(0.02):
            exchange.send(b"x")

    server = serve(x=drip)
    with pytest.raises(DeadlineError, match="it did not come in time"):
        fetcher(replace(RULES, deadline_s=0.5)).read(server.url("/x"))


def test_a_resolver_that_hangs_is_left(fetcher: Fetch) -> None:
    go = threading.Event()

    def hang(host: str, port: int) -> list[str]:
        go.wait(30)
        return [PUBLIC]

    reader = fetcher(replace(RULES, deadline_s=0.5, connect_s=0.2), resolve=hang)
    with pytest.raises(OutageError, match="its host does not answer"):
        reader.read("http://images.test:8080/x")
    go.set()


def test_an_unknown_name_is_an_outage_that_is_found_at_once(fetcher: Fetch) -> None:
    names = Names()
    reader = fetcher(resolve=names)
    for number in range(3):
        with pytest.raises(OutageError, match=r"cannot resolve gone\.test"):
            reader.read(f"http://gone.test/{number}")
    assert names.asked == ["gone.test"]


def test_a_server_that_is_busy_is_asked_again(
    serve: Any, fetcher: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_FIRST_WAIT_S", 0.01)
    answers = iter([status("503 No"), status("500 No"), status("429 No", "Retry-After: 0\r\n")])
    server = serve(x=lambda exchange: next(answers, jpeg)(exchange))
    assert bytes(fetcher().read(server.url("/x"))) == JPEG
    assert len(server.asked) == 4


def test_a_host_that_asks_for_long_rest_is_left_alone(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=status("429 Slow down", "Retry-After: 120\r\n"), y=jpeg)
    reader = fetcher()
    for path in ("/x", "/y"):
        with pytest.raises(OutageError, match=r"the server answers 429 \(too many requests\)"):
            reader.read(server.url(path))
    assert server.paths() == ["/x"]


def _stay_silent(exchange: Exchange) -> None:
    exchange.server.stopping.wait(30)


@pytest.mark.parametrize("trouble", [status("500 No"), _stay_silent])
def test_an_outage_is_not_remembered_for_long(
    serve: Any, fetcher: Fetch, monkeypatch: pytest.MonkeyPatch, trouble: Answer
) -> None:
    monkeypatch.setattr(fetching, "_TRIES", 1)
    answers = {path: iter([trouble]) for path in ("/x", "/y")}

    def answer(exchange: Exchange) -> None:
        next(answers[exchange.path], jpeg)(exchange)

    server = serve(x=answer, y=answer)
    reader = fetcher(replace(RULES, deadline_s=1))
    for _ in range(2):
        with pytest.raises((OutageError, DeadlineError)):
            reader.read(server.url("/x"))
    assert server.paths() == ["/x"]
    monkeypatch.setattr(fetching, "RETRY_S", 0)
    with pytest.raises((OutageError, DeadlineError)):
        reader.read(server.url("/y"))
    assert bytes(reader.read(server.url("/y"))) == JPEG


def test_what_will_never_be_an_image_is_remembered_for_good(
    serve: Any, fetcher: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "RETRY_S", 0)
    server = serve(x=status("404 Gone"))
    reader = fetcher()
    for _ in range(2):
        with pytest.raises(FetchError, match="404"):
            reader.read(server.url("/x"))
    assert server.paths() == ["/x"]


def test_failures_that_are_remembered_are_bounded(
    serve: Any, fetcher: Fetch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_MOST_FAILURES", 10)
    reader = fetcher()
    for number in range(30):
        with pytest.raises(FetchError):
            reader.read(f"https://a b/{number}")
    assert len(reader._failures) == 10


def test_a_host_is_sent_few_requests_at_a_time(serve: Any, fetcher: Fetch) -> None:
    meeting = threading.Barrier(3, timeout=60)

    def meet(exchange: Exchange) -> None:
        meeting.wait()
        exchange.server.stopping.wait(0.1)  # time for one more than there may be
        exchange.answer(JPEG)

    server = serve(**{f"x{n}": meet for n in range(9)})
    reader = fetcher(replace(RULES, per_host=3))
    with ThreadPoolExecutor(9) as pool:
        list(pool.map(reader.read, [server.url(f"/x{n}") for n in range(9)]))
    assert server.busiest == 3


def test_all_hosts_together_are_sent_few_requests(serve: Any, fetcher: Fetch) -> None:
    meeting = threading.Barrier(4, timeout=60)

    def meet(exchange: Exchange) -> None:
        meeting.wait()
        exchange.server.stopping.wait(0.1)  # time for one more than there may be
        exchange.answer(JPEG)

    server = serve(**{f"x{n}": meet for n in range(8)})
    reader = fetcher(replace(RULES, per_host=2, overall=4))
    hosts = [f"images.h{n // 2}" for n in range(8)]
    urls = [server.url(f"/x{n}", host) for n, host in enumerate(hosts)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(reader.read, urls))
    assert server.busiest == 4


def test_closing_ends_those_who_wait(serve: Any, fetcher: Fetch) -> None:
    asked = threading.Event()

    def hang(exchange: Exchange) -> None:
        asked.set()
        exchange.server.stopping.wait(30)

    server = serve(x=hang)
    reader = fetcher(replace(RULES, deadline_s=25))
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(reader.read, server.url("/x"))
        assert asked.wait(10)
        started = time.monotonic()
        reader.close()
        assert isinstance(waiting.exception(20), OutageError)
        assert time.monotonic() - started < 10


# The same bytes ever after.


def test_what_changed_since_it_was_read_is_stale(
    serve: Any, fetcher: Fetch, tmp_path: Path
) -> None:
    answers = iter([JPEG, JPEG, PNG])
    server = serve(x=lambda exchange: exchange.answer(next(answers)))
    url = server.url("/x")
    for _ in range(2):
        assert bytes(fetcher().read(url)) == JPEG
        for entry in (tmp_path / "blobs").glob("??/*"):
            entry.unlink()  # evicted
    reader = fetcher()
    for _ in range(2):
        with pytest.raises(StaleError, match="it is not what it was when first read"):
            reader.read(url)
    assert len(server.asked) == 3


def test_a_turn_taken_is_given_back_after_a_failure(serve: Any, fetcher: Fetch) -> None:
    server = serve(x=status("404 No"))
    reader = fetcher()
    for number in range(10):
        with pytest.raises(FetchError):
            reader.read(server.url(f"/x?{number}"))
    assert isinstance(reader._hosts, Hosts)
    assert reader._hosts._total == 0
    assert reader._flights == {}
