from __future__ import annotations

from typing import Any

import pytest

from hffs.config import build_config, build_folder, find_idle_keys, find_idle_keys_of_folder
from hffs.errors import ConfigError

GRID = "composite_image_config"


@pytest.mark.parametrize(
    ("values", "line"),
    [
        ({"seed": 3}, "seed has no effect: max_num_samples is not set"),
        ({"seed": 3, "max_num_samples": 2}, ""),
        ({"caption_separator": "; "}, "caption_separator has no effect: caption_multi is not join"),
        ({"caption_separator": "; ", "caption_multi": "join"}, ""),
        (
            {"images_only": True, "caption_column": "a", "caption_extension": "caption"},
            "caption_column, caption_extension have no effect: images_only leaves captions out",
        ),
        ({"images_only": True, "caption_column": "a", "metadata_jsonl": True}, ""),
        (
            {"images_only": True, "caption_extension": "caption", "metadata_jsonl": True},
            "caption_extension has no effect: images_only leaves captions out",
        ),
        (
            {"filter_func.collection_column": "a"},
            "filter_func.collection_column has no effect: filter_func.collection is not set",
        ),
        ({"filter_func.collection_column": "a", "filter_func.collection": ["x"]}, ""),
        (
            {"filter_func.quality_column": "a"},
            "filter_func.quality_column has no effect: filter_func.quality_thresholds is not set",
        ),
        (
            {f"{GRID}.image_count": 4, f"{GRID}.select_index": 1},
            f"{GRID}.image_count, {GRID}.select_index have no effect: enabled is not set there",
        ),
        ({f"{GRID}.image_count": 4, f"{GRID}.enabled": False}, ""),
        ({f"{GRID}.image_count": 4, f"{GRID}.enabled": True}, ""),
        ({f"{GRID}.enabled": True}, f"{GRID} has no effect: its image_count is 1"),
        ({"caption_column": "a", "names": "row", "name_width": 3}, ""),
    ],
)
def test_keys_that_another_key_would_have_to_go_with(values: dict[str, Any], line: str) -> None:
    config = build_config("set.parquet", values, None, {"HOME": "/h"})
    assert "; ".join(find_idle_keys(config)) == line


def test_a_folder_heeds_no_key_of_mounts() -> None:
    keys = {
        "resolution": [512], "orientation": "upright", "caption_extension": "caption", "seed": 3,
        "num_proc": 2, "cache_dir": "/c", "id": "x",
    }  # fmt: skip
    folder = build_folder("/data/cats", keys, {"HOME": "/h"})
    assert list(find_idle_keys_of_folder(folder)) == []
    others = {"type": "local", "instance_data_dir": "/data", "id": "x", "image_format": "png"}
    config = build_config("org/photos", others, None, {"HOME": "/h"})
    assert list(find_idle_keys_of_folder(config)) == [
        "dataset_name, image_format have no effect: entry x is a folder"
    ]
    for key in ("where", "min_width"):
        with pytest.raises(ConfigError, match="is a folder, and a folder has all of its files"):
            build_folder("/data", {f"filter_func.{key}": 3}, {"HOME": "/h"})
