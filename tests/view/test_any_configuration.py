"""Whatever a configuration says, the outcome is a view or one line: never another exception."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hffs.config import all_keys, build_config, refuse_unbuilt
from hffs.core.inodes import ROOT
from hffs.errors import DataError, UsageError
from hffs.view.opening import open_view
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
    names = sorted(set(all_keys()) - LEFT_ALONE)
    pairs = {name: MADE_FOR_IT.get(name, any_json) | any_json for name in names}
    for name, made in MADE_FOR_IT.items():
        pairs[name] = made | made | made | any_json
    return st.sets(st.sampled_from(sorted([*names, *MADE_FOR_IT])), max_size=4).flatmap(
        lambda chosen: st.fixed_dictionaries({name: pairs[name] for name in sorted(chosen)})
    )


@settings(
    max_examples=150,
    deadline=None,
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
    assert len(line.splitlines()) <= 1
    assert line.isprintable()


def _refusal(path: Path, environ: dict[str, str]) -> str:
    """The line that refuses a configuration, nothing where it is a view."""
    try:
        config = build_config(str(path), {}, None, environ)
        refuse_unbuilt(config)
        with open_view(config, Quiet(), 1) as tree:
            for listed in tree.entries(ROOT, 0):
                assert tree.lookup(ROOT, listed.name) == listed.inode
    except (UsageError, DataError) as error:
        return str(error)
    return ""
