"""Views of tiles and of turned images: which files there are, and what is in them."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from hffs.core.inodes import ROOT
from hffs.errors import ConfigError
from hffs.view import codecs
from hffs.view.tree import Tree
from tests.view.conftest import OpenTree, Quiet, encode, write_set

Pixels = NDArray[np.uint8]
COLOURS = [(250, 0, 0), (0, 250, 0), (0, 0, 250), (250, 250, 0), (0, 250, 250), (250, 0, 250)]


def grid(rows: int, columns: int, kind: str = "PNG", *, edge: int = 32, first: int = 0) -> bytes:
    """Tiles of one colour each, row by row."""
    picked = [COLOURS[(first + number) % len(COLOURS)] for number in range(rows * columns)]
    pixels = np.array(picked, np.uint8).reshape(rows, columns, 3)
    return save(pixels.repeat(edge, 0).repeat(edge, 1), kind)


def save(pixels: Pixels, kind: str, orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, exif=exif, quality=95, subsampling=0, lossless=True)
    return file.getvalue()


def read(tree: Tree, name: str) -> bytes:
    inode = tree.lookup(ROOT, name.encode())
    assert inode is not None, name
    ready = tree.ready(inode)
    return bytes(tree.request(inode).result(20) if ready is None else ready)


def colour(data: bytes) -> int:
    """Which of `COLOURS` an image is all over."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    (found,) = {
        int(np.abs(np.array(COLOURS) - pixel).sum(1).argmin()) for pixel in pixels.reshape(-1, 3)
    }
    return found


def names(tree: Tree) -> list[str]:
    return [entry.name.decode() for entry in tree.entries(ROOT, 0)]


def composite(**keys: object) -> dict[str, object]:
    block = {"enabled": True} | keys
    return {f"composite_image_config__{name}": value for name, value in block.items()}


@pytest.mark.parametrize(
    ("shape", "keys"),
    [
        ((1, 2), {"image_count": 2}),
        ((1, 2), {"image_count": 2, "layout": "horizontal"}),
        ((2, 1), {"image_count": 2, "layout": "vertical"}),
        ((2, 2), {"image_count": 4}),
        ((1, 4), {"image_count": 4, "layout": "1x4"}),
        ((3, 3), {"image_count": 9}),
        ((2, 3), {"image_count": 6, "layout": "2x3"}),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_all_tiles_of_a_grid(
    open_tree: OpenTree, tmp_path: Path, shape: tuple[int, int], keys: dict[str, object], kind: str
) -> None:
    rows, columns = shape
    images = [grid(rows, columns, kind), grid(rows, columns, kind, first=1)]
    source = write_set(tmp_path / "a.parquet", images, caption=["one", "two"])
    tree = open_tree(source, **composite(select_index="all", **keys))
    each = rows * columns
    assert names(tree) == [f"{n}.{kind}" for n in range(2 * each) for kind in ("jpg", "txt")]
    for position in range(2 * each):
        image = read(tree, f"{position}.jpg")
        assert colour(image) == (position // each + position % each) % len(COLOURS)
        assert Image.open(io.BytesIO(image)).size == (32, 32)
        assert read(tree, f"{position}.txt") == (b"one" if position < each else b"two")
        inode = tree.lookup(ROOT, f"{position}.jpg".encode())
        assert inode is not None
        facts = tree.xattrs(inode)
        assert (facts["user.hffs.row"], facts["user.hffs.tile"]) == (
            str(position // each).encode(),
            str(position % each).encode(),
        )


def test_some_tiles_and_their_numbers(open_tree: OpenTree, tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.parquet", [grid(2, 2)] * 2, caption=["a", "b"], n=[0, 1])
    tree = open_tree(source, images_only=True, **composite(image_count=4, select_index=[3, 1]))
    assert [colour(read(tree, f"{position}.jpg")) for position in range(4)] == [1, 3, 1, 3]
    only = {"images_only": True, "names": "row", "filter_func__where": "n = 1"}
    one = open_tree(source, **only, **composite(image_count=4, select_index=2))
    assert names(one) == ["1.jpg"]
    assert colour(read(one, "1.jpg")) == 2
    more = open_tree(source, **only, **composite(image_count=4, select_index=[0, 2]))
    assert names(more) == ["4.jpg", "6.jpg"]
    every = open_tree(source, **only, **composite(image_count=4, select_index="all"))
    assert names(every) == ["4.jpg", "5.jpg", "6.jpg", "7.jpg"]


def test_tiles_keep_the_format_of_the_source(open_tree: OpenTree, tmp_path: Path) -> None:
    images = [grid(1, 2, kind) for kind in ("JPEG", "PNG", "WEBP")]
    source = write_set(tmp_path / "a.parquet", images, caption=list("abc"))
    keys = composite(image_count=2)
    tree = open_tree(source, image_format="source", images_only=True, **keys)
    assert names(tree) == ["0.jpg", "1.png", "2.png"]
    for name in names(tree):
        opened = Image.open(io.BytesIO(read(tree, name)))
        assert (opened.format, opened.size) == ("JPEG" if name.endswith("jpg") else "PNG", (32, 32))


def test_the_tiles_of_an_image_are_made_at_once(
    open_tree: OpenTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    render = codecs.render

    def count(data: memoryview, *rest: object) -> list[bytes]:
        calls.append(len(data))
        return render(data, *rest)  # type: ignore[arg-type] # as they were given

    monkeypatch.setattr(codecs, "render", count)
    source = write_set(tmp_path / "a.parquet", [grid(2, 2)], caption=["a"])
    keys = composite(image_count=4, select_index="all")
    tree = open_tree(source, **keys)
    assert [entry.size_bytes for entry in tree.entries(ROOT, 0)] == [None, 1] * 4
    made = [read(tree, f"{position}.jpg") for position in range(4)]
    sizes = [entry.size_bytes for entry in tree.entries(ROOT, 0)]
    assert sizes == [size for image in made for size in (len(image), 1)]
    again = open_tree(source, **keys)
    assert [read(again, f"{position}.jpg") for position in range(4)] == made
    other = open_tree(source, **composite(image_count=4, select_index=[1, 3]))
    assert [read(other, f"{position}.jpg") for position in range(2)] == [made[1], made[3]]
    assert len(calls) == 1


def test_limits_mean_the_tile_and_small_images_are_left_out(
    open_tree: OpenTree, tmp_path: Path, watcher: Quiet
) -> None:
    sizes = [(100, 60), (200, 60), (1, 60), (300, 20), (400, 90)]
    images = [encode("PNG", seed, size) for seed, size in enumerate(sizes)]
    columns = {"w": [size[0] for size in sizes], "h": [size[1] for size in sizes]}
    source = write_set(tmp_path / "a.parquet", images, caption=list("abcde"), **columns)
    keys = composite(image_count=2, layout="horizontal")
    for where in ({}, {"width_column": "w", "height_column": "h"}):
        tree = open_tree(
            source, filter_func__min_width=100, filter_func__max_height=60, **keys, **where
        )
        assert [Image.open(io.BytesIO(read(tree, f"{n}.jpg"))).size for n in (0, 1)] == [
            (100, 60), (150, 20),
        ]  # fmt: skip
        info = tree.manifest.info
        assert dict(info.dropped)["composite is smaller than its grid"] == 1
        assert dict(info.removed) == {"min_width": 1, "max_height": 1}
    whole = open_tree(source, **keys)
    assert whole.positions == 4
    assert "composite is smaller than its grid: 1" in watcher.notices[-1]


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ({"image_count": 4, "select_index": 4}, "select_index 4: "),
        ({"image_count": 4, "select_index": [0, 7]}, "select_index 7: "),
        ({"image_count": 4, "select_index": [1, 1]}, "it is there twice"),
        ({"image_count": 4, "layout": "2x3"}, "layout 2x3"),
        ({"select_index": 1}, "select_index 1: "),
    ],
)
def test_composites_that_cannot_be(
    open_tree: OpenTree, tmp_path: Path, keys: dict[str, object], line: str
) -> None:
    source = write_set(tmp_path / "a.parquet", [grid(2, 2)], caption=["a"])
    with pytest.raises(ConfigError, match=line):
        open_tree(source, **composite(**keys))


def test_a_grid_of_one_tile_is_the_image(open_tree: OpenTree, tmp_path: Path) -> None:
    image = encode("JPEG")
    source = write_set(tmp_path / "a.parquet", [image], caption=["a"])
    tree = open_tree(source, **composite(image_count=1))
    assert read(tree, "0.jpg") == image
    assert tree.manifest.info.rendered == 0


@pytest.mark.parametrize("target", ["jpg", "png", "source"])
def test_turned_images_are_upright_and_others_untouched(
    open_tree: OpenTree, tmp_path: Path, target: str
) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (48, 32, 3), np.uint8)
    kinds = ["JPEG" if number % 2 else "PNG" for number in range(10)]
    images = [save(pixels, kind, max(1, number - 1)) for number, kind in enumerate(kinds)]
    source = write_set(tmp_path / "a.parquet", images, caption=list("abcdefghij"))
    tree = open_tree(source, orientation="upright", image_format=target, images_only=True)
    passed = 0
    for name, image in zip(names(tree), images, strict=True):
        made, original = read(tree, name), Image.open(io.BytesIO(image))
        turned = ImageOps.exif_transpose(original)
        shown = Image.open(io.BytesIO(made))
        assert shown.getexif().get(ExifTags.Base.Orientation, 1) == 1
        assert shown.size == turned.size
        difference = np.asarray(shown.convert("RGB")).astype(int) - np.asarray(turned)
        assert np.abs(difference).mean() < 6
        passed += made == image
    assert passed == {"jpg": 1, "png": 2, "source": 3}[target]
    assert tree.manifest.info.rendered == len(images) - passed


def test_limits_mean_the_turned_image(open_tree: OpenTree, tmp_path: Path) -> None:
    pixels = np.zeros((48, 32, 3), np.uint8)
    images = [save(pixels, "JPEG", 1), save(pixels, "JPEG", 6)]
    source = write_set(tmp_path / "a.parquet", images, caption=["a", "b"])
    assert open_tree(source, filter_func__max_width=40).positions == 2
    upright = open_tree(source, filter_func__max_width=40, orientation="upright")
    assert upright.positions == 1
    assert upright.manifest.info.rendered == 0
