"""That the benchmark of composites compares like with like; it times nothing."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from hffs.view.codecs import render
from tests.bench import composites as bench


def test_goals_are_ratios_of_what_is_run() -> None:
    assert set(bench.measure(1)) == set(bench.GOALS) == {"one tile", "a tile of four"}


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_contestants_make_the_same_tiles(kind: str) -> None:
    data = bench.save(bench.build_grid(), kind)
    ours, theirs = render(data, "jpg", bench.GRID), bench.encode_again(data, range(4))
    sizes = [[Image.open(io.BytesIO(tile)).size for tile in tiles] for tiles in (ours, theirs)]
    assert sizes[0] == sizes[1] == [(bench.SIDE, bench.SIDE)] * 4
    if kind == "PNG":
        assert ours == theirs
