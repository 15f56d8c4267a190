import base64
import gc
import logging
import re
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL.ImageFile import ImageFile

from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.data.rows import RowStore
from hffs.errors import DeadlineError, RenderError, StaleError, WorkerError
from hffs.view import codecs, content
from hffs.view.tree import Tree
from tests.view.conftest import OpenTree, encode, write_set


def _inode(tree: Tree, name: str) -> Inode:
    inode = tree.lookup(ROOT, name.encode())
    assert inode is not None
    return inode


@pytest.fixture
def source(tmp_path: Path) -> Path:
    images = [encode("PNG", 1), encode("JPEG", 2), encode("PNG", 3)[:300]]
    return write_set(tmp_path / "a.parquet", images, caption=["a", "b", "c"])


def test_many_who_wait_for_one_image_cost_one_rendering(
    open_tree: OpenTree, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    go = threading.Event()
    render = codecs.render

    def slow(data: memoryview, target: codecs.Target, reshape: codecs.Reshape) -> list[bytes]:
        calls.append(len(data))
        assert go.wait(10)
        return render(data, target, reshape)

    monkeypatch.setattr(codecs, "render", slow)
    tree = open_tree(source)
    waiting = [tree.request(_inode(tree, "0.jpg")) for _ in range(20)]
    go.set()
    images = {bytes(future.result(10)) for future in waiting}
    assert len(calls) == 1
    assert len(images) == 1


def test_what_is_fetched_and_passes_through_is_read_once(
    open_tree: OpenTree, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[int] = []
    load = RowStore.load

    def count(store: RowStore, cell: int) -> memoryview:
        loaded.append(cell)
        return load(store, cell)

    monkeypatch.setattr(RowStore, "waits_for_network", lambda store, cell: True)
    monkeypatch.setattr(RowStore, "copy", count)
    tree = open_tree(source)
    assert bytes(tree.request(_inode(tree, "1.jpg")).result(10)) == encode("JPEG", 2)
    assert loaded == [1]


def test_what_is_here_waits_for_nobody_who_waits_for_the_network(
    open_tree: OpenTree, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, load = threading.Event(), RowStore.load

    def wait(store: RowStore, cell: int) -> memoryview:
        assert cell == 1 or go_on.wait(10)
        return load(store, cell)

    monkeypatch.setattr(content, "FETCHERS", 1)
    monkeypatch.setattr(RowStore, "waits_for_network", lambda store, cell: cell != 1)
    monkeypatch.setattr(RowStore, "copy", wait)
    tree = open_tree(source)
    far = tree.request(_inode(tree, "0.jpg"))
    assert bytes(tree.request(_inode(tree, "1.jpg")).result(10)) == encode("JPEG", 2)
    assert not far.done()
    go_on.set()
    far.result(10)


def test_a_network_that_is_gone_is_told_once_not_for_each_image(
    open_tree: OpenTree,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(store: RowStore, cell: int) -> memoryview:
        raise DeadlineError("cannot fetch", f"shard {cell}", why="cannot connect to host")

    monkeypatch.setattr(RowStore, "waits_for_network", lambda store, cell: True)
    monkeypatch.setattr(RowStore, "copy", fail)
    tree = open_tree(source)
    for name in ("0.jpg", "1.jpg", "0.jpg"):
        with pytest.raises(DeadlineError):
            tree.request(_inode(tree, name)).result(10)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.endswith("cannot fetch shard 0: cannot connect to host")


def test_a_rendered_image_is_kept_for_the_next_mount(
    open_tree: OpenTree, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_tree(source)
    inode = _inode(first, "0.jpg")
    assert first.ready(inode) is None
    assert first.size_bytes(inode) is None
    image = bytes(first.request(inode).result(10))
    ready = first.ready(inode)
    assert ready is not None
    assert bytes(ready) == image
    monkeypatch.setattr(codecs, "render", None)
    again = open_tree(source)
    assert again.size_bytes(inode) == len(image)
    assert bytes(again.request(inode).result(10)) == image
    # Another filter of the same source finds it too.
    other = open_tree(source, filter_func__where="caption <> 'b'")
    assert bytes(other.request(_inode(other, "0.jpg")).result(10)) == image


@pytest.mark.parametrize("coding", ["base64", "deflate"])
def test_images_that_are_decoded_pass_through_with_their_size(
    coding: str, open_tree: OpenTree, tmp_path: Path
) -> None:
    images = [encode("JPEG", 1), encode("PNG", 2), encode("JPEG", 3)]
    if coding == "base64":
        cells = pa.array([base64.b64encode(image).decode() for image in images])
    else:
        cells = pa.array([f"zip://{number}::images.zip" for number in range(3)])
        with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for number, image in enumerate(images):
                archive.writestr(f"{number}", image)
    table = pa.table({"image": cells, "caption": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "a.parquet")
    tree = open_tree(tmp_path / "a.parquet")
    for number in (0, 2):
        inode = _inode(tree, f"{number}.jpg")
        assert tree.size_bytes(inode) == len(images[number])
        tree.prepare(inode)
        assert tree.ready(inode) is None
        assert tree.request(inode).result(10) == images[number]
        assert bytes(tree.ready(inode) or b"") == images[number]
    made = tree.request(_inode(tree, "1.jpg")).result(10)
    assert tree.size_bytes(_inode(tree, "1.jpg")) == len(made)


def _write_broken_texts(folder: Path, images: list[bytes]) -> pa.Array:
    texts = [base64.b64encode(image).decode() for image in images]
    return pa.array([text[:120] + "!" + text[121:] for text in texts[:2]] + texts[2:])


def _write_broken_archive(folder: Path, images: list[bytes]) -> pa.Array:
    with zipfile.ZipFile(folder / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for number, image in enumerate(images):
            archive.writestr(f"{number}", image)
    data = bytearray((folder / "images.zip").read_bytes())
    for entry in list(re.finditer(rb"PK\x01\x02", data))[:2]:
        data[entry.start() + 16] ^= 1  # the checksum in the directory
    (folder / "images.zip").write_bytes(data)
    return pa.array([f"zip://{number}::images.zip" for number in range(len(images))])


@pytest.mark.parametrize(
    ("write", "why"),
    [(_write_broken_texts, "base64"), (_write_broken_archive, "checksum is wrong")],
)
def test_regression_what_cannot_be_decoded_is_logged_once_and_named(
    write: Callable[[Path, list[bytes]], pa.Array],
    why: str,
    open_tree: OpenTree,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    images = [encode("JPEG", 1), encode("PNG", 2), encode("JPEG", 3)]
    cells = write(tmp_path, images)
    pq.write_table(pa.table({"image": cells}), tmp_path / "a.parquet")
    tree = open_tree(tmp_path / "a.parquet", images_only=True)
    for number in (0, 1):
        for _ in range(2):
            with pytest.raises(RenderError, match=rf"{number}\.jpg \(row {number} of .*{why}"):
                tree.request(_inode(tree, f"{number}.jpg")).result(10)
    assert tree.request(_inode(tree, "2.jpg")).result(10) == images[2]
    errors = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]
    assert [line.split(" (")[0] for line in errors] == [f"cannot render {n}.jpg" for n in (0, 1)]


def test_what_cannot_be_rendered_is_logged_once_and_named(
    open_tree: OpenTree, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = open_tree(source)
    inode = _inode(tree, "2.jpg")
    for _ in range(3):
        with pytest.raises(RenderError, match=r"cannot render 2\.jpg \(row 2 of .*a\.parquet\)"):
            tree.request(inode).result(10)
        assert tree.ready(inode) is None
    errors = [entry for entry in caplog.records if entry.levelno == logging.ERROR]
    assert len(errors) == 1
    assert tree.request(_inode(tree, "0.jpg")).result(10)


def test_a_worker_that_ended_fails_one_request_and_is_logged_once(
    open_tree: OpenTree,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> list[bytes]:
        raise WorkerError("cannot render", why="its process was killed (SIGKILL)")

    tree = open_tree(source)
    inode = _inode(tree, "0.jpg")
    with monkeypatch.context() as broken:
        broken.setattr(codecs, "render", fail)
        for _ in range(2):
            with pytest.raises(WorkerError):
                tree.request(inode).result(10)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith(f"0.jpg (row 0 of {source}): cannot render: its process was killed")
    assert tree.request(inode).result(10)


def test_regression_what_cannot_be_rendered_keeps_nothing_of_the_attempt(
    open_tree: OpenTree, source: Path
) -> None:
    tree = open_tree(source)
    before = _count_open_images()
    for _ in range(3):
        with pytest.raises(RenderError) as failed:
            tree.request(_inode(tree, "2.jpg")).result(10)
        assert failed.value.__cause__ is None
        assert failed.value.__context__ is None
    first, second = (tree.request(_inode(tree, "2.jpg")).exception(10) for _ in range(2))
    assert first is not second  # one that is raised again and again grows each time
    assert first is not None
    assert first.__traceback__ is None
    assert _count_open_images() == before


def _count_open_images() -> int:
    gc.collect()
    # By type: asking torch, which other tests load, makes it warn.
    return sum(issubclass(type(thing), ImageFile) for thing in gc.get_objects())


def test_a_source_that_changed_in_place_is_refused(
    open_tree: OpenTree, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tree = open_tree(source)
    tree.prepare(_inode(tree, "1.jpg"))
    with source.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"X")
    for name in ("1.jpg", "1.jpg", "0.jpg"):
        with pytest.raises(StaleError):
            tree.prepare(_inode(tree, name))
    tree.prepare(_inode(tree, "1.txt"))
    errors = [entry.getMessage() for entry in caplog.records if entry.levelno == logging.ERROR]
    why = f"cannot read {source}: it was changed while mounted; mount again"
    assert errors == [f"1.jpg (row 1 of {source}): {why}"]


def test_captions_are_there_at_once(open_tree: OpenTree, source: Path) -> None:
    tree = open_tree(source)
    inode = _inode(tree, "1.txt")
    ready = tree.ready(inode)
    assert ready is not None
    assert bytes(ready) == bytes(tree.request(inode).result(0)) == b"b"
