"""Which rows of which data set the benchmark of remote mode wants; imports nothing."""

REPO = "owner/photos"
MIN_WIDTH = 512
MIN_SCORE = 0.98
WHERE = f"width >= {MIN_WIDTH} AND score >= {MIN_SCORE}"
"""Keeps one row of a hundred, spread over all row groups: no statistics lead to them."""
