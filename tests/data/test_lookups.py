"""What is counted of caches and of what is fetched."""

from contextlib import suppress
from pathlib import Path

from hffs.data.cache import DiskCache
from hffs.data.lookups import CacheFigures
from hffs.data.recent import Recent
from hffs.data.traffic import Traffic, TrafficFigures


def test_lookups_are_counted_by_the_first_part_of_their_keys(tmp_path: Path) -> None:
    cache = DiskCache(tmp_path / "cache", 1 << 20)
    assert cache.get("image/1") is None
    cache.put("image/1", b"x")
    cache.put("range/a/1", b"y")
    for _ in range(2):
        assert bytes(cache.get("image/1") or b"") == b"x"
    assert cache.lookups.figures() == {
        "image": CacheFigures(hits=2, misses=1, made=1),
        "range": CacheFigures(made=1),
    }


def test_evictions_are_counted_by_who_evicts(tmp_path: Path) -> None:
    first, second = (DiskCache(tmp_path / "cache", 40_000, floor_bytes=0) for _ in range(2))
    for number in range(20):
        first.put(f"image/{number}", bytes(4000))
    left = sum(second.has(f"image/{number}") for number in range(20))
    assert first.evicted == 20 - left > 0
    assert second.evicted == 0


def test_what_is_held_in_memory_is_counted() -> None:
    recent = Recent[bytes](10, 10, len)
    assert recent.get(1) is None
    recent.put(1, b"x")
    assert recent.get(1) == b"x"
    assert (recent.hits, recent.misses) == (1, 1)


def test_a_request_is_under_way_until_it_ends_however_it_does() -> None:
    traffic = Traffic()
    with suppress(KeyError), traffic.requesting():
        assert traffic.figures() == TrafficFigures(requests=1, under_way=1)
        raise KeyError
    traffic.count_fetched(7)
    traffic.count_retries(2)
    traffic.count_late()
    assert traffic.figures() == TrafficFigures(requests=1, fetched_bytes=7, retries=2, late=1)
