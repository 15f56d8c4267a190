"""Base64 beside Python's own: what is taken decodes to what was put in, the rest is refused."""

from __future__ import annotations

import base64
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.base64text import (
    HEAD_BYTES,
    Refusal,
    Texts,
    decode_head,
    decode_text,
    decode_value,
    find_texts,
)
from hffs.core.formats import sniff
from hffs.errors import FormatError

HEADS = st.sampled_from([b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"RIFF1234WEBP", b"GIF89a", b""])
IMAGES = st.builds(bytes.__add__, HEADS, st.binary(max_size=200)).filter(bool)
ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "standard": base64.b64encode,
    "url-safe": base64.urlsafe_b64encode,
    "unpadded": lambda data: base64.b64encode(data, b"-_").rstrip(b"="),
    "uri": lambda data: b"data:image/jpeg;base64," + base64.b64encode(data),
    "loud uri": lambda data: b"DATA:image/png;charset=utf-8;BASE64," + base64.b64encode(data),
    "bare uri": lambda data: b"data:;base64," + base64.b64encode(data),
}


def _find(values: list[bytes]) -> tuple[bytes, Texts]:
    data = b"??" + b"".join(values)
    sizes = np.array([len(value) for value in values], np.int64)
    return data, find_texts(memoryview(data), np.cumsum(sizes) - sizes + 2, sizes)


@given(st.lists(st.tuples(IMAGES, st.sampled_from(sorted(ENCODERS))), max_size=6))
def test_images_come_back_as_they_were(images: list[tuple[bytes, str]]) -> None:
    data, texts = _find([ENCODERS[encoder](image) for image, encoder in images])
    assert texts.refused.tolist() == [Refusal.NONE] * len(images)
    for number, (image, _) in enumerate(images):
        start, length = int(texts.offsets[number]), int(texts.lengths[number])
        assert length == len(image)
        text = memoryview(data)[start : start + int(texts.stored[number])]
        assert decode_text(text, length) == image
        assert texts.formats[number] == sniff(image)


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (b"", Refusal.EMPTY),
        (b"data:image/png;base64,", Refusal.EMPTY),
        (b"data:image/png,abcd", Refusal.NOT_BASE64),
        (b"data:image/png;base64", Refusal.NOT_BASE64),
        (b"data:image/svg+xml;utf8,<svg/>", Refusal.NOT_BASE64),
        (b"data:" + b"x" * 1000 + b";base64,QUJD", Refusal.NOT_BASE64),
        (b"photos/1.jpg", Refusal.NOT_BASE64),
        (b"https://host/a", Refusal.NOT_BASE64),
        (b"QUJDR", Refusal.NOT_BASE64),
        (b"QUJDRA=", Refusal.NOT_BASE64),
        (b"QUJD=", Refusal.NOT_BASE64),
        (b"QUJD====", Refusal.NOT_BASE64),
        (b"QQ=Q", Refusal.NOT_BASE64),
        (b"=", Refusal.NOT_BASE64),
        (b"====", Refusal.NOT_BASE64),
        (b"\xff\xd8\xff\xe0", Refusal.NOT_BASE64),
        (b"QUJD\n", Refusal.BLANKS),
        (b"QUJD" * 30 + b"\n", Refusal.BLANKS),
        (b" QUJD", Refusal.BLANKS),
        (base64.encodebytes(bytes(300)), Refusal.BLANKS),
    ],
)
def test_what_is_not_taken(value: bytes, refusal: Refusal) -> None:
    _, texts = _find([b"QUJD", value])
    assert texts.refused.tolist() == [Refusal.NONE, refusal]


@pytest.mark.parametrize(
    ("text", "length"),
    [
        (b"QUJD" * 40 + b"!AAA", 123),
        (b"QUJD" * 40 + b"AA==" + b"AAAA", 125),
        (b"QUJD\nQUJD", 6),
        (b"AA+_", 3),
        (b"QUJD", 4),
        (b"QUJDR", 4),
    ],
)
def test_what_is_broken_further_in_is_an_error(text: bytes, length: int) -> None:
    with pytest.raises(FormatError):
        decode_text(memoryview(text), length)


@given(st.lists(st.binary(max_size=100), max_size=8))
def test_any_bytes_are_taken_as_they_decode_or_refused(values: list[bytes]) -> None:
    data, texts = _find(values)
    for number in np.flatnonzero(texts.refused == Refusal.NONE).tolist():
        start, stored = int(texts.offsets[number]), int(texts.stored[number])
        text = memoryview(data)[start : start + stored]
        if stored <= HEAD_BYTES and len({*b"+/"} & {*text}) * len({*b"-_"} & {*text}) == 0:
            assert len(decode_text(text, int(texts.lengths[number]))) == texts.lengths[number]


def test_there_may_be_more_values_than_are_looked_at_together() -> None:
    _, texts = _find([b"/9j/"] * 10_000)
    assert texts.formats.tolist() == [1] * 10_000
    assert texts.lengths.sum() == 30_000


@pytest.mark.parametrize("before", ["", "data:image/png;base64,", "DATA:;base64,"])
def test_a_value_by_itself(before: str) -> None:
    data = bytes(range(100))
    value = memoryview((before + base64.b64encode(data).decode()).encode())
    assert decode_value(value) == data


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"", "it is refused: empty"),
        (b"data:image/png,abcd", "it is refused: not base64"),
        (b"ab cd", "it is refused: blanks"),
        (b"A" * 200 + b"!" + b"A" * 203, "only base64 data is allowed"),
    ],
)
def test_a_value_that_is_none(value: bytes, why: str) -> None:
    with pytest.raises(FormatError) as caught:
        decode_value(memoryview(value))
    assert caught.value.why == why


@pytest.mark.parametrize(
    ("text", "head"),
    [(b"aGVsbG8gd29ybGQ=", b"hello"), (b"_-8=", b"\xff\xef"), (b"abcde", b""), (b"", b"")],
)
def test_the_head_of_what_a_text_stands_for(text: bytes, head: bytes) -> None:
    assert decode_head(memoryview(text), 5) == head


def test_texts_of_sounds_are_told_by_more_of_each() -> None:
    sound = b"RIFF\x24\x00\x00\x00WAVEfmt " + bytes(200)
    text = base64.b64encode(sound)
    sizes = np.array([len(text), 0], np.int64)
    found = find_texts(memoryview(text), np.zeros(2, np.int64), sizes, "audio")
    assert found.formats[0] == sniff(sound, "audio") != 0
    assert found.refused.tolist()[1] != Refusal.NONE


def test_a_text_in_the_alphabet_of_urls_is_decoded() -> None:
    data = b"\xfb\xff\xfe\xff"
    text = base64.urlsafe_b64encode(data)
    assert b"-" in text or b"_" in text
    assert decode_text(memoryview(text), len(data)) == data
