"""Columns of URLs through the real command and a real mount, from a web server of this process."""

from __future__ import annotations

import errno
import io
import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.command import Hffs, Mount
from tests.data.urls.server import Answer, Exchange, Server, serving

pytestmark = pytest.mark.fuse

ALLOWED = ("--allow-http-urls", "--allow-private-urls")


def _encode(kind: str, seed: int, width: int = 40) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (30, width, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


IMAGES = (_encode("JPEG", 0), _encode("PNG", 1), _encode("JPEG", 2, width=400))
CAPTIONS = ("a red kite", "two boats", "Hügel, grün")


def _gives(body: bytes) -> Answer:
    return lambda exchange: exchange.answer(body)


def _fails(line: str) -> Answer:
    return lambda exchange: exchange.answer(b"", line)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving({f"/{n}.img": _gives(image) for n, image in enumerate(IMAGES)}) as server:
        yield server


def _urls(server: Server, count: int) -> list[str]:
    return [server.url(f"/{n}.img", "127.0.0.1") for n in range(count)]


def _jsonl(folder: Path, urls: list[str]) -> Path:
    captions = [CAPTIONS[n] if n < len(CAPTIONS) else str(n) for n in range(len(urls))]
    rows = [{"url": u, "caption": c} for u, c in zip(urls, captions, strict=True)]
    path = folder / "photos.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _parquet(folder: Path, urls: list[str]) -> Path:
    table = pa.table({"url": urls, "caption": list(CAPTIONS)[: len(urls)]})
    pq.write_table(table, folder / "photos.parquet")
    return folder / "photos.parquet"


def _errno(path: Path) -> str:
    """Name of what reading a file fails with."""
    with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno is what is asked for
        path.read_bytes()
    return errno.errorcode[caught.value.errno or 0]


@pytest.mark.parametrize("write", [_jsonl, _parquet])
def test_images_at_urls_are_files(
    write: Callable[[Path, list[str]], Path],
    server: Server,
    tmp_path: Path,
    hffs: Hffs,
    mount: Mount,
) -> None:
    source = write(tmp_path, _urls(server, 3))
    folder = mount(source, *ALLOWED)
    assert os.listdir(folder) == [f"{n}.{end}" for n in range(3) for end in ("jpg", "txt")]
    assert [(folder / f"{n}.txt").read_text() for n in range(3)] == list(CAPTIONS)
    assert server.asked == []
    sizes = [(folder / f"{n}.jpg").stat().st_size for n in range(3)]
    read = [(folder / f"{n}.jpg").read_bytes() for n in range(3)]
    assert sizes == list(map(len, read))
    assert (read[0], read[2]) == (IMAGES[0], IMAGES[2])
    with Image.open(io.BytesIO(read[1])) as made:
        assert (made.format, made.size) == ("JPEG", (40, 30))
    assert sorted(server.paths()) == ["/0.img", "/1.img", "/2.img"]
    described = hffs.describe(folder) or {}
    hffs("umount", folder)
    again = mount(source, *ALLOWED)
    assert [(again / f"{n}.jpg").read_bytes() for n in range(3)] == read
    assert len(server.asked) == 3
    assert (hffs.describe(again) or {})["fingerprint"] == described["fingerprint"]


def test_a_listing_with_sizes_fetches_each_once(
    server: Server, tmp_path: Path, mount: Mount
) -> None:
    folder = mount(_jsonl(tmp_path, _urls(server, 3)), *ALLOWED)
    for _ in range(2):
        sizes = {entry.name: entry.stat().st_size for entry in os.scandir(folder)}
        assert sizes["0.jpg"] == len(IMAGES[0])
    assert sorted(server.paths()) == ["/0.img", "/1.img", "/2.img"]


def test_what_a_url_does_not_give_is_an_errno(
    server: Server, tmp_path: Path, hffs: Hffs, mount: Mount
) -> None:
    server.answers |= {
        "/1.img": _fails("404 Not Found"),
        "/2.img": _gives(b"<!doctype html><html></html>"),
        "/3.img": _gives(IMAGES[1][:300]),
    }
    folder = mount(_jsonl(tmp_path, _urls(server, 4)), *ALLOWED)
    for _ in range(2):
        found = [_errno(folder / f"{n}.jpg") for n in (1, 2, 3)]
        assert found == ["EIO", "EIO", "EIO"]
    assert (folder / "0.jpg").read_bytes() == IMAGES[0]
    assert sorted(server.paths()) == [f"/{n}.img" for n in range(4)]
    said = [line for line in hffs.log().splitlines() if "ERROR" in line]
    assert [sum(f"{n}.jpg (row {n}" in line for line in said) for n in (1, 2, 3)] == [1, 1, 1]
    assert any("404" in line for line in said)


def test_nothing_is_fetched_that_is_not_allowed(
    server: Server, tmp_path: Path, hffs: Hffs, mount: Mount
) -> None:
    source = _jsonl(tmp_path, _urls(server, 3))
    (tmp_path / "mnt").mkdir()
    told = hffs.run("mount", source, tmp_path / "mnt")
    assert told.returncode == 0
    assert "3 of the 3 image URLs" in told.stderr
    assert "--allow-http-urls" in told.stderr
    assert _errno(tmp_path / "mnt/0.jpg") == "EACCES"
    hffs("umount", tmp_path / "mnt")
    assert _errno(mount(source, "--allow-http-urls") / "0.jpg") == "EACCES"
    assert server.asked == []


def test_another_image_than_before_is_stale(
    server: Server, tmp_path: Path, hffs: Hffs, mount: Mount
) -> None:
    source = _jsonl(tmp_path, _urls(server, 2))
    folder = mount(source, *ALLOWED)
    assert (folder / "0.jpg").read_bytes() == IMAGES[0]
    hffs("umount", folder)
    for path in (tmp_path / "cache/hffs/store/blobs").rglob("*"):  # as if it had been evicted
        if path.is_file():
            path.unlink()
    server.answers["/0.img"] = _gives(IMAGES[2])
    folder = mount(source, *ALLOWED)
    assert _errno(folder / "0.jpg") == "ESTALE"
    assert (folder / "1.jpg").read_bytes().startswith(b"\xff\xd8")


def test_offline_only_what_was_fetched_is_there(
    server: Server, tmp_path: Path, hffs: Hffs, mount: Mount
) -> None:
    source = _jsonl(tmp_path, _urls(server, 3))
    folder = mount(source, *ALLOWED)
    assert (folder / "0.jpg").read_bytes() == IMAGES[0]
    hffs("umount", folder)
    folder = mount(source, "--offline", *ALLOWED)
    assert (folder / "0.jpg").read_bytes() == IMAGES[0]
    assert _errno(folder / "1.jpg") == "EIO"
    assert server.paths() == ["/0.img"]


def test_size_filters_fetch_and_count(
    server: Server, tmp_path: Path, hffs: Hffs, mount: Mount
) -> None:
    server.answers["/3.img"] = _fails("404 Not Found")
    source = _jsonl(tmp_path, _urls(server, 4))
    folder = mount(source, "--min-width", "100", *ALLOWED)
    assert os.listdir(folder) == ["0.jpg", "0.txt"]
    assert (folder / "0.jpg").read_bytes() == IMAGES[2]
    assert (folder / "0.txt").read_text() == CAPTIONS[2]
    told = json.loads(hffs("inspect", source, "--min-width", "100", "--json", *ALLOWED))
    assert "size could not be measured" in json.dumps(told)
    assert sorted(server.paths()) == [f"/{n}.img" for n in range(4)]


def test_two_readers_are_one_request(server: Server, tmp_path: Path, mount: Mount) -> None:
    asked, go = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        asked.set()
        assert go.wait(20)
        exchange.answer(IMAGES[0])

    server.answers["/0.img"] = slow
    folder = mount(_jsonl(tmp_path, _urls(server, 1)), *ALLOWED)
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit((folder / "0.jpg").read_bytes) for _ in range(4)]
        assert asked.wait(20)
        go.set()
        assert {each.result(20) for each in waiting} == {IMAGES[0]}
    assert server.paths() == ["/0.img"]


ENDED = (
    (["cat"], signal.SIGKILL),
    (["cat"], signal.SIGTERM),
    ([sys.executable, "-c", "import sys; open(sys.argv[1], 'rb').read()"], signal.SIGINT),
)


def test_regression_readers_that_wait_can_be_ended(
    server: Server, tmp_path: Path, mount: Mount
) -> None:
    asked, go = threading.Event(), threading.Event()

    def slow(exchange: Exchange) -> None:
        asked.set()
        assert go.wait(60)
        exchange.answer(IMAGES[0])

    server.answers |= {f"/{n}.img": slow for n in range(len(ENDED))}
    server.answers["/3.img"] = _gives(IMAGES[2])
    folder = mount(_jsonl(tmp_path, _urls(server, 4)), *ALLOWED)
    for n, (program, told) in enumerate(ENDED):
        asked.clear()
        reader = subprocess.Popen(
            [*program, folder / f"{n}.jpg"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        assert asked.wait(20)
        reader.send_signal(told)
        _, said = reader.communicate(timeout=15)
        assert reader.returncode == -told
        assert told != signal.SIGINT or said.rstrip().endswith(b"KeyboardInterrupt")
    assert (folder / "3.jpg").read_bytes() == IMAGES[2]
    go.set()
    assert [(folder / f"{n}.jpg").read_bytes() for n in range(3)] == [IMAGES[0]] * 3
    assert len(server.asked) == 4


def test_regression_many_readers_that_wait_hold_nobody_up(
    server: Server, tmp_path: Path, mount: Mount
) -> None:
    readers = 160
    go = threading.Event()

    def slow(exchange: Exchange) -> None:
        assert go.wait(60)
        exchange.answer(IMAGES[0])

    server.answers |= {f"/{n}.img": slow for n in range(readers)}
    folder = mount(_jsonl(tmp_path, _urls(server, readers)), *ALLOWED)
    begun = threading.Barrier(readers + 1)

    def read(n: int) -> bytes:
        begun.wait(60)
        return (folder / f"{n}.jpg").read_bytes()

    with ThreadPoolExecutor(readers + 1) as pool:
        waiting = [pool.submit(read, n) for n in range(readers)]
        try:
            begun.wait(60)
            for n in range(0, readers, 4):  # more and more of them wait meanwhile
                assert pool.submit((folder / f"{n}.txt").read_text).result(15)
        finally:
            go.set()
        assert {each.result(60) for each in waiting} == {IMAGES[0]}


@pytest.mark.parametrize("is_trickling", [False, True])
def test_sigterm_ends_a_mount_whose_fetch_hangs(
    is_trickling: bool, server: Server, tmp_path: Path, hffs: Hffs, mount: Mount
) -> None:
    asked = threading.Event()

    def hang(exchange: Exchange) -> None:
        asked.set()
        if is_trickling:
            exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while not server.stopping.wait(0.05):
            if is_trickling:
                exchange.send(b"\xff\xd8\xff")

    server.answers["/0.img"] = hang
    folder = mount(_jsonl(tmp_path, _urls(server, 2)), *ALLOWED)
    pid = hffs.pid(folder)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(_errno, folder / "0.jpg")
        assert asked.wait(20)
        assert (folder / "1.jpg").read_bytes().startswith(b"\xff\xd8")  # others are served
        watch = os.pidfd_open(pid)
        os.kill(pid, signal.SIGTERM)
        assert select.select([watch], [], [], 8)[0]  # readable when it has ended
        os.close(watch)
        assert waiting.result(8) in {"EIO", "ENOTCONN", "ECONNABORTED", "EINTR", "ETIMEDOUT"}
    assert not os.path.ismount(folder)
