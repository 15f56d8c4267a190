"""Whatever a configuration says, the outcome is a view or one line: never another exception."""

from __future__ import annotations

import json
import operator
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from hffs.config import all_keys, build_config
from hffs.core.inodes import ROOT
from hffs.core.types import Inode
from hffs.errors import DataError, RenderError, SourceError, UsageError
from hffs.view.opening import open_view
from hffs.view.tree import Tree
from tests.view.conftest import Quiet, encode, write_set

COLUMNS = ["image", "caption", "tags", "n", "score", "meta", "json", "kind", "nope", "meta.clip"]
COLUMNS += ["meta.about.text", "json.clip", "json.a.b", "", "meta.", ".", "width", "flag"]

MADE_FOR_IT: dict[str, st.SearchStrategy[Any]] = {
    "image_column": st.sampled_from(COLUMNS),
    "width_column": st.sampled_from(COLUMNS),
    "height_column": st.sampled_from(COLUMNS),
    "caption_column": st.lists(st.sampled_from(COLUMNS), max_size=3) | st.sampled_from(COLUMNS),
    "fallback_caption_column": st.sampled_from(COLUMNS),
    "description_column": st.sampled_from(COLUMNS),
    "missing_caption": st.sampled_from(["drop", "error", "text:x", "text:", "other"]),
    "caption_multi": st.sampled_from(["lines", "join", "first", "all"]),
    "caption_separator": st.text(max_size=3),
    "filter_func.where": st.sampled_from(
        ["n > 1", "n >", "meta.clip > 0.2", "json->>'clip' = '1'", "kind", "nope = 1", "1; 2", "n"]
    ),
    "filter_func.collection": st.lists(st.sampled_from(["a", "b", 1, 2, "1"]), max_size=3),
    "filter_func.collection_column": st.sampled_from(COLUMNS),
    "filter_func.quality_thresholds": st.dictionaries(
        st.sampled_from([*COLUMNS, "clip", "text"]), st.floats(-1, 2), max_size=2
    ),
    "filter_func.quality_column": st.sampled_from(COLUMNS),
    "group_by": st.sampled_from(COLUMNS),
    "composite_image_config.enabled": st.booleans(),
    "composite_image_config.image_count": st.integers(-1, 9),
    "composite_image_config.layout": st.sampled_from(["horizontal", "2x2", "1x4", "auto", "x"]),
    "composite_image_config.select_index": st.lists(st.integers(-1, 5), max_size=3)
    | st.just("all"),
    "max_num_samples": st.integers(-1, 5),
    "seed": st.integers(),
    "name_width": st.integers(-1, 30),
}
"""Values that get further than their type; the other keys get any JSON."""

CAPTIONS = ["caption", "tags", "n", "score", "kind", "json.clip", "json.a.b", "meta.about.text"]

RIGHT: dict[str, st.SearchStrategy[Any]] = {
    "id": st.just("any"),
    "type": st.just("huggingface"),
    "dataset_type": st.just("image"),
    "split": st.just("train"),
    "offline": st.booleans(),
    "image_column": st.just("image"),
    "width_column": st.sampled_from(["n", "score", "meta.clip"]),
    "height_column": st.sampled_from(["n", "score"]),
    "caption_column": st.lists(st.sampled_from(CAPTIONS), min_size=1, max_size=3),
    "fallback_caption_column": st.sampled_from(CAPTIONS),
    "description_column": st.sampled_from([*CAPTIONS, "meta.about", "json"]),
    "missing_caption": st.sampled_from(["drop", "text:x"]),
    "caption_multi": st.sampled_from(["lines", "join", "first"]),
    "caption_separator": st.text(" ,;|é\u3000", max_size=3),
    "filter_func.where": st.sampled_from(
        ["n > 1", "meta.clip > 0.2 or n = 1", "json->>'clip' = '1'", "flag", "kind is not null"]
    ),
    "filter_func.min_width": st.integers(1, 40),
    "filter_func.min_height": st.integers(1, 30),
    "filter_func.max_width": st.integers(40, 99),
    "filter_func.max_height": st.integers(30, 99),
    "filter_func.min_aspect": st.floats(0.1, 1.4),
    "filter_func.max_aspect": st.floats(1.3, 9),
    "filter_func.collection": st.lists(st.sampled_from(["a", "b", "x"]), min_size=1, max_size=3),
    "filter_func.collection_column": st.sampled_from(["kind", "tags", "caption"]),
    "filter_func.quality_thresholds": st.dictionaries(
        st.sampled_from(["score", "n"]), st.floats(-1, 1), max_size=2
    ),
    "filter_func.quality_column": st.sampled_from(["meta", "json"]),
    "max_num_samples": st.integers(1, 5),
    "seed": st.integers(-9, 9),
    "composite_image_config.enabled": st.booleans(),
    "composite_image_config.image_count": st.sampled_from([1, 4]),
    "composite_image_config.select_index": st.just("all") | st.just([0]) | st.just(0),
    "composite_image_config.layout": st.sampled_from(["horizontal", "vertical", "auto"]),
    "image_format": st.sampled_from(["jpg", "png", "source"]),
    "orientation": st.sampled_from(["as-is", "upright"]),
    "names": st.sampled_from(["position", "row"]),
    "name_width": st.integers(0, 18),
    "caption_extension": st.sampled_from(["txt", "caption"]),
    "images_only": st.booleans(),
    "metadata_jsonl": st.booleans(),
    "group_by": st.sampled_from(["kind", "caption"]),
}
"""Values that this data set can answer, each by itself, so that most together are a view."""

LEFT_ALONE = {"dataset_name", "cache_dir", "cache_size", "num_proc", "filter_func.python"}

any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2)
    ),
    max_leaves=3,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    images = [encode(kind, seed, (40, 30)) for seed, kind in enumerate(["JPEG", "PNG", "JPEG"])]
    return write_set(
        tmp_path_factory.mktemp("any") / "a.parquet",
        [*images, b"no image", None],
        caption=["a", None, " ", "d", "e"],
        tags=[["x", "y"], [], None, ["z"], ["x"]],
        n=[1, 2, None, 4, 5],
        score=[0.1, float("nan"), None, 0.9, 1.0],
        meta=[{"clip": 0.5, "about": {"text": "t"}}, None, {"clip": None, "about": None}]
        + [{"clip": 0.1, "about": {"text": None}}] * 2,
        json=['{"clip": 1, "a": {"b": "c"}}', "{", "null", None, '["x"]'],
        kind=["a", "b", None, "a", ""],
        flag=[True, False, None, True, True],
    )


def keys() -> st.SearchStrategy[dict[str, Any]]:
    """Keys of an entry: many that are right, and as often as not a few of any kind."""
    every = sorted(set(all_keys()) - LEFT_ALONE)
    wild = {name: MADE_FOR_IT.get(name, any_json) | any_json for name in every}
    # Names twice if values are made for them, so that they come up more often.
    wild_names = st.sets(st.sampled_from([*every, *MADE_FOR_IT]), min_size=1, max_size=2)
    right = st.sets(st.sampled_from(sorted(RIGHT)), max_size=7).flatmap(
        lambda names: st.fixed_dictionaries({name: RIGHT[name] for name in sorted(names)})
    )
    wrong = wild_names.flatmap(
        lambda names: st.fixed_dictionaries({name: wild[name] for name in sorted(names)})
    )
    return right | st.builds(operator.or_, right, wrong)


@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(keys())
def test_any_configuration_is_a_view_or_one_line(
    source: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    entry: dict[str, Any] = {"dataset_name": str(source)}
    for name, value in values.items():
        block, _, leaf = name.rpartition(".")
        (entry.setdefault(block, {}) if block else entry)[leaf] = value
    path = tmp_path / "entry.json"
    path.write_text(json.dumps(entry))
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    line = _refusal(path, environ)
    event("a line" if line else "a view")  # --hypothesis-show-statistics: half are a view
    assert len(line.splitlines()) <= 1
    assert line.isprintable()


def _refusal(path: Path, environ: dict[str, str]) -> str:
    """The line that refuses a configuration, nothing where it is a view."""
    try:
        config = build_config(str(path), {}, None, environ)
        with open_view(config, Quiet(), 1) as tree:
            _walk(tree, ROOT)
    except (UsageError, SourceError, DataError) as error:
        return str(error)
    return ""


def _walk(tree: Tree, folder: Inode) -> None:
    """Look up and read every file; one that cannot be rendered harms no other."""
    for listed in tree.entries(folder, 0):
        assert tree.lookup(folder, listed.name) == listed.inode
        if tree.is_folder(listed.inode):
            _walk(tree, listed.inode)
            continue
        with suppress(RenderError):
            ready = tree.ready(listed.inode)
            data = tree.request(listed.inode).result(20) if ready is None else ready
            assert len(data) == tree.size_bytes(listed.inode)
            assert listed.size_bytes in (None, len(data))
