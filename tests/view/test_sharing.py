"""Views that workers helped to decide are those that this host decides alone, byte for byte."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.config import Config
from hffs.errors import ConfigError, DataError, StaleError
from hffs.view import sharing
from hffs.view.opening import find_or_decide, get_source
from hffs.view.places import find_places
from hffs.view.portable.recording import record_view
from tests.engines import FarEngine
from tests.formats import FORMATS, Case, write_files
from tests.view.conftest import Quiet, encode, write_set
from tests.view.portable import build

pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # of datasets


def decide(config: Config, engine: FarEngine | None) -> bytes:
    """The file of a view that is decided with an engine, or without one."""
    places = find_places(config, get_source(config, Quiet()))
    find_or_decide(config, places, Quiet(), 2, engine)
    file = io.BytesIO()
    record_view(config, file, Quiet(), 2, reads=True)
    return file.getvalue()


def compare(source: Path, folder: Path, keys: Mapping[str, Any]) -> int:
    """How many tasks an engine did for a view that came out the same."""
    engine = FarEngine()
    shared = decide(build(source, folder / "shared", keys), engine)
    assert shared == decide(build(source, folder / "alone", keys), None)
    return engine.done


def write_shards(folder: Path, count: int) -> Path:
    """Shards of which each has some images, one that is broken, one null and one file."""
    folder.mkdir()
    (folder / "files").mkdir()
    for number in range(count):
        (folder / f"files/{number}.png").write_bytes(encode("PNG", number, (50 + number, 40)))
        images = [encode("JPEG", n, (30 + n, 20)) for n in range(number % 3 + 1)]
        cells = [*images, images[0][:30], {"bytes": None, "path": f"files/{number}.png"}, None]
        texts = [f"{number} of {n}" for n in range(len(cells))]
        write_set(folder / f"train-{number:05}-of-{count:05}.parquet", cells, text=texts)
    return folder


@pytest.mark.parametrize(
    ("keys", "tasks"),
    [
        ({}, 3),
        ({"filter_func.min_width": 31}, 4),
        ({"split": "train[20%:70%]", "image_format": "png"}, 2),
    ],
)
def test_shards_of_a_folder(tmp_path: Path, keys: dict[str, Any], tasks: int) -> None:
    source = write_shards(tmp_path / "set", 9)
    assert compare(source, tmp_path, {"orientation": "as-is"} | keys) == tasks


@pytest.mark.parametrize("make", FORMATS, ids=lambda make: make.__name__)
def test_every_format_of_a_host(make: Callable[[], Case], tmp_path: Path) -> None:
    case = make()
    keys = {
        name.removeprefix("--").replace("-", "_"): value
        for name, value in zip(case.flags[::2], case.flags[1::2], strict=True)
    }
    source = write_files(case.files, tmp_path / "set")
    assert compare(source, tmp_path, keys | {"filter_func.min_width": 1}) >= 2


def test_what_an_engine_found_is_not_looked_for_again(tmp_path: Path) -> None:
    source, engine = write_shards(tmp_path / "set", 2), FarEngine()
    config = build(source, tmp_path / "cache", {"filter_func.min_width": 1})
    first = decide(config, engine)
    assert (engine.done, decide(config, engine), engine.done) == (2, first, 2)


def test_an_error_of_a_worker_is_that_of_the_view(tmp_path: Path) -> None:
    source = write_shards(tmp_path / "set", 2)
    config = build(source, tmp_path / "cache", {"filter_func.min_width": 9999})
    with pytest.raises(DataError, match="nothing is left of"):
        decide(config, FarEngine())
    with pytest.raises(ConfigError, match="no such column"):
        decide(build(source, tmp_path / "cache", {"image_column": "none"}), FarEngine())


def test_a_worker_that_sees_another_source_is_refused(tmp_path: Path) -> None:
    source = write_set(tmp_path / "set.parquet", [encode("JPEG")])
    config = build(source, tmp_path / "cache", {})
    places = find_places(config, get_source(config, Quiet()))
    index = find_or_decide(config, places, Quiet(), 1).index
    from hffs.data.source import open_source

    opening = sharing.Opening.of(config, open_source(places.located))
    look = sharing.make_looker(opening, index.column, "another", "cpu")
    with pytest.raises(StaleError, match="a worker found other images in it than this host"):
        list(look([np.array([0])]))


@given(st.permutations(range(7)))
def test_answers_are_put_in_order(order: list[int]) -> None:
    assert list(sharing.put_in_order((number, str(number)) for number in order)) == list("0123456")
