"""That the benchmark of remote mode counts right, on little; it times nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.bench import remote
from tests.bench.machine import LeftOutError
from tests.bench.remote_filter import MIN_SCORE, MIN_WIDTH, REPO
from tests.bench.remote_homes import Cost, Home, Link, LinkedHub, spend
from tests.bench.remote_memory import MARK, Watch
from tests.bench.remote_rows import (
    ROWS_A_PAGE,
    ROWS_A_SHARD,
    Photos,
    count_image_bytes,
    write_many,
    write_photos,
)
from tests.hub import Logged, fetch


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Photos:
    return write_photos(tmp_path_factory.mktemp("rows"), 80, 20_000)


@pytest.fixture
def linked(photos: Photos) -> Iterator[LinkedHub]:
    with LinkedHub() as hub:
        hub.add(REPO).write_all(photos.files)
        yield hub


def _sum_sizes(photos: Photos) -> int:
    return sum(path.stat().st_size for path in photos.shards)


def test_the_shards_are_as_datasets_writes_them_and_the_filter_keeps_what_is_told(
    photos: Photos,
) -> None:
    footers = [pq.read_metadata(path) for path in photos.shards]
    chunks = [footer.row_group(0).column(0) for footer in footers]
    assert {(each.path_in_schema, each.compression) for each in chunks} == {
        ("image.bytes", "UNCOMPRESSED")
    }
    assert all(each.has_offset_index for each in chunks)
    rows = [row for path in photos.shards for row in pq.read_table(path).to_pylist()]
    kept = [
        number
        for number, row in enumerate(rows)
        if row["width"] >= MIN_WIDTH and row["score"] >= MIN_SCORE
    ]
    assert list(photos.kept) == kept
    assert sum(len(row["image"]["bytes"]) for row in rows) == photos.image_bytes


def test_many_shards_differ_and_have_a_page_for_ten_images(tmp_path: Path) -> None:
    paths = write_many(tmp_path, 3)
    assert len({path.read_bytes() for path in paths}) == 3
    footer = pq.read_metadata(paths[2])
    assert (footer.num_rows, footer.row_group(0).column(0).has_offset_index) == (ROWS_A_SHARD, True)
    images = pq.read_table(paths[2], columns=["image"])["image"].to_pylist()
    assert images[0]["bytes"].endswith(b"00000002")
    assert images[1:] == pq.read_table(paths[0], columns=["image"])["image"].to_pylist()[1:]
    chunk = footer.row_group(0).column(0)
    header_bytes = 10  # the least that the header of a page takes
    pages = 1000 // ROWS_A_PAGE
    values = sum(4 + len(image["bytes"]) for image in images[:1000])
    assert chunk.total_compressed_size >= values + pages * header_bytes


def _log(path: str, asked: str | None, sent: int) -> Logged:
    return Logged("GET", path, "", asked, 206, sent, None)


def test_image_bytes_are_those_of_its_pages_but_in_the_tail(photos: Photos) -> None:
    shard, size = photos.shards[1], photos.shards[1].stat().st_size
    chunk = pq.read_metadata(shard).row_group(0).column(0)
    start, stop = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
    at = f"/datasets/{REPO}/resolve/main/data/{shard.name}"

    def count(asked: str | None, sent: int, path: str = at) -> int:
        return count_image_bytes([_log(path, asked, sent)], photos.shards)

    assert count(f"bytes={start}-{start + 9}", 10) == 10
    assert count(f"bytes={start + 5}-{start + 9}", 0) == 0
    assert count(f"bytes=0-{start + 9}", start + 10) == 10
    assert count(f"bytes={stop - 5}-{stop + 4}", 10) == 5
    assert count(None, size) == stop - start
    assert count("bytes=-65536", 65536) == 0
    assert count(f"bytes={size - 65536}-", 65536) == 0
    assert count(None, 99, "/api/datasets/owner/photos") == 0
    assert count(f"bytes={start}-", 10, at.replace(shard.name, "other.parquet")) == 0


def test_costs_are_those_of_the_log(linked: LinkedHub) -> None:
    path = f"/datasets/{REPO}/resolve/main/data/train-00000-of-00004.parquet"

    def work() -> str:
        fetch(linked.endpoint, path, {"Range": "bytes=0-99"})
        fetch(linked.endpoint, path, method="HEAD")
        return "done"

    fetch(linked.endpoint, path)
    cost, made = spend(linked, work)
    assert (cost.bytes, cost.requests, made) == (100, 2, "done")


def test_answers_share_the_rate_of_a_line(
    linked: LinkedHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked.use(Link(bytes_per_s=1e6))
    waits: list[float] = []
    monkeypatch.setattr(linked, "_pause", waits.append)
    linked._transmit(1_000_000)
    linked._transmit(1_000_000)
    assert waits[0] == pytest.approx(1)
    assert waits[1] > waits[0] + 0.5


def _compare(linked: LinkedHub, photos: Photos, *names: str) -> remote.Told:
    contenders = {name: remote.CONTENDERS[name] for name in names}
    return remote.compare(linked, photos, contenders, 1)


@pytest.mark.parametrize(
    "name",
    [
        "datasets, streaming, columns= then a shard",
        "pyarrow, batches, cache_type=none",
        "DuckDB, HfFileSystem",
    ],
)
def test_a_peer_reads_the_image_that_is_wanted(
    name: str, linked: LinkedHub, photos: Photos
) -> None:
    cost = _compare(linked, photos, name)[name]
    one = photos.image_bytes / photos.rows
    assert one < cost["bytes"] < 2 * _sum_sizes(photos)
    assert cost["requests"] > 4


@pytest.mark.fuse
def test_what_is_fetched_for_a_mount_is_counted(linked: LinkedHub, photos: Photos) -> None:
    told = remote.add_ratios(_compare(linked, photos, "hffs, download"), "hffs, download")
    whole = _sum_sizes(photos)
    assert whole < told["hffs, download"]["bytes"] < 1.1 * whole
    assert told["hffs, download"]["times bytes"] == 1
    epochs = remote.read_epochs(linked, photos, ())
    assert whole < epochs["mount"]["bytes"] < 1.1 * whole
    for name in ("first", "second", "after a new mount"):
        assert epochs[name]["files"] == 2 * photos.rows
        assert epochs[name]["read_bytes"] > photos.image_bytes
        assert epochs[name]["fetched_bytes"] == 0
    assert 1 < epochs["first"]["fetched with mount / read"] < 1.1
    listed = remote.list_files(linked, photos, ())
    assert photos.image_bytes < listed["mount"]["image_bytes"] < whole
    assert [listed[name]["bytes"] for name in ("ls", "ls -l")] == [0, 0]


@pytest.mark.fuse
def test_orders_are_read_each_on_a_mount_of_its_own(linked: LinkedHub, photos: Photos) -> None:
    told = remote.read_orders(linked, photos, ())
    for name in ("shuffled", "in sequence", "in sequence, one reader"):
        assert told[name]["files"] == 2 * photos.rows
        assert told[name]["fetched_bytes"] > _sum_sizes(photos)
    for name in ("shuffled, --order", "shuffled, after hffs warm"):
        assert told[name].get("files", 2 * photos.rows) == 2 * photos.rows


@pytest.mark.fuse
def test_tars_are_mounted_both_ways() -> None:
    told = remote.run_tars(32, 60_000, 1, (remote.FAST,))
    assert len(told) == 2
    for tree in told.values():
        streamed, downloaded = tree["hffs --streaming"], tree["hffs, download"]
        assert streamed["first, an image"]["bytes"] < downloaded["first, an image"]["bytes"]
        assert streamed["again"]["bytes"] < 10_000


@pytest.mark.fuse
def test_memory_is_that_of_the_daemon_and_of_who_decides(tmp_path: Path) -> None:
    paths = write_many(tmp_path, 2)
    with LinkedHub() as hub:
        hub.add(REPO).write_all({f"data/{path.name}": path for path in paths})
        told = remote.measure_scale(hub, ())
    for name in ("first", "again"):
        assert told[name]["daemon"]["resident_bytes"] > 10_000_000
        assert told[name]["daemon"]["anonymous_bytes"] > 1_000_000
    assert told["first"]["largest other"]["resident_bytes"] > 10_000_000
    assert told["first"]["mount"]["bytes"] > sum(path.stat().st_size for path in paths)
    assert told["again"]["mount"]["bytes"] < 10_000


def test_only_marked_processes_are_watched() -> None:
    code = "data = b'x' * 50_000_000; print(flush=True); input()"
    found = {}
    for mark in ("mine", "another"):
        environ = os.environ | {MARK: mark}
        command = [sys.executable, "-c", code]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ, text=True
        ) as process:
            assert process.stdout
            process.stdout.readline()
            with Watch("mine") as watch:
                found[mark] = watch.look().get(process.pid)
            process.communicate("\n")
    peak = found["mine"]
    assert peak
    assert peak.resident_bytes > peak.anonymous_bytes > 50_000_000
    assert found["another"] is None


@pytest.mark.fuse
def test_streaming_is_measured(linked: LinkedHub, photos: Photos) -> None:
    told = _compare(linked, photos, "hffs --streaming")["hffs --streaming"]
    assert told["bytes"] < _sum_sizes(photos)


def test_a_contender_that_fails_is_left_out_and_one_that_errs_ends_it(
    linked: LinkedHub, photos: Photos
) -> None:
    def fail(home: Home, position: int) -> str:
        return home.python("tests.bench.no_such_module", str(position))

    contenders: Mapping[str, remote.Contender] = {"none": fail}
    told = remote.compare(linked, photos, contenders, 2)
    assert re.search("No module named", told["none"]["left out"])
    assert remote.add_ratios(told, "none") == told
    with pytest.raises(SystemExit, match="read 'row 1', not"):
        remote.compare(linked, photos, {"wrong": lambda *_: "row 1"}, 1)
    with Home(linked) as home, pytest.raises(LeftOutError, match="hffs: "):
        home.mount("--split", "absent")


def test_figures_are_medians_beside_ours() -> None:
    ours = remote._summarize([Cost(10, 1, 1.0), Cost(30, 1, 3.0), Cost(20, 4, 2.0)])
    assert ours == {"bytes": 20, "requests": 1, "seconds": 2.0}
    told = remote.add_ratios(
        {"hffs --streaming": ours, "other": remote._summarize([Cost(60, 1, 1)])}
    )
    assert (told["other"]["times bytes"], told["other"]["times seconds"]) == (3, 0.5)
    trees = [{"a": {"b": n}, "c": "left"} for n in (1, 5, 2)]
    assert remote._take_median(trees) == {"a": {"b": 2}, "c": "left"}
    assert list(remote.show({"a": {"b": 2.0}, "c": {"d": {"e": 1234}}})) == [
        f"{'a':<44} b 2",
        "c",
        f"  {'d':<44} e 1,234",
    ]
