from hffs.data.recent import Recent


def _blank(size: int) -> memoryview:
    return memoryview(bytes(size))


def test_what_was_not_used_for_longest_goes_first() -> None:
    recent = Recent[memoryview](cap_bytes=1000, cap_count=10, measure=len)
    for number in range(4):
        recent.put(number, _blank(300))
    assert [recent.get(number) is not None for number in range(4)] == [False, True, True, True]
    assert recent.get(1) is not None  # used last now
    recent.put(9, _blank(300))
    assert recent.get(2) is None
    assert recent.get(1) is not None


def test_the_number_of_buffers_is_bounded() -> None:
    recent = Recent[memoryview](cap_bytes=1000, cap_count=5, measure=len)
    for number in range(20):
        recent.put(number, _blank(1))
        recent.put(number, _blank(1))
    assert [number for number in range(20) if recent.get(number)] == [15, 16, 17, 18, 19]


def test_one_buffer_is_kept_however_large() -> None:
    recent = Recent[memoryview](cap_bytes=10, cap_count=5, measure=len)
    recent.put(1, _blank(5))
    recent.put(2, _blank(100))
    assert recent.get(1) is None
    assert recent.get(2) is not None


def test_a_buffer_that_is_kept_stays() -> None:
    recent = Recent[memoryview](cap_bytes=10, cap_count=5, measure=len)
    first = _blank(3)
    recent.put(1, first)
    recent.put(1, _blank(4))
    assert recent.get(1) is first


def test_what_is_dropped_makes_room() -> None:
    recent = Recent[memoryview](cap_bytes=10, cap_count=5, measure=len)
    recent.put(1, _blank(8))
    recent.drop(1)
    recent.drop(1)
    assert recent.get(1) is None
    recent.put(2, _blank(5))
    recent.put(3, _blank(5))
    assert recent.get(2) is not None
