from __future__ import annotations

from typing import Any

import pytest

from hffs.config import build_config, find_idle_keys

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
