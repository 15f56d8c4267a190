"""Ranges from a Hub on this machine: what is asked, checked, kept, repeated, and given up."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import trio

from hffs.data.cache import DiskCache
from hffs.data.hub.resolution import Request
from hffs.data.hub.token import Token
from hffs.data.remote import http
from hffs.data.remote.fetching import Fetcher
from hffs.data.remote.files import Range, RemoteFile
from hffs.data.remote.http import HttpOrigin
from hffs.data.remote.origins import Origin, Trouble
from hffs.data.remote.queueing import Limits
from hffs.errors import (
    AccessError,
    DataError,
    DeadlineError,
    FormatError,
    HffsError,
    OutageError,
    SourceError,
    StaleError,
)
from tests.data.urls.server import Exchange, serving
from tests.hub import Cut, Fail, Flip, HubServer, Stall, Truncate

QUICK = Limits(deadline_s=2.0, stall_s=0.3, connect_s=0.3, first_wait_s=0.01, longest_wait_s=0.05)
PATIENT = Limits(deadline_s=20.0, stall_s=0.3, first_wait_s=0.01, longest_wait_s=0.05)
NAME = "data/train-00000.parquet"
SECRET, NEW_SECRET = "hf_secret", "hf_new"
RESOLVE = r"GET .*/resolve/"

Open = Callable[..., Fetcher]


class Store:
    """One file on the Hub, its content, and fetchers of it."""

    def __init__(self, hub: HubServer, size: int = 1_000_000) -> None:
        self.content = np.random.default_rng(5).bytes(size)
        self.repo = hub.add("owner/set")
        commit = self.repo.write_all({NAME: self.content})
        etag = hashlib.sha256(self.content).hexdigest()
        self.file = RemoteFile(f"hf://datasets/owner/set@{commit}/{NAME}", etag, size)

    def cut(self, place: Range) -> bytes:
        return self.content[place.start : place.stop]


@pytest.fixture
def store(hub: HubServer) -> Store:
    return Store(hub)


@pytest.fixture
def open_fetcher(hub: HubServer, tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def open_it(
            limits: Limits = PATIENT,
            *,
            offline: bool = False,
            token_file: Path | None = None,
            cache: str = "cache",
        ) -> Fetcher:
            def origins() -> Mapping[str, Origin]:
                token = Token(Request("", token_file=token_file))
                http = HttpOrigin(hub.endpoint, token, limits)
                return {"hf": http, "http": http, "https": http}

            blobs = DiskCache(tmp_path / cache, 1 << 30)
            fetcher = Fetcher(blobs, origins, limits, offline=offline)
            stack.callback(fetcher.close)
            return fetcher

        yield open_it


def test_ranges_come_and_are_kept(hub: HubServer, store: Store, open_fetcher: Open) -> None:
    fetcher = open_fetcher()
    places = [Range(0, 10), Range(500_000, 600_000), Range(999_990, 1_000_000)]
    assert list(map(bytes, fetcher.read(store.file, places))) == list(map(store.cut, places))
    assert hub.sent_bytes(RESOLVE) == sum(place.size_bytes for place in places)
    hub.clear()
    assert list(map(bytes, fetcher.read(store.file, places))) == list(map(store.cut, places))
    again = open_fetcher(offline=True)
    assert list(map(bytes, again.read(store.file, places))) == list(map(store.cut, places))
    assert hub.requests == []
    with pytest.raises(OutageError, match="offline, and it is not in the cache"):
        again.read(store.file, [Range(1, 2)])


def test_neighbours_are_one_request_and_the_gap_is_thrown_away(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher = open_fetcher()
    places = [Range(0, 100), Range(200, 300), Range(250_000, 250_100)]
    assert list(map(bytes, fetcher.read(store.file, places))) == list(map(store.cut, places))
    ranges = {each.range for each in hub.requests if "resolve" in each.path}
    assert ranges == {"bytes=0-299", "bytes=250000-250099"}


def test_a_large_range_comes_in_pieces(hub: HubServer, store: Store, open_fetcher: Open) -> None:
    fetcher = open_fetcher(Limits(request_bytes=100_000, gap_bytes=10))
    whole = Range(0, 1_000_000)
    (data,) = fetcher.read(store.file, [whole])
    assert bytes(data) == store.content
    assert len([each for each in hub.requests if "resolve" in each.path]) == 10


def test_of_a_large_range_only_the_piece_that_failed_is_asked_for_again(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher = open_fetcher(replace(PATIENT, request_bytes=100_000, gap_bytes=10))
    fetcher.read(store.file, [Range(0, 9)])  # it is known where the file is
    hub.clear()
    hub.faults.append(Fail(RESOLVE, 503, 2))
    (data,) = fetcher.read(store.file, [Range(9, 1_000_000)])
    assert bytes(data) == store.cut(Range(9, 1_000_000))
    assert len([each for each in hub.requests if "resolve" in each.path]) == 10 + 2


class Damaging:
    """An origin whose second answer has a bit that is not what it was."""

    def __init__(self) -> None:
        self.asked: list[Range] = []

    def host(self, file: RemoteFile) -> str:
        return "far"

    async def get(self, file: RemoteFile, place: Range) -> memoryview:
        self.asked.append(place)
        return memoryview(bytes([len(self.asked) == 2]) * place.size_bytes)

    async def aclose(self) -> None:
        pass


def test_a_large_range_that_came_damaged_comes_anew_as_a_whole(tmp_path: Path) -> None:
    def check(data: memoryview) -> None:
        if any(data):
            raise FormatError("cannot read", why="it is damaged")

    origin = Damaging()
    limits = replace(PATIENT, request_bytes=10, gap_bytes=0, per_host=1)
    cache = DiskCache(tmp_path / "blobs", 1 << 30)
    fetcher = Fetcher(cache, lambda: {"s3": origin}, limits)
    (data,) = fetcher.read(RemoteFile("s3://art/a", "v1", 100), [Range(0, 20)], check)
    fetcher.close()
    assert data == bytes(20)
    assert origin.asked == 2 * [Range(0, 10), Range(10, 20)]


def test_what_anybody_wants_kept_is_kept(hub: HubServer, store: Store, open_fetcher: Open) -> None:
    fetcher, place = open_fetcher(), Range(0, 100)
    hub.latency_s = 0.2
    (first,) = fetcher.submit(store.file, [place], keep=False)
    (second,) = fetcher.submit(store.file, [place])
    assert bytes(first.result(10)) == bytes(second.result(10)) == store.cut(place)
    assert len(hub.requests) == 1
    assert fetcher.holds(store.file, place)


def test_an_address_is_not_believed_for_ever(
    hub: HubServer, store: Store, open_fetcher: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.redirect = True
    fetcher = open_fetcher()

    def count_asked(*places: Range) -> int:
        hub.clear()
        for place in places:
            assert bytes(fetcher.read(store.file, [place])[0]) == store.cut(place)
        return len([each for each in hub.requests if "/resolve/" in each.path])

    assert count_asked(Range(0, 9), Range(100_000, 100_009)) == 1
    monkeypatch.setattr(http, "_ADDRESS_S", -1.0)
    fetcher = open_fetcher(cache="other")
    assert count_asked(Range(0, 9), Range(100_000, 100_009)) == 2


def test_what_is_part_of_a_request_under_way_is_not_asked_for(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher = open_fetcher()
    hub.latency_s = 0.2
    whole, part = Range(0, 900_000), Range(5000, 6000)
    (first,) = fetcher.submit(store.file, [whole], ahead=True)
    time.sleep(0.05)
    assert bytes(fetcher.read(store.file, [part])[0]) == store.cut(part)
    first.result(10)
    assert len(hub.requests) == 1


def test_nobody_waits_longer_since_others_want_the_same(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher, place = open_fetcher(QUICK), Range(0, 100)
    hub.go_down()
    begun = time.monotonic()
    (early,) = fetcher.submit(store.file, [place])
    time.sleep(QUICK.deadline_s / 2)
    (late,) = fetcher.submit(store.file, [place])
    with pytest.raises(DeadlineError):
        early.result(10)
    assert time.monotonic() - begun < QUICK.deadline_s * 1.4
    hub.come_back()
    assert bytes(late.result(10)) == store.cut(place)


class Unsteady:
    """An origin that cannot be reached at first."""

    def __init__(self, misses: int) -> None:
        self.misses, self.asked = misses, 0

    def host(self, file: RemoteFile) -> str:
        return "nowhere"

    async def get(self, file: RemoteFile, place: Range) -> memoryview:
        self.asked += 1
        if self.asked <= self.misses:
            raise Trouble("cannot connect to nowhere", is_reached=False)
        return memoryview(bytes(place.size_bytes))

    async def aclose(self) -> None:
        pass


def test_an_outage_is_told_once_and_not_tried_by_everyone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "hffs")
    limits = replace(PATIENT, first_wait_s=0.1, longest_wait_s=0.2, per_host=2)
    origin = Unsteady(misses=5)
    fetcher = Fetcher(DiskCache(tmp_path / "blobs", 1 << 30), lambda: {"s3": origin}, limits)
    file = RemoteFile("s3://art/a", "v1", 1 << 30)
    begun = time.monotonic()
    fetcher.read(file, [Range(number << 20, (number << 20) + 9) for number in range(20)])
    assert time.monotonic() - begun > 0.1 + 0.2  # of five, two were sent at once
    fetcher.close()
    assert [record.getMessage() for record in caplog.records] == [
        "nowhere: cannot connect to nowhere; what is not cached waits for it",
        "nowhere answers again",
    ]
    assert origin.asked == 20 + origin.misses


def test_many_readers_of_a_range_are_one_request(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher = open_fetcher()
    hub.latency_s = 0.2
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(lambda _: fetcher.read(store.file, [Range(7, 77)])[0], range(16)))
    assert {bytes(each) for each in found} == {store.cut(Range(7, 77))}
    assert len(hub.requests) == 1


def test_what_came_while_the_cache_was_asked_is_not_fetched_again(
    hub: HubServer, store: Store, open_fetcher: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetcher, place, ask = open_fetcher(), Range(0, 1000), DiskCache.get

    def ask_too_soon(cache: DiskCache, key: str) -> memoryview | None:
        monkeypatch.setattr(DiskCache, "get", ask)
        found = ask(cache, key)
        fetcher.submit(store.file, [place])[0].result(20)
        return found

    monkeypatch.setattr(DiskCache, "get", ask_too_soon)
    assert fetcher.submit(store.file, [place])[0].result(20) == store.cut(place)
    assert len([each for each in hub.requests if each.range]) == 1


def test_what_is_fetched_ahead_is_there_when_it_is_read(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher = open_fetcher()
    for future in fetcher.submit(store.file, [Range(0, 10), Range(500_000, 500_010)], ahead=True):
        future.result(10)
    hub.clear()
    fetcher.submit(store.file, [Range(0, 10)], ahead=True)[0].result(10)
    assert bytes(fetcher.read(store.file, [Range(0, 10)])[0]) == store.cut(Range(0, 10))
    assert hub.requests == []


def test_a_reader_overtakes_what_is_fetched_ahead(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    limits = Limits(overall=4, per_host=4, gap_bytes=0)
    fetcher = open_fetcher(limits)
    fetcher.read(store.file, [Range(0, 1)])
    hub.latency_s = 0.1
    ahead = [Range(n * 1000, n * 1000 + 10) for n in range(1, 60)]
    under_way = fetcher.submit(store.file, ahead, ahead=True)
    hub.wait_until_asked(3)
    assert bytes(fetcher.read(store.file, [Range(900_000, 900_010)])[0]) == store.cut(
        Range(900_000, 900_010)
    )
    promoted = fetcher.read(store.file, [ahead[-1]])[0]
    assert bytes(promoted) == store.cut(ahead[-1])
    assert sum(future.done() for future in under_way) < 30


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_what_may_pass_is_asked_again(
    status: int, hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.faults += [Fail(RESOLVE, status, times=3)]
    assert bytes(open_fetcher().read(store.file, [Range(5, 50)])[0]) == store.cut(Range(5, 50))
    assert hub.faults == []


@pytest.mark.parametrize(
    "fault",
    [
        Cut(RESOLVE, 10, times=2),
        Truncate(RESOLVE, 10, times=2),
        Stall(RESOLVE, 10, 1.0, times=1),
        Stall(RESOLVE, 0, 1.0, times=1),
    ],
    ids=lambda fault: type(fault).__name__,
)
def test_a_body_that_ends_early_is_never_taken(
    fault: Cut | Truncate | Stall, hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.faults.append(fault)
    assert bytes(open_fetcher().read(store.file, [Range(5, 50)])[0]) == store.cut(Range(5, 50))
    assert hub.faults == []


@pytest.mark.parametrize(
    ("headers", "rest_s"),
    [
        ({"Retry-After": "1"}, 1.0),
        (
            {"RateLimit": '"api";r=0;t=1', "RateLimit-Policy": '"fixed window";"api";q=500;w=300'},
            1.0,
        ),
    ],
)
def test_a_hub_that_asks_for_a_rest_gets_it(
    headers: dict[str, str], rest_s: float, hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.faults += [Fail(RESOLVE, 429, headers=headers)]
    begun = time.monotonic()
    fetcher = open_fetcher()
    under_way = fetcher.submit(store.file, [Range(5, 50), Range(500_000, 500_050)])
    assert [bytes(each.result()) for each in under_way] == [
        store.cut(Range(5, 50)), store.cut(Range(500_000, 500_050)),
    ]  # fmt: skip
    assert time.monotonic() - begun >= rest_s


def test_a_server_that_ignores_ranges_is_refused_before_its_body(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.ignore_ranges = True
    with pytest.raises(DataError, match="sends whole files, whatever range is asked for"):
        open_fetcher().read(store.file, [Range(5, 50)])
    assert bytes(open_fetcher().read(store.file, [Range(0, 1_000_000)])[0]) == store.content


def test_another_range_than_asked_for_is_refused(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.wrong_content_range = True
    with pytest.raises(DataError, match="another range is sent than was asked for"):
        open_fetcher().read(store.file, [Range(5, 50)])


def test_another_content_than_the_pinned_one_is_stale(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    other = RemoteFile(store.file.url, "0" * 64, store.file.size_bytes)
    with pytest.raises(StaleError, match="it is another file now; mount again"):
        open_fetcher().read(other, [Range(5, 50)])
    longer = RemoteFile(store.file.url, store.file.etag, 2_000_000)
    with pytest.raises(StaleError, match="it has 1000000 bytes now"):
        open_fetcher().read(longer, [Range(5, 50)])
    with pytest.raises(StaleError, match="it has not as many bytes"):
        open_fetcher().read(longer, [Range(1_500_000, 1_500_010)])


def test_redirects_are_remembered_and_found_anew(
    hub: HubServer, store: Store, open_fetcher: Open, tmp_path: Path
) -> None:
    hub.redirect = True
    given = tmp_path / "token"
    given.write_text("hf_secret")
    store.repo.token = SECRET
    fetcher = open_fetcher(token_file=given)
    for start in range(0, 500_000, 100_000):
        place = Range(start, start + 10)
        assert bytes(fetcher.read(store.file, [place])[0]) == store.cut(place)
    asked = [each for each in hub.requests if "/resolve/" in each.path]
    sent = [each for each in hub.requests if each.path.startswith("/cdn/")]
    assert (len(asked), len(sent)) == (1, 5)
    assert asked[0].token == SECRET
    assert {each.token for each in sent} == {None}
    hub.expire_signatures()
    assert bytes(fetcher.read(store.file, [Range(1, 9)])[0]) == store.cut(Range(1, 9))
    assert len([each for each in hub.requests if "/resolve/" in each.path]) == 2


def test_a_token_that_was_replaced_is_read_again(
    hub: HubServer, store: Store, open_fetcher: Open, tmp_path: Path
) -> None:
    store.repo.private, store.repo.token = True, "hf_new"
    given = tmp_path / "token"
    given.write_text("hf_old")
    fetcher = open_fetcher(token_file=given)
    with pytest.raises(SourceError, match=r"cannot fetch data/train-00000\.parquet of owner/set@"):
        fetcher.read(store.file, [Range(1, 9)])
    given.write_text("hf_new")
    assert bytes(fetcher.read(store.file, [Range(1, 9)])[0]) == store.cut(Range(1, 9))


def test_a_hub_that_refuses_is_one_clear_error(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.faults += [Fail(RESOLVE, 403, times=None)]
    with pytest.raises(AccessError, match=r"it may not be read \(answer 403\)"):
        open_fetcher().read(store.file, [Range(1, 9)])
    hub.faults[:] = [Fail(RESOLVE, 404, times=None)]
    with pytest.raises(SourceError, match=r"it is not there \(answer 404\)"):
        open_fetcher().read(store.file, [Range(1, 9)])
    hub.faults[:] = [Fail(RESOLVE, 418, times=None)]
    with pytest.raises(SourceError, match="answers 418"):
        open_fetcher().read(store.file, [Range(1, 9)])


def test_a_bit_that_was_flipped_on_the_way_is_fetched_again(
    hub: HubServer, store: Store, open_fetcher: Open, caplog: pytest.LogCaptureFixture
) -> None:
    place = Range(100, 200)
    hub.faults += [Flip(RESOLVE, 50)]

    def check(data: memoryview) -> None:
        if data != store.cut(place):
            raise FormatError("cannot read the page", why="its checksum differs")

    fetcher = open_fetcher()
    assert bytes(fetcher.read(store.file, [place], check)[0]) == store.cut(place)
    assert "came damaged (its checksum differs); asking again" in caplog.text


def test_what_lies_there_damaged_is_said_and_not_kept(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    def refuse(data: memoryview) -> None:
        raise FormatError("cannot read the page", why="its checksum differs")

    fetcher = open_fetcher()
    with pytest.raises(FormatError, match="its checksum differs"):
        fetcher.read(store.file, [Range(5, 50)], refuse)
    assert len(hub.requests) == 2
    hub.clear()
    fetcher.read(store.file, [Range(5, 50)])
    assert len(hub.requests) == 1


def test_a_damaged_entry_of_the_cache_is_fetched_again(
    hub: HubServer, store: Store, open_fetcher: Open, tmp_path: Path
) -> None:
    fetcher = open_fetcher()
    fetcher.read(store.file, [Range(5, 5000)])
    (entry,) = [
        path
        for path in (tmp_path / "cache").rglob("*")
        if path.stat().st_size > 4000 and path.is_file()
    ]
    damaged = bytearray(entry.read_bytes())
    damaged[-1] ^= 1
    entry.write_bytes(damaged)
    assert bytes(fetcher.read(store.file, [Range(5, 5000)])[0]) == store.cut(Range(5, 5000))


def test_a_network_that_is_gone_is_waited_for(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher = open_fetcher()
    fetcher.read(store.file, [Range(0, 100)])
    hub.go_down()
    waiting = fetcher.submit(store.file, [Range(300_000, 300_100)])[0]
    assert bytes(fetcher.read(store.file, [Range(0, 100)])[0]) == store.cut(Range(0, 100))
    assert not waiting.done()
    hub.come_back()
    assert bytes(waiting.result(10)) == store.cut(Range(300_000, 300_100))


def test_a_range_that_does_not_come_in_time_is_an_error_of_its_own(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher = open_fetcher(QUICK)
    hub.go_down()
    begun = time.monotonic()
    with pytest.raises(
        DeadlineError, match=r"cannot fetch data/train-00000\.parquet of owner/set@"
    ):
        fetcher.read(store.file, [Range(0, 100)])
    assert QUICK.deadline_s <= time.monotonic() - begun < QUICK.deadline_s + 2
    hub.come_back()
    assert bytes(fetcher.read(store.file, [Range(0, 100)])[0]) == store.cut(Range(0, 100))


class Lingering:
    """An origin whose first request never ends by itself, and slowly when it is cancelled."""

    def __init__(self) -> None:
        self.asked = 0

    def host(self, file: RemoteFile) -> str:
        return "far"

    async def get(self, file: RemoteFile, place: Range) -> memoryview:
        self.asked += 1
        if self.asked == 1:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(0.5)
        return memoryview(bytes(place.size_bytes))

    async def aclose(self) -> None:
        pass


def test_regression_nothing_joins_a_request_that_was_given_up(tmp_path: Path) -> None:
    limits = replace(PATIENT, deadline_s=1.0)
    cache, origin = DiskCache(tmp_path / "blobs", 1 << 30), Lingering()
    file = RemoteFile("s3://art/a", "v1", 100)
    with closing(Fetcher(cache, lambda: {"s3": origin}, limits)) as fetcher:
        with pytest.raises(DeadlineError):
            fetcher.read(file, [Range(0, 20)])
        assert fetcher.read(file, [Range(0, 20)]) == [bytes(20)]


def test_a_trickle_is_cut_off_at_the_deadline(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.bytes_per_s = 20_000
    begun = time.monotonic()
    with pytest.raises(DeadlineError):
        open_fetcher(QUICK).read(store.file, [Range(0, 500_000)])
    assert time.monotonic() - begun < QUICK.deadline_s + 2


def test_regression_what_comes_too_late_is_not_taken_for_what_was_asked_since(
    hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    fetcher, place, go_on = open_fetcher(QUICK), Range(0, 100), threading.Event()

    def check(data: memoryview) -> None:
        assert go_on.wait(10)

    late = fetcher.submit(store.file, [place], check)[0]
    with pytest.raises(DeadlineError):
        late.result(10)
    again = fetcher.submit(store.file, [place], keep=False)[0]
    assert bytes(again.result(10)) == store.cut(place)
    last = fetcher.submit(store.file, [place], check, keep=False)[0]
    go_on.set()
    assert bytes(last.result(10)) == store.cut(place)
    assert bytes(fetcher.read(store.file, [Range(7, 9)])[0]) == store.cut(Range(7, 9))


def test_close_ends_whoever_waits(hub: HubServer, store: Store, open_fetcher: Open) -> None:
    fetcher = open_fetcher()
    hub.go_down()
    waiting = fetcher.submit(store.file, [Range(0, 100), Range(500_000, 500_010)])
    fetcher.close()
    for future in waiting:
        with pytest.raises(OutageError, match="the mount ends"):
            future.result(5)
    with pytest.raises(OutageError, match="the mount ends"):
        fetcher.read(store.file, [Range(0, 100)])
    fetcher.close()


def test_plain_urls_are_read_too(hub: HubServer, store: Store, open_fetcher: Open) -> None:
    path = store.file.url.partition("@")[2]
    commit, _, name = path.partition("/")
    url = f"{hub.endpoint}/datasets/owner/set/resolve/{commit}/{name}"
    file = RemoteFile(url, f'"{store.file.etag}"', store.file.size_bytes)
    assert bytes(open_fetcher().read(file, [Range(3, 30)])[0]) == store.cut(Range(3, 30))
    with pytest.raises(SourceError, match="it is not there"):
        open_fetcher().read(RemoteFile(url + "x", "", 9), [Range(3, 8)])


@pytest.mark.parametrize(
    ("pin", "headers", "is_same"),
    [
        ('"v1"', 'ETag: "v1"', True),
        ('W/"v1"', 'ETag: W/"v1"', True),
        ('"v1"', 'ETag: "v2"', False),
        ("Sat, 28 Nov 2026 10:00:00 GMT", "Last-Modified: Sat, 28 Nov 2026 10:00:00 GMT", True),
        ("Sat, 28 Nov 2026 10:00:00 GMT", "Last-Modified: Sat, 28 Nov 2026 10:00:01 GMT", False),
        ("Sat, 28 Nov 2026 10:00:00 GMT", 'ETag: "v1"', False),
    ],
)
def test_a_file_of_the_web_is_held_against_what_pinned_it(
    pin: str, headers: str, is_same: bool, open_fetcher: Open
) -> None:
    def answer(exchange: Exchange) -> None:
        told = f"Content-Range: bytes 3-8/100\r\n{headers}\r\n"
        exchange.answer(b"abcdef", "206 Partial Content", told)

    with serving({"/a.parquet": answer}) as server:
        file = RemoteFile(server.url("/a.parquet", "127.0.0.1"), pin, 100)
        outcome = open_fetcher().submit(file, [Range(3, 9)])[0]
        if is_same:
            assert bytes(outcome.result(10)) == b"abcdef"
        else:
            with pytest.raises(StaleError, match="it is another file now"):
                outcome.result(10)


def test_a_signature_that_is_too_old_is_told(open_fetcher: Open) -> None:
    refuse = partial(Exchange.answer, body=b"", status="403 Forbidden")
    with serving({"/a.parquet": refuse}) as server:
        file = RemoteFile(server.url("/a.parquet", "127.0.0.1"), '"v1"', 100)
        with pytest.raises(AccessError, match=r"\(answer 403\); mount it with a new signature$"):
            open_fetcher().read(file, [Range(3, 9)])


class Chaos:
    """Readers of random ranges, and all that can go wrong with a server, for some seconds."""

    LIMITS = Limits(
        deadline_s=3.0, stall_s=0.2, connect_s=0.3, first_wait_s=0.01, longest_wait_s=0.1
    )

    def __init__(self, hub: HubServer, store: Store, fetcher: Fetcher) -> None:
        self.hub, self.store, self.fetcher = hub, store, fetcher
        self.stop = threading.Event()
        self.wrong: list[Range] = []
        self.late: list[Range] = []
        self.right = 0

    def check(self, place: Range, data: memoryview) -> None:
        if data != self.store.cut(place):
            raise FormatError("cannot read", why="it is damaged")

    def read(self, seed: int) -> None:
        own = np.random.default_rng(seed)
        while not self.stop.is_set():
            start = int(own.integers(990_000))
            place = Range(start, start + int(own.integers(1, 9000)))
            begun = time.monotonic()
            with suppress(HffsError):
                (data,) = self.fetcher.read(self.store.file, [place], partial(self.check, place))
                self.right += 1
                if data != self.store.cut(place):
                    self.wrong.append(place)
            if time.monotonic() - begun > self.LIMITS.deadline_s + 2:
                self.late.append(place)

    def disturb(self) -> None:
        own = np.random.default_rng(99)
        for number in range(40):
            some, times = int(own.integers(500)), int(own.integers(1, 4))
            self.hub.faults.append(
                (
                    Fail(RESOLVE, (429, 500, 503)[number % 3], times),
                    Fail(RESOLVE, 429, headers={"Retry-After": "1"}),
                    Cut(RESOLVE, some, times),
                    Truncate(RESOLVE, some, times),
                    Stall(RESOLVE, some, 0.5),
                    Flip(RESOLVE, some, times),
                )[int(own.integers(6))]
            )
            if number % 13 == 12:
                self.hub.go_down()
                self.stop.wait(0.3)
                self.hub.come_back()
            if number % 9 == 8:
                self.hub.redirect = not self.hub.redirect
                self.hub.expire_signatures()
            self.stop.wait(0.1)
        self.stop.set()


@pytest.mark.timeout(90)
def test_chaos(hub: HubServer, store: Store, open_fetcher: Open) -> None:
    """Whatever goes wrong: every answer is right, or an error in time; at the end all is well."""
    chaos = Chaos(hub, store, open_fetcher(Chaos.LIMITS))
    with ThreadPoolExecutor(9) as pool:
        done: list[Future[None]] = [pool.submit(chaos.read, seed) for seed in range(8)]
        done.append(pool.submit(chaos.disturb))
        for future in done:
            future.result(60)
    assert (chaos.wrong, chaos.late) == ([], [])
    assert chaos.right > 10
    hub.faults.clear()
    hub.redirect = False
    place = Range(77, 99_999)
    assert bytes(chaos.fetcher.read(store.file, [place])[0]) == store.cut(place)


def test_an_environment_without_a_client_is_one_clear_error(
    store: Store, open_fetcher: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/certificates.pem")
    with pytest.raises(SourceError, match="SSL_CERT_FILE or SSL_CERT_DIR has no certificates"):
        open_fetcher().read(store.file, [Range(0, 9)])


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_regression_a_loop_that_cannot_start_lets_nobody_wait(
    store: Store, open_fetcher: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*given: object) -> None:
        raise OSError(24, "Too many open files")

    fetcher = open_fetcher()
    with monkeypatch.context() as patch:
        patch.setattr("hffs.data.remote.fetching.trio.run", fail)
        with pytest.raises(OutageError, match="no loop can be started"):
            fetcher.read(store.file, [Range(0, 9)])
    assert bytes(fetcher.read(store.file, [Range(0, 9)])[0]) == store.cut(Range(0, 9))


def test_an_address_of_another_kind_harms_nobody(store: Store, open_fetcher: Open) -> None:
    fetcher = open_fetcher()
    with pytest.raises(SourceError, match="nothing here reads such an address"):
        fetcher.read(RemoteFile("ftp://example.org/x", "", 9), [Range(0, 9)])
    assert bytes(fetcher.read(store.file, [Range(0, 9)])[0]) == store.cut(Range(0, 9))


@pytest.mark.parametrize("where", ["ftp://example.org/x", "file:///etc/passwd"])
def test_where_nothing_is_redirected_to(
    where: str, hub: HubServer, store: Store, open_fetcher: Open
) -> None:
    hub.faults += [Fail(RESOLVE, 302, headers={"Location": where}, times=None)]
    with pytest.raises(SourceError, match="it is redirected"):
        open_fetcher().read(store.file, [Range(0, 9)])
