"""Pieces of Parquet files made by hand: what no writer would write can be said with them."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

PLAIN, PLAIN_DICTIONARY, RLE, BIT_PACKED, DELTA_LENGTH, RLE_DICTIONARY = 0, 2, 3, 4, 6, 8

Field: TypeAlias = "bool | int | bytes | Wide | Sequence[Field] | Header"
Header: TypeAlias = "Mapping[int, Field]"
"""A thrift struct: its fields by number, which must be ascending."""


@dataclass(frozen=True, slots=True)
class Wide:
    """An integer of 64 bits, where an int is one of 32."""

    value: int


def uvarint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def zigzag(value: int) -> bytes:
    return uvarint(value * 2 if value >= 0 else -value * 2 - 1)


def pack(run: list[int], width: int) -> bytes:
    """A bit-packed run of the hybrid, of a multiple of 8 numbers."""
    bits = sum(level << i * width for i, level in enumerate(run))
    return uvarint(len(run) // 8 << 1 | 1) + bits.to_bytes(len(run) // 8 * width, "little")


def _kind(field: Field) -> int:
    if isinstance(field, bool):
        return 1 if field else 2
    kinds: list[tuple[type | tuple[type, ...], int]] = [(int, 5), (Wide, 6), (bytes, 8)]
    return next((kind for each, kind in kinds if isinstance(field, each)), 0) or (
        12 if isinstance(field, Mapping) else 9
    )


def _value(field: Field) -> bytes:
    if isinstance(field, bool):
        return b""
    if isinstance(field, int):
        return zigzag(field)
    if isinstance(field, Wide):
        return zigzag(field.value)
    if isinstance(field, bytes):
        return uvarint(len(field)) + field
    if isinstance(field, Mapping):
        return thrift(field)
    kind = _kind(field[0]) if field else 12
    head = bytes([0xF0 | kind]) + uvarint(len(field))
    if kind in (1, 2):
        return head + bytes(1 if each else 2 for each in field)
    return head + b"".join(_value(each) for each in field)


def thrift(header: Header) -> bytes:
    out, last = b"", 0
    for number, field in header.items():
        out += bytes([number - last << 4 | _kind(field)]) + _value(field)
        last = number
    return out + b"\0"


def page_v1(body: bytes, slots: int, encoding: int = PLAIN, levels: int = RLE) -> bytes:
    fields = {1: slots, 2: encoding, 3: levels, 4: levels}
    return thrift({1: 0, 2: len(body), 3: len(body), 5: fields}) + body


def page_v2(
    body: bytes, slots: int, definition_bytes: int, repetition_bytes: int, encoding: int = PLAIN
) -> bytes:
    fields = {1: slots, 2: 0, 3: slots, 4: encoding, 5: definition_bytes, 6: repetition_bytes}
    return thrift({1: 3, 2: len(body), 3: len(body), 8: fields}) + body


def dictionary_page(body: bytes, entries: int = 1, encoding: int = PLAIN) -> bytes:
    return thrift({1: 2, 2: len(body), 3: len(body), 7: {1: entries, 2: encoding}}) + body


def checksum(body: bytes) -> int:
    """The CRC of a page as its header has it: signed."""
    signed: int = struct.unpack("<i", struct.pack("<I", zlib.crc32(body)))[0]
    return signed


def plain(values: Sequence[bytes]) -> bytes:
    """Values in the PLAIN layout."""
    return b"".join(struct.pack("<I", len(value)) + value for value in values)
