"""Names of Parquet files as a data set may have them, most with words that tell a split."""

from __future__ import annotations

from hypothesis import strategies as st

_WORDS = st.sampled_from(
    ["train", "training", "val", "dev", "valid", "test", "eval", "it", "Test", "part", "0", "10"]
)
_PART = st.lists(_WORDS | st.sampled_from("-_. "), min_size=1, max_size=4).map("".join)
_NAME = st.one_of(
    st.lists(_PART, min_size=1, max_size=3).map("/".join),
    st.builds("data/{}-0000{}-of-00002".format, _PART, st.integers(0, 2)),
)


def shard_names(most: int) -> st.SearchStrategy[list[str]]:
    """From one name up to `most`, all different."""
    names = _NAME.map("{}.parquet".format)
    return st.lists(names, min_size=1, max_size=most, unique=True)
