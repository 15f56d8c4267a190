"""What is kept of a view is found by everything that decides it."""

from __future__ import annotations

import os
from pathlib import Path

from hffs.config import all_keys, build_config
from hffs.data.locating.local import locate
from hffs.view import places
from hffs.view.places import find_places
from tests.view.conftest import encode, write_set

NOT_OF_A_VIEW = {
    "id", "dataset_name", "config_name", "split", "revision", "data_files", "offline", "token_file",
    "cache_dir", "scratch", "cache_size", "num_proc", "allow_http_urls", "allow_private_urls",
    "streaming", "shard", "type",
}  # fmt: skip
"""Which source, where the caches are, and how fast: what a source came to has keys of its own. A
part is cut out of the whole view, which is what is kept.
"""


def test_every_key_that_may_change_a_view_is_part_of_its_place() -> None:
    keys = [key for key in all_keys().values() if not key.for_tool]
    built = {key.name.partition(".")[0] for key in keys}
    assert built - NOT_OF_A_VIEW == places._DECIDING_KEYS


def test_a_column_that_is_named_has_a_place_of_its_own(tmp_path: Path) -> None:
    source = write_set(tmp_path / "a.parquet", [encode("JPEG")], caption=["a"])
    environ = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}

    def place(flags: dict[str, object]) -> Path:
        config = build_config(str(source), flags, None, environ)
        return find_places(config, locate(str(source))).view

    assert place({"filter_func.quality_column": "quality_assessment"}) != place({})
    assert place({}) == place({"caption_multi": "lines"})
