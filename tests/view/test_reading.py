"""What is told of images that lie elsewhere, and what is looked at for it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from hffs.config import Config, build_config
from hffs.data.cells.index import SLOT_BITS, SegmentKind
from hffs.data.shards import Located
from hffs.view.reading import describe_remote

GB = 10**9


class _Pair(SimpleNamespace):
    def __len__(self) -> int:
        return 2


def _decide(cells: Any, *, whole: bool = False) -> Any:
    """A view of some cells: 0 is in the first of two pages of 6 GB each, 1 in the other."""
    index = SimpleNamespace(
        urls=(),
        segments=SimpleNamespace(kind=np.array([SegmentKind.PAGES])),
        segment=np.zeros(2, np.uint32),
        offset=np.array([0, 1 << SLOT_BITS]),
        pages=_Pair(size=np.array([6 * GB, 6 * GB]), chunk=np.array([0, 1])),
        chunks=_Pair(whole=np.array([whole, False])),
        far_ranges=SimpleNamespace(size=np.zeros(0, np.int64)),
    )
    info = SimpleNamespace(source="owner/set", unsettled=0)
    return SimpleNamespace(index=index, manifest=SimpleNamespace(info=info, cells=cells))


def _config(tmp_path: Path, size: int) -> Config:
    flags: dict[str, object] = {"cache_size": size, "streaming": True}
    return build_config("owner/set", flags, None, {"XDG_CACHE_HOME": str(tmp_path)})


FAR = Located("owner/set", Path("/"), (), listing=Path("/listing"))


def _tell(decided: Any, config: Config, located: Located = FAR) -> list[str]:
    return list(describe_remote(config, decided, located))


def test_no_image_is_looked_at_where_all_pages_have_room(tmp_path: Path) -> None:
    assert _tell(_decide(cells=None), _config(tmp_path, 12 * GB)) == []


@pytest.mark.parametrize(("cells", "told"), [([0], []), ([0, 1], ["12.0 GB"])])
def test_a_view_that_is_larger_than_the_cache_is_told(
    cells: list[int], told: list[str], tmp_path: Path
) -> None:
    found = _tell(_decide(np.array(cells)), _config(tmp_path, 7 * GB))
    assert len(found) == len(told)
    for line, size in zip(found, told, strict=True):
        assert line.startswith(f"the images of owner/set take {size}, and cache_size is 7.0 GB")


@pytest.mark.parametrize(("cells", "told"), [([0, 0], []), ([0, 1], ["12.0 GB"])])
def test_files_elsewhere_are_counted_too(cells: list[int], told: list[str], tmp_path: Path) -> None:
    decided = _decide(np.array(cells))
    index = decided.index
    index.segments.kind, index.offset = np.array([SegmentKind.FAR_FILES]), np.array([1, 0])
    index.far_ranges.size, index.pages.size = index.pages.size, np.zeros(0, np.int64)
    index.pages.chunk = np.zeros(0, np.int64)
    found = _tell(decided, _config(tmp_path, 7 * GB))
    assert [line.split(" take ")[1].split(",")[0] for line in found] == told


def test_row_groups_without_an_index_are_told(tmp_path: Path) -> None:
    (line,) = _tell(_decide(None, whole=True), _config(tmp_path, 20 * GB))
    assert line.startswith("1 of the 2 row groups of owner/set have no page index")
    assert line.endswith("6000.0 MB")


def test_streaming_what_is_here_is_told(tmp_path: Path) -> None:
    here = Located("owner/set", Path("/"), ())
    (line,) = _tell(_decide(None), _config(tmp_path, 20 * GB), here)
    assert line == "streaming has no effect: owner/set is on this host"
