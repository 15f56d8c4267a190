"""What is kept of a view is found by everything that decides it."""

from __future__ import annotations

from hffs.config import all_keys
from hffs.view import places

NOT_OF_A_VIEW = {
    "id", "dataset_name", "split", "offline", "cache_dir", "cache_size", "num_proc",
}  # fmt: skip
"""Where the source and the caches are, and how fast: shards have a key of their own."""


def test_every_key_that_may_change_a_view_is_part_of_its_place() -> None:
    keys = [key for key in all_keys().values() if key.unbuilt is None and not key.for_tool]
    built = {key.name.partition(".")[0] for key in keys}
    assert built - NOT_OF_A_VIEW == places._DECIDING_KEYS
