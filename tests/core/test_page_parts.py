"""Where the values of a page are, by its first bytes and the lengths before them."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.levels import Levels
from hffs.core.page_values import MOST_SLOTS, PlainBody, decode_page, find_plain
from hffs.core.plain import PREFIX_BYTES, step_plain
from hffs.errors import FormatError, UnsupportedError
from tests.parquet_bytes import (
    BIT_PACKED,
    DELTA_LENGTH,
    PLAIN,
    RLE_DICTIONARY,
    dictionary_page,
    page_v1,
    page_v2,
    plain,
    thrift,
    uvarint,
)

REQUIRED, OPTIONAL = Levels(0, 0), Levels(1, 0)
VALUE = plain([b"ab"])


def run(level: int, count: int) -> bytes:
    return uvarint(count << 1) + bytes([level])


def sized(stream: bytes) -> bytes:
    return len(stream).to_bytes(4, "little") + stream


def make_page(values: list[bytes | None], version: int) -> bytes:
    definitions = b"".join(run(int(value is not None), 1) for value in values)
    body = plain([value for value in values if value is not None])
    if version == 1:
        return page_v1(sized(definitions) + body, len(values))
    return page_v2(definitions + body, len(values), len(definitions), 0)


def walk(page: bytes, body: PlainBody) -> list[tuple[int, int]]:
    """Start and stop of each value of a chain, looking at nothing but what is before each."""
    places, at = [], body.start
    for number in range(body.count):
        prefix = memoryview(page[at : at + PREFIX_BYTES])
        stop = step_plain(prefix, at, body.end, body.count - number - 1)
        places.append((at + PREFIX_BYTES, stop))
        at = stop
    return places


@given(st.lists(st.one_of(st.none(), st.binary(max_size=40)), max_size=20), st.sampled_from([1, 2]))
def test_places_found_by_parts_are_those_of_the_whole_page(
    values: list[bytes | None], version: int
) -> None:
    page = make_page(values, version)
    whole = decode_page(memoryview(page), OPTIONAL, None, None, 1 << 20)
    begun = None
    for size in range(len(page) + 1):
        body = find_plain(memoryview(page[:size]), len(page), OPTIONAL, compressed=False)
        if body is None:
            assert begun is None  # more bytes never know less
            continue
        begun = begun or body
        assert (body.start, body.end) == (begun.start, len(page))
        assert size >= body.start
    assert begun is not None
    places = walk(page, begun)
    for slot, value in enumerate(values):
        if value is None:
            with pytest.raises(FormatError, match=f"no value in slot {slot}"):
                begun.number(slot)
            continue
        start, stop = places[begun.number(slot)]
        assert start == whole.offsets[slot]
        assert stop - start == whole.lengths[slot]
        assert page[start:stop] == value
    with pytest.raises(FormatError, match="no value in slot"):
        begun.number(len(values))


def find(page: bytes, levels: Levels = REQUIRED, *, compressed: bool = False) -> PlainBody | None:
    return find_plain(memoryview(page), len(page), levels, compressed=compressed)


def test_a_v2_page_that_is_not_compressed_is_read_by_parts_whatever_its_chunk_is() -> None:
    own: dict[int, int | bool] = {1: 1, 2: 0, 3: 1, 4: PLAIN, 5: 0, 6: 0}
    sizes = {1: 3, 2: len(VALUE), 3: len(VALUE)}
    plainly = thrift({**sizes, 8: own | {7: False}}) + VALUE
    found = find(plainly, compressed=True)
    assert found is not None
    assert walk(plainly, found) == [(len(plainly) - 2, len(plainly))]
    for page in (thrift({**sizes, 8: own}) + VALUE, page_v1(VALUE, 1)):
        assert find(page) is not None
        with pytest.raises(UnsupportedError, match="compressed"):
            find(page, compressed=True)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (page_v1(b"\x02\x02\0", 1, RLE_DICTIONARY), "values in encoding 8"),
        (page_v1(VALUE, 1, DELTA_LENGTH), "values in encoding 6"),
        (page_v1(VALUE, MOST_SLOTS + 1), f"{MOST_SLOTS + 1} values"),
        (thrift({1: 1, 2: 6, 3: 6}) + VALUE, "page type 1"),
    ],
)
def test_what_only_the_whole_page_tells_is_told_apart(page: bytes, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        find(page)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (dictionary_page(VALUE), "it holds the dictionary"),
        (page_v1(VALUE, 1) + b"\0", "6 bytes in 7"),
        (page_v1(VALUE, 1)[:-1], "6 bytes in 5"),
        (page_v1(VALUE, 2), "more values than bytes"),
        (page_v1(VALUE, -1), ""),
        (thrift({1: 0, 2: 7, 3: 6, 5: {1: 1, 2: 0, 3: 3, 4: 3}}) + VALUE, "that are to be 7"),
    ],
)
def test_a_broken_page_is_refused(page: bytes, why: str) -> None:
    if not why:
        assert find(page) is None  # its header makes no sense: the whole page tells why
        return
    with pytest.raises(FormatError, match=why) as caught:
        find(page)
    assert not isinstance(caught.value, UnsupportedError)


def test_levels_that_are_written_in_another_way_are_told_apart() -> None:
    with pytest.raises(UnsupportedError, match="levels in an encoding"):
        find(page_v1(VALUE, 1, levels=BIT_PACKED), OPTIONAL)


def test_levels_are_not_looked_for_behind_the_page() -> None:
    page = page_v1(sized(run(0, 3))[:-1], 3)
    head = memoryview(page + b"\0")
    assert find_plain(head, len(page), OPTIONAL, compressed=False) is None


@pytest.mark.parametrize(
    ("prefix", "end", "left", "stop"),
    [
        (b"\x02\0\0\0", 16, 0, 16),
        (b"\x02\0\0\0", 24, 2, 16),
        (b"\x02\0\0\0", 23, 2, None),
        (b"\x02\0\0\0", 17, 0, None),
        (b"\x02\0\0\0", 15, 0, None),
        (b"\xff\xff\xff\xff", 16, 1, None),
        (b"\x02\0\0", 16, 0, None),
    ],
)
def test_a_step_leaves_room_for_what_follows(
    prefix: bytes, end: int, left: int, stop: int | None
) -> None:
    if stop is not None:
        assert step_plain(memoryview(prefix), 10, end, left) == stop
        return
    with pytest.raises(FormatError):
        step_plain(memoryview(prefix), 10, end, left)


PAGES = [make_page([b"ab", None, b"cdefgh", b""], version) for version in (1, 2)]


@given(st.data())
def test_damaged_pages_are_refused_or_walked_within_their_bytes(draw: st.DataObject) -> None:
    page = bytearray(draw.draw(st.sampled_from(PAGES)))
    for _ in range(draw.draw(st.integers(0, 3))):
        page[draw.draw(st.integers(0, len(page) - 1))] = draw.draw(st.integers(0, 255))
    head = memoryview(page)[: draw.draw(st.integers(0, len(page)))]
    with contextlib.suppress(FormatError):
        body = find_plain(head, len(page), OPTIONAL, compressed=draw.draw(st.booleans()))
        if body is None:
            return
        assert body.numbers.dtype == np.int32
        assert body.numbers.max(initial=-1) == body.count - 1
        assert 0 < body.start <= body.end == len(page)
        for start, stop in walk(bytes(page), body):
            assert body.start < start <= stop <= body.end
