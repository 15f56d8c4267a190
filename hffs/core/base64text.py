"""Images written as base64 text: where the text of each begins, how long its image is, and which.

Owns both alphabets of RFC 4648, `data:` URIs and what is refused. Pure: is given one buffer and the
places of values in it. Of each value only the head and the last two characters are looked at, so a
value that is broken in between is found when it is decoded.

A value is plain base64, or `data:...;base64,` and base64. It is written in one alphabet, padded as
it should be or not at all, and without a blank or a line break.
"""

from __future__ import annotations

import binascii
import re
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from hffs.core.formats import SNIFF_BYTES, Media, count_sniffed, sniff, sniff_many
from hffs.errors import FormatError

HEAD_BYTES = 80
"""How much of a value is checked: a line of MIME's (76) and its break."""

_BATCH = 1 << 13  # the gathered indexes take eight times the bytes
_URI = b"data:"
_MAX_URI_BYTES = 256  # before the comma; longer ones are made by nobody
_URI_HEAD = re.compile(rb"data:[^,]*;base64,", re.IGNORECASE)
_NONE, _BLANK = 64, 65
_SNIFFED = SNIFF_BYTES // 3 * 4


def _make_codes() -> NDArray[np.uint8]:
    codes = np.full(256, _NONE, np.uint8)
    letters = bytes([*range(65, 91), *range(97, 123), *range(48, 58)])
    codes[np.frombuffer(letters, np.uint8)] = np.arange(62)
    codes[list(b"+-")], codes[list(b"/_")] = 62, 63
    codes[list(b" \t\r\n")] = _BLANK
    return codes


_CODES = _make_codes()


class Refusal(IntEnum):
    """Why a value is not taken."""

    NONE = 0
    NOT_BASE64 = 1
    BLANKS = 2
    EMPTY = 3


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """One entry a value: `offsets` and `stored` (int64), its base64 text; `lengths` (int64), bytes
    of its image; `formats` (uint8, `MediaFormat`); `refused` (uint8, `Refusal`).
    """

    offsets: NDArray[np.int64]
    stored: NDArray[np.int64]
    lengths: NDArray[np.int64]
    formats: NDArray[np.uint8]
    refused: NDArray[np.uint8]


def find_texts(data: memoryview, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> Texts:
    """Look at values, which must lie in `data`; those of no bytes are refused as empty."""
    parts = [
        _look(data, offsets[at : at + _BATCH], sizes[at : at + _BATCH])
        for at in range(0, max(len(offsets), 1), _BATCH)
    ]
    return Texts(
        *(np.concatenate(each) for each in zip(*map(_fields, parts), strict=True)),
    )


def decode_text(text: memoryview, length: int) -> bytes:
    """The image that a text stands for; FormatError if it is broken or not of this length."""
    plain = bytes(text)
    if b"-" in plain or b"_" in plain:
        if b"+" in plain or b"/" in plain:
            raise _broken("it is in two alphabets")
        plain = plain.translate(bytes.maketrans(b"-_", b"+/"))
    try:
        data = binascii.a2b_base64(plain + b"=" * (-len(plain) % 4), strict_mode=True)
    except binascii.Error as error:
        raise _broken(str(error)) from error
    if len(data) != length:
        raise _broken(f"it stands for {len(data)} bytes, not {length}")
    return data


def decode_head(text: memoryview, count: int) -> bytes:
    """The first bytes, `count` at most, of what a text stands for; none where it is broken there.

    >>> decode_head(memoryview(b"aGVsbG8gd29ybGQ="), 5)
    b'hello'
    """
    characters = bytes(text[: -(-count // 3) * 4]).rstrip(b"=")
    characters = characters.translate(bytes.maketrans(b"-_", b"+/"))
    try:
        return binascii.a2b_base64(characters + b"=" * (-len(characters) % 4))[:count]
    except binascii.Error:
        return b""


def sniff_texts(data: memoryview, texts: Texts, media: Media) -> NDArray[np.uint8]:
    """Formats of what the texts that were found in `data` stand for."""
    if media == "image":
        return texts.formats
    count = count_sniffed(media)
    places = zip(texts.offsets.tolist(), texts.stored.tolist(), strict=True)
    heads = (decode_head(data[start : start + stored], count) for start, stored in places)
    return np.fromiter((sniff(head, media) for head in heads), np.uint8, len(texts.offsets))


def decode_value(value: memoryview) -> bytes:
    """The image that a value stands for, `data:` URI or not; FormatError if it is refused."""
    texts = find_texts(value, np.zeros(1, np.int64), np.array([len(value)]))
    refused = Refusal(int(texts.refused[0]))
    if refused is not Refusal.NONE:
        raise _broken(f"it is refused: {refused.name.replace('_', ' ')}")
    start, stored = int(texts.offsets[0]), int(texts.stored[0])
    return decode_text(value[start : start + stored], int(texts.lengths[0]))


def _fields(texts: Texts) -> tuple[NDArray[np.int64] | NDArray[np.uint8], ...]:
    return texts.offsets, texts.stored, texts.lengths, texts.formats, texts.refused


def _look(data: memoryview, offsets: NDArray[np.int64], sizes: NDArray[np.int64]) -> Texts:
    source = np.frombuffer(data, np.uint8)
    refused = np.where(sizes > 0, Refusal.NONE, Refusal.EMPTY).astype(np.uint8)
    offsets, stored = _skip_uris(data, offsets, sizes, refused)
    refused[(refused == Refusal.NONE) & (stored == 0)] = Refusal.EMPTY
    fine = np.flatnonzero(refused == Refusal.NONE)
    starts, counts = offsets[fine], stored[fine]
    heads, inside = _gather(source, starts, counts)
    padding = _count_padding(source, starts, counts)
    characters = counts - padding
    codes = np.where(np.arange(HEAD_BYTES) < characters[:, None], _CODES[heads], 0)
    rest = characters % 4
    wrong = (rest == 1) | ((padding > 0) & (rest + padding != 4)) | (codes >= _NONE).any(axis=1)
    blank = ((_CODES[heads] == _BLANK) & inside).any(axis=1)
    blank |= _CODES[source[np.maximum(starts + counts - 1, 0)]] == _BLANK
    refused[fine[wrong]] = Refusal.NOT_BASE64
    refused[fine[blank]] = Refusal.BLANKS
    lengths, formats = np.zeros(len(sizes), np.int64), np.zeros(len(sizes), np.uint8)
    lengths[fine] = characters // 4 * 3 + np.maximum(rest - 1, 0)
    formats[fine] = _sniff(codes[:, :_SNIFFED], lengths[fine])
    return Texts(offsets, stored, lengths, formats, refused)


def _skip_uris(
    data: memoryview,
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
    refused: NDArray[np.uint8],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Place and size of what comes after the comma of each `data:` URI, of others as they are."""
    source = np.frombuffer(data, np.uint8)
    long = np.flatnonzero(sizes > len(_URI))
    heads = source[offsets[long][:, None] + np.arange(len(_URI))] | 0x20  # lower case
    wanted = np.frombuffer(_URI, np.uint8) | 0x20
    skipped = np.zeros(len(sizes), np.int64)
    for place in long[(heads == wanted).all(axis=1)].tolist():
        start = int(offsets[place])
        head = bytes(data[start : start + min(int(sizes[place]), _MAX_URI_BYTES)])
        match = _URI_HEAD.match(head)
        if match is None:
            refused[place] = Refusal.NOT_BASE64
        else:
            skipped[place] = match.end()
    return offsets + skipped, sizes - skipped


def _gather(
    source: NDArray[np.uint8], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    columns = np.arange(HEAD_BYTES)
    inside = columns < counts[:, None]
    return source[np.where(inside, starts[:, None] + columns, starts[:, None])], inside


def _count_padding(
    source: NDArray[np.uint8], starts: NDArray[np.int64], counts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """How many of the last two characters are `=`, counted from the end."""
    ends = starts + counts
    last = source[ends - 1] == ord("=")
    before = (counts > 1) & (source[ends - np.minimum(counts, 2)] == ord("="))
    padding: NDArray[np.int64] = last.astype(np.int64) + (last & before)
    return padding


def _sniff(codes: NDArray[np.uint8], lengths: NDArray[np.int64]) -> NDArray[np.uint8]:
    a, b, c, d = (codes[:, at::4] for at in range(4))
    triples = np.stack([a << 2 | b >> 4, b << 4 | c >> 2, c << 6 | d], axis=2)
    heads = triples.reshape(len(codes), SNIFF_BYTES)
    return sniff_many(np.where(np.arange(SNIFF_BYTES) < lengths[:, None], heads, np.uint8(0)))


def _broken(why: str) -> FormatError:
    return FormatError("cannot decode", "base64", why=why.lower())
