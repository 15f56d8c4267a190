from __future__ import annotations

import contextlib
import struct
import time
import zlib
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.levels import Levels, PageLevels
from hffs.core.page_values import (
    SLOT_BYTES,
    Decompress,
    Dictionary,
    PageValues,
    check_page,
    decode_dictionary,
    decode_head,
    decode_page,
    needs_dictionary,
)
from hffs.errors import FormatError, UnsupportedError
from tests.parquet_bytes import (
    BIT_PACKED,
    DELTA_LENGTH,
    PLAIN,
    PLAIN_DICTIONARY,
    RLE,
    RLE_DICTIONARY,
    checksum,
    dictionary_page,
    pack,
    page_v1,
    page_v2,
    plain,
    thrift,
    uvarint,
    zigzag,
)

REQUIRED, OPTIONAL, REPEATED = Levels(0, 0), Levels(1, 0), Levels(2, 1)
MAX_BYTES = 1 << 20


def inflate(body: memoryview, size_bytes: int) -> memoryview:
    """A codec that needs no library beyond Python's: zlib."""
    decoder = zlib.decompressobj()
    try:
        return memoryview(decoder.decompress(body, size_bytes))
    except zlib.error as error:
        raise FormatError("cannot inflate", why=str(error)) from error


def decode(
    page: bytes,
    levels: Levels = REQUIRED,
    decompress: Decompress | None = None,
    dictionary: Dictionary | None = None,
) -> PageValues:
    return decode_page(memoryview(page), levels, decompress, dictionary, MAX_BYTES)


def cells(values: PageValues | Dictionary) -> list[bytes | None]:
    assert values.offsets.dtype == values.lengths.dtype == np.int64
    assert not values.lengths[values.offsets < 0].any()
    spans = zip(values.offsets.tolist(), values.lengths.tolist(), strict=True)
    return [None if at < 0 else bytes(values.data[at : at + size]) for at, size in spans]


def run(level: int, count: int) -> bytes:
    return uvarint(count << 1) + bytes([level])


def sized(stream: bytes) -> bytes:
    return struct.pack("<I", len(stream)) + stream


def compressed(kind: int, levels: bytes, values: bytes, own: dict[int, int | bool]) -> bytes:
    """A page whose values, and levels if it is of version 1, are deflated."""
    body = levels + zlib.compress(values) if kind == 3 else zlib.compress(levels + values)
    sizes = {2: len(levels) + len(values), 3: len(body)}
    return thrift({1: kind, **sizes, {0: 5, 2: 7, 3: 8}[kind]: own}) + body


ENTRIES = [b"red", b"", b"green", b"blue"]
DICTIONARY = decode_dictionary(memoryview(dictionary_page(plain(ENTRIES), 4)), None, MAX_BYTES)


def test_plain_values_are_views_of_the_page() -> None:
    page = bytearray(page_v1(plain([b"ab", b"", b"c"]), 3))
    values = decode_page(memoryview(page), REQUIRED, None, None, MAX_BYTES)
    assert cells(values) == [b"ab", b"", b"c"]
    page[-1:] = b"x"
    assert cells(values) == [b"ab", b"", b"x"]
    assert values.definitions.tolist() == values.repetitions.tolist() == [0, 0, 0]
    assert values.definitions.dtype == values.repetitions.dtype == np.uint8


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("deflated", [False, True])
def test_lists_and_nulls_of_a_page(version: int, deflated: bool) -> None:
    """Rows: ["a", null], [], ["b"]."""
    repetitions, definitions = pack([0, 1, 0, 0, 0, 0, 0, 0], 1), pack([2, 1, 0, 2] + [0] * 4, 2)
    body = plain([b"a", b"b"])
    if version == 1:
        levels = sized(repetitions) + sized(definitions)
        own: dict[int, int | bool] = {1: 4, 2: PLAIN, 3: RLE, 4: RLE}
    else:
        levels = repetitions + definitions
        own = {1: 4, 2: 2, 3: 3, 4: PLAIN, 5: len(definitions), 6: len(repetitions), 7: True}
    if deflated:
        page = compressed(0 if version == 1 else 3, levels, body, own)
    elif version == 1:
        page = page_v1(levels + body, 4)
    else:
        page = page_v2(levels + body, 4, len(definitions), len(repetitions))
    values = decode(page, REPEATED, inflate if deflated else None)
    assert cells(values) == [b"a", None, None, b"b"]
    assert values.repetitions.tolist() == [0, 1, 0, 0]
    assert values.definitions.tolist() == [2, 1, 0, 2]


def test_a_v2_page_may_say_that_it_is_not_compressed() -> None:
    body = plain([b"ab"])
    own: dict[int, int | bool] = {1: 1, 2: 0, 3: 1, 4: PLAIN, 5: 0, 6: 0, 7: False}
    page = thrift({1: 3, 2: len(body), 3: len(body), 8: own}) + body
    assert cells(decode(page, REQUIRED, inflate)) == [b"ab"]
    assert cells(decode(compressed(3, b"", body, own | {7: True}), REQUIRED, inflate)) == [b"ab"]
    with pytest.raises(FormatError):
        decode(compressed(3, b"", body, own), REQUIRED, inflate)


@pytest.mark.parametrize("stored", [b"", b"\0"])
def test_nulls_alone_need_not_be_compressed(stored: bytes) -> None:
    """Some writers compress no bytes to one, some to none, which is no stream of any codec."""
    definitions = run(0, 5)
    sizes = {2: len(definitions), 3: len(definitions + stored)}
    own = {1: 5, 2: 5, 3: 5, 4: PLAIN, 5: len(definitions), 6: 0}
    page = thrift({1: 3, **sizes, 8: own}) + definitions + stored
    assert cells(decode(page, OPTIONAL, inflate)) == [None] * 5


@pytest.mark.parametrize("encoding", [PLAIN_DICTIONARY, RLE_DICTIONARY])
def test_values_of_a_dictionary(encoding: int) -> None:
    assert cells(DICTIONARY) == ENTRIES
    body = b"\x02" + pack([3, 0, 1, 2, 0, 0, 0, 0], 2)
    values = decode(page_v1(body, 4, encoding), dictionary=DICTIONARY)
    assert cells(values) == [b"blue", b"red", b"", b"green"]
    assert values.data is DICTIONARY.data


def test_a_dictionary_of_one_entry_takes_no_bits() -> None:
    values = decode(page_v1(b"\0" + uvarint(3 << 1), 3, RLE_DICTIONARY), dictionary=DICTIONARY)
    assert cells(values) == [b"red"] * 3


def test_a_page_of_nulls_alone_needs_no_index() -> None:
    page = page_v1(sized(run(0, 3)), 3, RLE_DICTIONARY)
    assert cells(decode(page, OPTIONAL, dictionary=DICTIONARY)) == [None] * 3


@pytest.mark.parametrize("encoding", [PLAIN, PLAIN_DICTIONARY])
def test_a_compressed_dictionary(encoding: int) -> None:
    page = compressed(2, b"", plain(ENTRIES), {1: 4, 2: encoding})
    assert cells(decode_dictionary(memoryview(page), inflate, MAX_BYTES)) == ENTRIES


def deltas(lengths: Sequence[int], size: int = 32, miniblocks: int = 4) -> bytes:
    """Lengths in DELTA_BINARY_PACKED; `size` is that of a miniblock."""
    out = uvarint(size * miniblocks) + uvarint(miniblocks) + uvarint(len(lengths))
    out += zigzag(lengths[0] if lengths else 0)
    steps = [after - before for before, after in pairwise(lengths)]
    for at in range(0, len(steps), size * miniblocks):
        block = steps[at : at + size * miniblocks]
        parts = [block[i : i + size] for i in range(0, len(block), size)]
        widths = [(max(part) - min(block)).bit_length() for part in parts]
        out += zigzag(min(block)) + bytes([*widths, *[99] * (miniblocks - len(parts))])
        for part, width in zip(parts, widths, strict=True):
            bits = sum(step - min(block) << i * width for i, step in enumerate(part))
            out += bits.to_bytes(size * width // 8, "little")
    return out


@given(
    st.lists(st.binary(max_size=300), max_size=80),
    st.sampled_from([8, 32]),
    st.sampled_from([1, 4]),
)
def test_values_behind_their_delta_packed_lengths(
    values: list[bytes], size: int, miniblocks: int
) -> None:
    body = deltas([len(value) for value in values], size, miniblocks) + b"".join(values)
    assert cells(decode(page_v1(body, len(values), DELTA_LENGTH))) == values


def test_a_page_of_nulls_alone_needs_no_lengths() -> None:
    page = page_v1(sized(run(0, 3)), 3, DELTA_LENGTH)
    assert cells(decode(page, OPTIONAL)) == [None] * 3


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (deltas([1, 1, 1]) + b"abc", "3 integers, not 2"),
        (deltas([1, 1]) + b"a", "do not end where"),
        (deltas([1, 1]) + b"abc", "do not end where"),
        (deltas([-1, 1]), "a length below 0"),
        (b"\x00\x00\x02\x00", "0 miniblocks"),
        (b"\x08\x00\x02\x00", "0 miniblocks"),
        (b"\x0c\x01\x02\x00", "1 miniblocks"),
        (b"\x08\x01\x02" + zigzag(1 << 33), "an integer over 32 bits"),
        (b"\x08\x01\x02\x00" + zigzag(1 << 33), "a difference over 32 bits"),
        (b"\x08\x01\x02\x00\x00\x21", "differences of 33 bits"),
        (b"\x08\x01\x02\x00\x00\x20", "32 bytes wanted"),
    ],
)
def test_broken_lengths_are_refused(body: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        decode(page_v1(body, 2, DELTA_LENGTH))


VALUE = plain([b"ab"])


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (b"", "cut off"),
        (page_v1(VALUE, 1) + b"\0", "6 bytes in 7"),
        (page_v1(VALUE, 1)[:-1], "6 bytes in 5"),
        (thrift({1: 0, 2: 7, 3: 6, 5: {1: 1, 2: 0, 3: 3, 4: 3}}) + VALUE, "that are to be 7"),
        (page_v1(VALUE, -1), "-1 values"),
        (page_v1(VALUE, 2), "more values than bytes|runs over"),
        (page_v1(VALUE * 2, 1), "do not end where"),
        (page_v1(VALUE[:-1], 1), "do not end where"),
        (page_v1(b"\xff\xff\xff\xff....", 2), "runs over"),
        (page_v2(VALUE, 1, 7, 0), "7 bytes wanted"),
        (dictionary_page(VALUE), "it holds the dictionary"),
        (page_v1(b"\x01\x02\0", 1, RLE_DICTIONARY), "its column chunk has none"),
    ],
)
def test_a_broken_page_is_refused(page: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why) as caught:
        decode(page)
    assert not isinstance(caught.value, UnsupportedError)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "cut off"),
        (b"\x21", "indexes of 33 bits"),
        (b"\x03\x02\x04", "index 4 in a dictionary of 4"),
        (b"\x20\x02\xff\xff\xff\xff", "index 4294967295 in"),
        (b"\x03\x00", "a run of no"),
    ],
)
def test_broken_indexes_are_refused(body: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        decode(page_v1(body, 1, RLE_DICTIONARY), dictionary=DICTIONARY)


def test_no_index_fits_an_empty_dictionary() -> None:
    empty = decode_dictionary(memoryview(dictionary_page(b"", 0)), None, MAX_BYTES)
    with pytest.raises(FormatError, match="index 0 in a dictionary of 0"):
        decode(page_v1(b"\0\x02", 1, RLE_DICTIONARY), dictionary=empty)


@pytest.mark.parametrize(
    ("page", "why"),
    [
        (page_v1(VALUE, 1), "not the dictionary"),
        (dictionary_page(VALUE, 2), "more values than bytes"),
        (dictionary_page(VALUE, MAX_BYTES), "over 1048576 bytes"),
    ],
)
def test_a_broken_dictionary_is_refused(page: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        decode_dictionary(memoryview(page), None, MAX_BYTES)


@pytest.mark.parametrize(
    ("page", "levels", "why"),
    [
        (page_v1(VALUE, 1, 7), REQUIRED, "values in encoding 7"),
        (page_v1(VALUE, 1, levels=BIT_PACKED), OPTIONAL, "levels in an encoding other"),
        (page_v1(VALUE, 1), Levels(256, 0), "nested too deep"),
        (thrift({1: 1, 2: 6, 3: 6}) + VALUE, REQUIRED, "page type 1"),
    ],
)
def test_what_another_reader_may_know_is_told_apart(page: bytes, levels: Levels, why: str) -> None:
    with pytest.raises(UnsupportedError, match=why):
        decode(page, levels)


def test_a_dictionary_in_another_encoding_is_told_apart() -> None:
    with pytest.raises(UnsupportedError, match="a dictionary in encoding 7"):
        decode_dictionary(memoryview(dictionary_page(VALUE, 1, 7)), None, MAX_BYTES)


def test_bit_packed_levels_of_which_there_are_none_are_read() -> None:
    assert cells(decode(page_v1(VALUE, 1, levels=BIT_PACKED))) == [b"ab"]


def test_what_decompresses_to_another_size_is_refused() -> None:
    page = compressed(0, b"", VALUE, {1: 1, 2: PLAIN, 3: RLE, 4: RLE})
    with pytest.raises(FormatError, match="5 bytes that were to be 6"):
        decode(page, REQUIRED, lambda body, size: memoryview(bytes(size - 1)))


def test_levels_longer_than_the_page_are_refused() -> None:
    definitions = run(1, 1)
    own = {1: 1, 2: 0, 3: 1, 4: PLAIN, 5: len(definitions), 6: 0}
    page = thrift({1: 3, 2: 1, 3: len(definitions), 8: own}) + definitions
    with pytest.raises(FormatError, match="longer than all of it"):
        decode(page, OPTIONAL, inflate)


def test_a_page_that_claims_billions_fails_at_once() -> None:
    most = (1 << 31) - 1
    nulls = sized(run(0, most))
    pages = [
        page_v1(nulls, most),
        thrift({1: 0, 2: most, 3: 6, 5: {1: 1, 2: 0, 3: 3, 4: 3}}) + VALUE,
        dictionary_page(VALUE, most),
        page_v1(nulls, MAX_BYTES // SLOT_BYTES + 1),
    ]
    started = time.process_time()
    for page in pages:
        with pytest.raises(FormatError):
            decode(page, OPTIONAL, inflate)
        with pytest.raises(FormatError):
            decode_dictionary(memoryview(page), inflate, MAX_BYTES)
    assert time.process_time() - started < 0.5


def test_a_flipped_bit_is_told_by_the_checksum() -> None:
    for body in (VALUE, VALUE[:-1] + b"\xfe"):  # checksums of either sign
        own = {1: 1, 2: 0, 3: 3, 4: 3}
        sizes = {1: 0, 2: len(body), 3: len(body)}
        page = bytearray(thrift({**sizes, 4: checksum(body), 5: own}) + body)
        check_page(memoryview(page))
        page[-1] ^= 1
        with pytest.raises(FormatError, match="its checksum differs"):
            check_page(memoryview(page))


def test_without_a_checksum_only_sizes_are_checked() -> None:
    check_page(memoryview(page_v1(VALUE, 1)))
    with pytest.raises(FormatError, match="6 bytes in 5"):
        check_page(memoryview(page_v1(VALUE, 1)[:-1]))


def read_head(page: bytes, *, is_compressed: bool = False) -> PageLevels | None:
    return decode_head(memoryview(page), OPTIONAL, MAX_BYTES, compressed=is_compressed)


@pytest.mark.parametrize("version", [1, 2])
def test_levels_are_read_from_as_few_bytes_as_hold_them(version: int) -> None:
    definitions, body = run(0, 3) + run(1, 1), plain([b"x" * 100])
    whole = (
        page_v1(sized(definitions) + body, 4)
        if version == 1
        else page_v2(definitions + body, 4, len(definitions), 0)
    )
    enough = len(whole) - len(body)
    for size in range(enough):
        assert read_head(whole[:size]) is None
    for head in (whole[:enough], whole, whole + b"of the next page"):
        read = read_head(head)
        assert read is not None
        assert read.definitions.tolist() == [0, 0, 0, 1]
        assert read.repetitions.tolist() == [0, 0, 0, 0]
    assert (read_head(whole, is_compressed=True) is None) == (version == 1)


def test_levels_are_not_looked_for_behind_the_page() -> None:
    page = page_v1(sized(run(0, 3))[:-1], 3)
    assert read_head(page + b"\0") is None


@pytest.mark.parametrize(
    ("head", "why"),
    [
        (dictionary_page(VALUE), "it holds the dictionary"),
        (page_v1(VALUE, 1, levels=BIT_PACKED), "levels in an encoding"),
        (thrift({1: 1, 2: 6, 3: 6}), "page type 1"),
        (page_v1(VALUE, MAX_BYTES), "over 1048576 bytes"),
    ],
)
def test_a_head_that_no_more_bytes_would_help_is_refused(head: bytes, why: str) -> None:
    with pytest.raises(FormatError, match=why):
        read_head(head)


PAGES = [
    page_v1(sized(run(1, 2) + run(0, 1)) + plain([b"ab", b"cde"]), 3),
    page_v1(sized(run(1, 3)) + b"\x02" + pack([3, 0, 1, 2, 0, 0, 0, 0], 2), 3, RLE_DICTIONARY),
    page_v2(run(1, 3) + deltas([1, 2, 3]) + b"abbccc", 3, 2, 0, DELTA_LENGTH),
    compressed(0, sized(run(1, 2)), plain([b"ab", b"cde"]), {1: 2, 2: PLAIN, 3: RLE, 4: RLE}),
    dictionary_page(plain(ENTRIES), 4),
]


@given(st.data())
def test_damaged_pages_are_refused_or_read_within_their_bytes(draw: st.DataObject) -> None:
    page = bytearray(draw.draw(st.sampled_from(PAGES)))
    for _ in range(draw.draw(st.integers(0, 3))):
        page[draw.draw(st.integers(0, len(page) - 1))] = draw.draw(st.integers(0, 255))
    at, size = draw.draw(st.integers(0, len(page))), draw.draw(st.integers(0, 3))
    page[at : at + size] = draw.draw(st.binary(max_size=3))
    decompress = draw.draw(st.sampled_from([None, inflate]))
    with contextlib.suppress(FormatError):
        check_page(memoryview(page))
    with contextlib.suppress(FormatError):
        decode_head(memoryview(page), OPTIONAL, MAX_BYTES, compressed=False)
    found: list[PageValues | Dictionary] = []
    with contextlib.suppress(FormatError):
        found.append(decode(bytes(page), OPTIONAL, decompress, DICTIONARY))
    with contextlib.suppress(FormatError):
        found.append(decode_dictionary(memoryview(page), decompress, MAX_BYTES))
    for values in found:
        assert (values.lengths >= 0).all()
        assert (values.offsets + values.lengths).max(initial=0) <= len(values.data)


def test_whether_a_page_needs_a_dictionary_is_in_its_header() -> None:
    assert needs_dictionary(memoryview(page_v1(b"\0", 1, RLE_DICTIONARY)))
    assert not needs_dictionary(memoryview(page_v1(plain([b"a"]), 1)))
