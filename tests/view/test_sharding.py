"""The parts of a view for several ranks: disjoint, complete, balanced, named as in the whole."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.types import Position
from hffs.view.layout import Layout, make_folders
from hffs.view.manifest import CaptionFiles, Files
from hffs.view.sharding import Part, cut_files


@st.composite
def views(draw: st.DrawFn) -> tuple[Files, int]:
    """Any view, and how many tiles each image of it has."""
    images, tiles = draw(st.integers(0, 20)), draw(st.integers(1, 3))
    count = images * tiles
    texts = draw(st.lists(st.text(max_size=4).map(str.encode), min_size=images, max_size=images))
    offsets = np.concatenate(([0], np.cumsum([len(text) for text in texts]))).astype(np.int64)
    blob = np.frombuffer(b"".join(texts), np.uint8)
    gaps = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    numbers = np.cumsum(gaps).astype(np.int64) if draw(st.booleans()) else None
    folders = None
    if count and draw(st.booleans()):
        of = draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
        used, dense = np.unique(np.array(of), return_inverse=True)
        folders = make_folders([f"class{number}" for number in used], dense.astype(np.int32))
    return Files(
        cells=np.repeat(np.arange(images, dtype=np.int64) * 7, tiles),
        forms=np.arange(count, dtype=np.uint8),
        tiles=np.tile(np.arange(tiles, dtype=np.uint16), images) if tiles > 1 else None,
        layout=Layout(count, numbers, folders, draw(st.integers(0, 8))),
        captions=CaptionFiles(offsets, blob, tiles) if draw(st.booleans()) else None,
        metadata=None,
    ), tiles


def describe(files: Files) -> list[tuple[object, ...]]:
    """All that each file of a view is, in order."""
    layout = files.layout
    rows: list[tuple[object, ...]] = []
    for at in map(Position, range(len(files.cells))):
        folder = layout.folder_of(at)
        rows.append(
            (
                int(files.cells[at]),
                int(files.forms[at]),
                None if files.tiles is None else int(files.tiles[at]),
                layout.number(at),
                layout.find_number(layout.number(at)) == at,
                None if folder is None or layout.folders is None else layout.folders.names[folder],
                None if files.captions is None else bytes(files.captions.read(at)),
                None if files.captions is None else files.captions.size_bytes(at),
                layout.width,
            )
        )
    return rows


@given(views(), st.integers(1, 9))
def test_the_parts_are_the_whole_cut_between_images(view: tuple[Files, int], world: int) -> None:
    whole, tiles = view
    parts = [cut_files(whole, Part(rank, world), tiles) for rank in range(world)]
    assert [row for part in parts for row in describe(part)] == describe(whole)
    sizes = [len(part.cells) for part in parts]
    assert all(size % tiles == 0 for size in sizes)
    assert max(sizes) - min(sizes) <= tiles
    for part in parts:
        if (folders := part.layout.folders) is not None:
            members = [list(folders.positions(number)) for number in range(len(folders))]
            assert all(members)
            assert sorted(at for each in members for at in each) == list(range(len(part.cells)))
