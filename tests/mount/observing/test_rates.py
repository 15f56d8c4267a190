"""What the numbers of a mount come to."""

from typing import Any

import pytest

from hffs.mount.observing.rates import compare, count_requests, find_hit_rates, find_quantile


def _status(
    opened: list[int], read: list[int], *, made: int = 0, errors: int = 0, read_bytes: int = 0
) -> dict[str, Any]:
    requests = {
        kind: {"count": sum(buckets), "buckets": buckets}
        for kind, buckets in (("open", opened), ("read", read))
    }
    kinds = {"image": {"hits": 3, "misses": 2, "made": made}}
    return {
        "bounds_s": [0.1, 1.0],
        "requests": requests,
        "errors": {"RenderError": errors},
        "read_bytes": read_bytes,
        "view": {"memory": {"hits": 1, "misses": 3}, "disk": {"kinds": kinds}},
    }


def test_rates_are_of_what_happened_between() -> None:
    before = _status([1, 0, 0], [5, 0, 0], made=1, errors=1, read_bytes=100)
    after = _status([9, 0, 0], [7, 10, 0], made=3, errors=4, read_bytes=2100)
    rates = compare(before, after, 2.0)
    assert rates is not None
    assert (rates.files_per_s, rates.reads_per_s, rates.read_bytes_per_s) == (4, 6, 1000)
    assert (rates.errors, rates.hit_rate) == (3, 0.75)
    assert rates.p50_s == pytest.approx(0.1)
    assert rates.p99_s == pytest.approx(0.1 + 0.9 * 0.98)


def test_nothing_comes_of_nothing() -> None:
    still = _status([1, 0, 0], [5, 0, 0])
    rates = compare(still, still, 1.0)
    assert rates is not None
    assert (rates.files_per_s, rates.p50_s, rates.hit_rate) == (0, None, None)
    assert find_hit_rates(_status([0], [0])) == {"files": None, "memory": 0.25, "disk": 1.0}


def test_regression_daemons_that_count_apart_are_not_compared() -> None:
    before = _status([1, 0, 0], [5, 0, 0])
    assert compare(before, before | {"bounds_s": [0.1]}, 1.0) is None


def test_more_made_than_opened_is_no_hit() -> None:
    assert find_hit_rates(_status([1, 0, 0], [0, 0, 0], made=9))["files"] == 0


def test_requests_are_summed() -> None:
    status = _status([1, 2, 3], [4, 0, 0])
    assert (count_requests(status), count_requests(status, "open")) == (10, 6)


@pytest.mark.parametrize(
    ("counts", "quantile", "seconds"),
    [
        ([0, 0, 0], 0.5, None),
        ([4, 0, 0], 0.5, 0.5),
        ([4, 4, 0], 0.5, 1.0),
        ([0, 4, 0], 1.0, 2.0),
        ([0, 0, 4], 0.5, 2.0),  # beyond what is told apart
        ([99, 1, 0], 0.99, 1.0),
    ],
)
def test_a_quantile_lies_in_its_bucket(
    counts: list[int], quantile: float, seconds: float | None
) -> None:
    assert find_quantile(counts, [1.0, 2.0], quantile) == seconds
