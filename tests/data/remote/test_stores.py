"""Ranges of files in object stores: exact, of the pinned content, and what else may come."""

from __future__ import annotations

import errno
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest
import trio
from fsspec.implementations.memory import MemoryFileSystem

from hffs.data.locating.elsewhere import locate
from hffs.data.remote.files import Range, RemoteFile
from hffs.data.remote.filesystems import Store, open_store
from hffs.data.remote.origins import Trouble
from hffs.data.remote.stores import RECHECK_S, StoreOrigin
from hffs.errors import AccessError, DataError, HffsError, SourceError, StaleError
from tests.data.buckets import remove_key, serving_buckets, use_endpoint, write_keys

DATA = bytes(range(256)) * 40
FILE = RemoteFile("gs://art/a.parquet", "v1", len(DATA))


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with serving_buckets() as buckets:
        yield buckets.endpoint


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> RemoteFile:
    use_endpoint(monkeypatch, endpoint)
    write_keys("art", {"a b.parquet": DATA})
    (shard,) = locate("s3://art/a b.parquet").shards
    return RemoteFile(shard.url, shard.etag, shard.size_bytes)


def _run(origin: StoreOrigin, act: Callable[[StoreOrigin], Awaitable[Any]]) -> Any:
    async def main() -> Any:
        try:
            return await act(origin)
        finally:
            await origin.aclose()

    return trio.run(main)


def _get(origin: StoreOrigin, file: RemoteFile, start: int, stop: int) -> bytes:
    return bytes(_run(origin, lambda each: each.get(file, Range(start, stop))))


def test_ranges_of_s3_come_exactly_and_at_once(s3: RemoteFile) -> None:
    ranges = [Range(start, start + 100) for start in range(0, 4000, 100)]
    found: dict[Range, memoryview] = {}

    async def fetch(origin: StoreOrigin, wanted: Range) -> None:
        found[wanted] = await origin.get(s3, wanted)

    async def fetch_all(origin: StoreOrigin) -> None:
        async with trio.open_nursery() as nursery:
            for wanted in ranges:
                nursery.start_soon(fetch, origin, wanted)

    _run(StoreOrigin(), fetch_all)
    assert found == {wanted: DATA[wanted.start : wanted.stop] for wanted in ranges}


def test_another_content_in_s3_is_never_read(s3: RemoteFile) -> None:
    write_keys("art", {"a b.parquet": DATA[::-1]})
    with pytest.raises(StaleError, match=r"cannot read s3://art/a b\.parquet: it was changed; mou"):
        _get(StoreOrigin(), s3, 0, 10)


def test_a_store_that_passes_over_conditions_is_seen_through(
    s3: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3.url)
    call = store._fs.call_s3

    def pass_over(method: str, **asked: Any) -> Any:
        assert asked.pop("IfMatch") == s3.etag
        return call(method, **asked)

    monkeypatch.setattr(store._fs, "call_s3", pass_over)
    origin = StoreOrigin(lambda url: store)
    assert _get(origin, s3, 0, 10) == DATA[:10]
    write_keys("art", {"a b.parquet": DATA[::-1]})
    with pytest.raises(StaleError, match="it was changed"):
        _get(origin, s3, 0, 10)
    with pytest.raises(StaleError, match="it was changed"):
        store.read(store.path(s3.url), Range(0, 10), s3.etag)


def test_a_key_that_is_gone_is_a_source_error(s3: RemoteFile) -> None:
    remove_key("art", "a b.parquet")
    with pytest.raises(SourceError, match=r"no such bucket or key \(NoSuchKey\)"):
        _get(StoreOrigin(), s3, 0, 10)


def test_a_range_beyond_the_end_comes_short(s3: RemoteFile) -> None:
    with pytest.raises(Trouble, match="10 bytes came instead of 20"):
        _get(StoreOrigin(), s3, len(DATA) - 10, len(DATA) + 10)


def test_s3_that_cannot_be_reached_may_pass(
    s3: RemoteFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(Trouble) as caught:
        _get(StoreOrigin(), s3, 0, 10)
    assert caught.value.why == "the connection is refused"


def test_a_bucket_is_a_host() -> None:
    assert StoreOrigin().host(FILE) == "gs://art"


class _Fake(MemoryFileSystem):  # type: ignore[misc] # fsspec is untyped
    """A store in memory that is no S3: it fails as it is told, and counts who looks."""

    cachable = False
    store: dict[str, Any] = {}  # noqa: RUF012 - as its base has it

    def __init__(self, failure: Exception | None = None) -> None:
        super().__init__()
        self.failure, self.tag, self.data, self.looks = failure, FILE.etag, DATA, 0
        self.gate: threading.Event | None = None

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        assert options["refresh"]
        self.looks += 1
        return {"name": path, "size": len(self.data), "type": "file", "etag": self.tag}

    def cat_file(self, path: str, start: int, end: int) -> bytes:
        if self.gate is not None:
            self.gate.wait(10)
        if self.failure is not None:
            raise self.failure
        return self.data[start:end]


def _open(fs: _Fake, clock: Callable[[], float] = lambda: 0.0) -> StoreOrigin:
    return StoreOrigin(lambda url: Store(fs), clock)


def test_a_store_without_conditions_is_looked_at_before_and_now_and_then() -> None:
    now_s, fs = [0.0], _Fake()

    async def read(origin: StoreOrigin) -> None:
        assert await origin.get(FILE, Range(5, 9)) == DATA[5:9]
        await origin.get(FILE, Range(0, 9))
        assert fs.looks == 1
        now_s[0] += RECHECK_S
        await origin.get(FILE, Range(0, 9))
        assert fs.looks == 2
        fs.tag = "v2"
        await origin.get(FILE, Range(0, 9))
        now_s[0] += RECHECK_S
        with pytest.raises(StaleError):
            await origin.get(FILE, Range(0, 9))

    _run(_open(fs, lambda: now_s[0]), read)


def test_an_answer_that_is_short_is_looked_into() -> None:
    fs = _Fake()

    async def read(origin: StoreOrigin) -> None:
        await origin.get(FILE, Range(0, 9))
        with pytest.raises(Trouble, match="0 bytes came instead of 9"):
            await origin.get(FILE, Range(len(DATA), len(DATA) + 9))
        fs.data = DATA[:100]
        with pytest.raises(StaleError):
            await origin.get(FILE, Range(96, 105))

    _run(_open(fs), read)


def _named(name: str, base: type[Exception] = OSError, **fields: object) -> Exception:
    """An error of a class that only a library has."""
    error: Exception = type(name, (base,), {})("secret text")
    for field, value in fields.items():
        setattr(error, field, value)
    return error


@pytest.mark.parametrize(
    ("error", "kind", "line"),
    [
        (FileNotFoundError("secret"), SourceError, "no such bucket or key; check the address"),
        (PermissionError("secret"), AccessError, "refuses to give it; set GOOGLE_APPLICATION_CRE"),
        (_named("HttpError", code=403), AccessError, "the store refuses to give it (403); set GOO"),
        (_named("RefreshError"), AccessError, "the store refuses to give it; set GOOGLE_APPL"),
        (_named("DefaultCredentialsError"), AccessError, "no credentials were found; set GOOGLE_A"),
        (_named("HttpError", code=404), SourceError, "no such bucket or key (404); check the ad"),
        (_named("HttpError", code=416), StaleError, "it was changed; mount it anew"),
        (ValueError("secret"), DataError, "the store does not take it; check the address"),
    ],
)
def test_what_will_not_pass_is_raised(error: Exception, kind: type[HffsError], line: str) -> None:
    with pytest.raises(HffsError) as caught:
        _get(_open(_Fake(error)), FILE, 0, 9)
    assert type(caught.value) is kind
    assert line in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "why", "rest_s"),
    [
        (TimeoutError("secret"), "it does not answer in time", None),
        (ConnectionResetError("secret"), "the connection broke", None),
        (ConnectionRefusedError("secret"), "the connection is refused", None),
        (_named("ConnectTimeoutError"), "it cannot be reached in time", None),
        (_named("HttpError", code=503), "the store is busy (503)", 2.0),
        (OSError(errno.EBUSY, "secret"), "the store is busy", 2.0),
        (OSError(errno.EIO, "secret"), "it fails, OSError", None),
        (RuntimeError("secret"), "it fails, RuntimeError", None),
    ],
)
def test_what_may_pass_is_trouble(error: Exception, why: str, rest_s: float | None) -> None:
    with pytest.raises(Trouble) as caught:
        _get(_open(_Fake(error)), FILE, 0, 9)
    assert (caught.value.why, caught.value.rest_s) == (why, rest_s)


def test_a_read_that_nobody_waits_for_is_left() -> None:
    fs = _Fake()
    fs.gate = threading.Event()

    async def leave(origin: StoreOrigin) -> bool:
        with trio.move_on_after(0.05) as scope:
            await origin.get(FILE, Range(0, 9))
        return scope.cancelled_caught

    try:
        assert _run(_open(fs), partial(leave))
    finally:
        fs.gate.set()
