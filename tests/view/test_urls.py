"""Views of data sets whose images are at URLs, on a web server of this process."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from hffs.core.formats import MediaFormat
from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.data.urls import fetching
from hffs.errors import (
    AccessError,
    ConfigError,
    DataError,
    FetchError,
    OutageError,
    RenderError,
)
from hffs.view.tree import Tree
from tests.data.urls.server import Answer, Exchange, Server, serving
from tests.view.conftest import OpenTree, Quiet, encode, write_set
from tests.view.media import make_media, write_media

ALLOWED = {"allow_http_urls": True, "allow_private_urls": True}
JPEG, PNG = encode("JPEG", 1), encode("PNG", 2)


def gives(body: bytes) -> Answer:
    return lambda exchange: exchange.answer(body)


def fails(line: str) -> Answer:
    return lambda exchange: exchange.answer(b"", line)


@pytest.fixture
def server() -> Iterator[Server]:
    with ExitStack() as stack:
        answers = {"/0": gives(JPEG), "/1": gives(PNG), "/2": fails("404 Not Found")}
        yield stack.enter_context(serving(answers))


@pytest.fixture
def source(tmp_path: Path, server: Server) -> Path:
    return write(tmp_path, server, 3)


def write(folder: Path, server: Server, count: int) -> Path:
    urls = [server.url(f"/{number}", "127.0.0.1") for number in range(count)]
    captions = [str(number) for number in range(count)]
    return write_set(folder / "a.parquet", urls, caption=captions)


def inode(tree: Tree, name: str) -> Inode:
    found = tree.lookup(ROOT, name.encode())
    assert found is not None
    return found


def read(tree: Tree, name: str) -> bytes:
    return bytes(tree.request(inode(tree, name)).result(20))


def test_videos_at_urls_are_what_their_names_say_or_an_error(
    open_tree: OpenTree, tmp_path: Path
) -> None:
    mp4, webm = make_media(MediaFormat.MP4), make_media(MediaFormat.WEBM)
    with serving({"/a.mp4": gives(mp4), "/b.webm": gives(mp4), "/c.webm": gives(webm)}) as server:
        names = ["a.mp4", "b.webm", "c.webm", "d"]
        urls = [server.url(f"/{name}", "127.0.0.1") for name in names]
        source = write_media(tmp_path / "a.parquet", "video", urls, caption=list("abcd"))
        tree = open_tree(source, dataset_type="video", **ALLOWED)
        assert dict(tree.manifest.info.dropped) == {"name that tells no format of a video": 1}
        assert read(tree, "0.mp4") == mp4
        part = tree.request_part(inode(tree, "2.webm"), 10, 20).result(20)
        assert bytes(part) == webm[10:20]
        for _ in range(2):
            with pytest.raises(RenderError, match="it is MP4, and WEBM by its name"):
                read(tree, "1.webm")


def test_images_at_urls_are_fetched_when_they_are_read(
    open_tree: OpenTree, source: Path, server: Server
) -> None:
    tree = open_tree(source, **ALLOWED)
    names = [entry.name.decode() for entry in tree.entries(ROOT, 0)]
    assert names == ["0.jpg", "0.txt", "1.jpg", "1.txt", "2.jpg", "2.txt"]
    assert server.asked == []
    assert tree.size_bytes(inode(tree, "0.jpg")) is None
    assert read(tree, "0.jpg") == JPEG  # untouched
    made = read(tree, "1.jpg")
    assert made.startswith(b"\xff\xd8\xff")
    for name, image in (("0.jpg", JPEG), ("1.jpg", made)):
        tree.prepare(inode(tree, name))
        ready = tree.ready(inode(tree, name))
        assert ready is not None
        assert bytes(ready) == image
        assert tree.size_bytes(inode(tree, name)) == len(image)
    again = open_tree(source, **ALLOWED)
    assert again.size_bytes(inode(again, "0.jpg")) == len(JPEG)
    assert (read(again, "0.jpg"), read(again, "1.jpg")) == (JPEG, made)
    assert again.manifest.info.fingerprint == tree.manifest.info.fingerprint
    assert server.paths() == ["/0", "/1"]


def test_a_png_view_leaves_pngs_alone(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source, image_format="png", **ALLOWED)
    assert read(tree, "1.png") == PNG
    assert read(tree, "0.png").startswith(b"\x89PNG")


def test_what_a_url_does_not_give_is_logged_once(
    open_tree: OpenTree, source: Path, server: Server, caplog: pytest.LogCaptureFixture
) -> None:
    tree = open_tree(source, **ALLOWED)
    for _ in range(3):
        with pytest.raises(FetchError):
            read(tree, "2.jpg")
    errors = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]
    assert errors == [
        f"2.jpg (row 2 of {source}): cannot fetch {server.url('/2', '127.0.0.1')}: "
        "the server answers 404 (not found)"
    ]
    assert server.paths() == ["/2"]
    assert read(tree, "0.jpg") == JPEG


def test_an_outage_passes(
    open_tree: OpenTree, source: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "_TRIES", 1)
    monkeypatch.setattr(fetching, "RETRY_S", 0)
    answers = iter([fails("500 No")])
    server.answers["/0"] = lambda exchange: next(answers, gives(JPEG))(exchange)
    tree = open_tree(source, **ALLOWED)
    with pytest.raises(OutageError):
        read(tree, "0.jpg")
    assert read(tree, "0.jpg") == JPEG


def test_a_broken_image_is_one_that_cannot_be_rendered(
    open_tree: OpenTree, source: Path, server: Server
) -> None:
    server.answers["/1"] = gives(PNG[:300])
    tree = open_tree(source, **ALLOWED)
    for _ in range(2):
        with pytest.raises(DataError, match=r"cannot render 1\.jpg \(row 1 of"):
            read(tree, "1.jpg")
    assert server.paths() == ["/1"]


def test_waiting_for_a_host_holds_up_no_rendering(
    open_tree: OpenTree, tmp_path: Path, server: Server
) -> None:
    go = threading.Event()

    def slow(exchange: Exchange) -> None:
        assert go.wait(20)
        exchange.answer(JPEG)

    server.answers |= {f"/slow{number}": slow for number in range(5)}
    cells: list[object] = [
        {"bytes": None, "path": server.url(f"/slow{number}", "127.0.0.1")} for number in range(5)
    ]
    path = write_set(tmp_path / "mixed.parquet", [*cells, {"bytes": PNG, "path": None}])
    tree = open_tree(path, images_only=True, **ALLOWED)  # of two workers
    waiting = [tree.request(inode(tree, f"{number}.jpg")) for number in range(5)]
    assert read(tree, "5.jpg").startswith(b"\xff\xd8\xff")
    go.set()
    assert {bytes(each.result(20)) for each in waiting} == {JPEG}


def test_regression_a_host_that_hangs_holds_up_no_other_host(
    open_tree: OpenTree, tmp_path: Path, server: Server
) -> None:
    go = threading.Event()

    def hang(exchange: Exchange) -> None:
        assert go.wait(20)
        exchange.answer(JPEG)

    count = 40  # more than all hosts together are sent
    server.answers |= {f"/hangs{number}": hang for number in range(count)}
    urls = [server.url(f"/hangs{number}", "127.1") for number in range(count)]
    path = write_set(tmp_path / "hosts.parquet", [*urls, server.url("/0", "127.0.0.1")])
    tree = open_tree(path, images_only=True, **ALLOWED)
    waiting = [tree.request(inode(tree, f"{number}.jpg")) for number in range(count)]
    assert read(tree, f"{count}.jpg") == JPEG
    assert not any(each.done() for each in waiting)
    go.set()
    assert {bytes(each.result(20)) for each in waiting} == {JPEG}


def test_nothing_private_or_plain_is_fetched_unless_allowed(
    open_tree: OpenTree, source: Path, server: Server, watcher: Quiet
) -> None:
    tree = open_tree(source)
    notice = "3 of the 3 image URLs of {} are http, and are not fetched without --allow-http-urls"
    assert notice.format(source) in watcher.notices
    with pytest.raises(AccessError, match="http URLs are not fetched"):
        read(tree, "0.jpg")
    tree = open_tree(source, allow_http_urls=True)
    with pytest.raises(AccessError, match="not an address of the open internet"):
        read(tree, "0.jpg")
    assert server.asked == []


def test_offline_only_what_was_fetched_is_there(
    open_tree: OpenTree, source: Path, server: Server
) -> None:
    assert read(open_tree(source, **ALLOWED), "0.jpg") == JPEG
    tree = open_tree(source, offline=True, **ALLOWED)
    assert read(tree, "0.jpg") == JPEG
    with pytest.raises(OutageError, match="offline, and it is not in the cache"):
        read(tree, "1.jpg")
    assert server.paths() == ["/0"]


def test_the_true_extension_is_not_known(open_tree: OpenTree, source: Path) -> None:
    with pytest.raises(ConfigError, match=r"images of image are at URLs.*; use jpg or png"):
        open_tree(source, image_format="source", **ALLOWED)


def test_size_filters_fetch_every_image_once(
    open_tree: OpenTree, source: Path, server: Server, watcher: Quiet
) -> None:
    for _ in range(2):
        tree = open_tree(source, filter_func__min_width=10, **ALLOWED)
        assert tree.manifest.info.dropped == (("size could not be measured", 1),)
        assert read(tree, "0.jpg") == JPEG
    assert sorted(server.paths()) == ["/0", "/1", "/2"]


def test_images_that_could_not_be_fetched_are_measured_by_the_next_mount(
    open_tree: OpenTree,
    source: Path,
    server: Server,
    watcher: Quiet,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fetching, "_TRIES", 1)
    server.answers["/1"] = fails("503 No")
    first = open_tree(source, filter_func__min_width=10, **ALLOWED)
    assert first.manifest.info.unsettled == 1
    assert first.positions == 1
    assert any("1 images of" in notice and "next mount" in notice for notice in watcher.notices)
    server.answers["/1"] = gives(PNG)
    second = open_tree(source, filter_func__min_width=10, **ALLOWED)
    assert second.manifest.info.unsettled == 0
    assert second.positions == 2
    third = open_tree(source, filter_func__min_width=10, **ALLOWED)
    assert third.positions == 2
    assert sorted(server.paths()) == ["/0", "/1", "/1", "/2"]


def test_images_are_measured_by_many_threads(
    open_tree: OpenTree, tmp_path: Path, server: Server
) -> None:
    meeting = threading.Barrier(8, timeout=60)

    def meet(exchange: Exchange) -> None:
        meeting.wait()
        exchange.answer(JPEG)

    server.answers |= {f"/{number}": meet for number in range(16)}
    tree = open_tree(write(tmp_path, server, 16), filter_func__min_width=10, **ALLOWED)
    assert tree.positions == 16


def test_what_a_rule_forbids_is_measured_once_it_is_allowed(
    open_tree: OpenTree, source: Path
) -> None:
    with pytest.raises(DataError, match="size could not be measured: 3"):
        open_tree(source, filter_func__min_width=10)
    assert open_tree(source, filter_func__min_width=10, **ALLOWED).positions == 2


def test_upright_is_found_when_an_image_is_read(
    open_tree: OpenTree, source: Path, server: Server
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    file = io.BytesIO()
    Image.open(io.BytesIO(PNG)).save(file, "JPEG", exif=exif)
    server.answers["/1"] = gives(file.getvalue())
    tree = open_tree(source, orientation="upright", **ALLOWED)
    assert server.asked == []
    assert read(tree, "0.jpg") == JPEG
    with Image.open(io.BytesIO(read(tree, "1.jpg"))) as turned:
        assert turned.size == (30, 40)


def test_tiles_are_cut_of_what_is_fetched(open_tree: OpenTree, source: Path) -> None:
    grid = {
        "composite_image_config__image_count": 2,
        "composite_image_config__enabled": True,
        "composite_image_config__select_index": "all",
        "composite_image_config__layout": "horizontal",
    }
    tree = open_tree(source, **grid, **ALLOWED)
    for name in ("0.jpg", "1.jpg", "2.jpg"):
        with Image.open(io.BytesIO(read(tree, name))) as tile:
            assert tile.size == (20, 30)


def test_a_mount_without_urls_does_not_carry_what_fetches(tmp_path: Path) -> None:
    path = write_set(tmp_path / "a.parquet", [PNG], caption=["a"])
    code = (
        "import os, sys\n"
        "from hffs.config import build_config\n"
        "from hffs.view.opening import open_view\n"
        "from tests.view.conftest import Quiet\n"
        "config = build_config(sys.argv[1], {}, None, os.environ)\n"
        "with open_view(config, Quiet(), 1):\n"
        "    print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "hffs.view.content" in loaded
    assert not loaded & {"httpcore2", "httpx2", "hffs.data.urls.fetching"}
