from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hffs.data.columnarrays import ABSENT, NULL, NUMBER, OTHER, spell_keys
from hffs.data.jsontext import read_json_numbers, read_json_scalars


def column(*texts: str | None) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(texts, pa.large_string())])


@pytest.mark.parametrize(
    ("text", "number", "kind"),
    [
        ("1", 1.0, NUMBER),
        ("-1.5", -1.5, NUMBER),
        ("1e5", 1e5, NUMBER),
        ("123456789012345678901234567890", 123456789012345678901234567890.0, NUMBER),
        ("1e400", math.inf, NUMBER),
        ("null", None, NULL),
        ('"1"', None, OTHER),
        ('""', None, OTHER),
        ('"-1"', None, OTHER),
        ("true", None, OTHER),
        ("[1]", None, OTHER),
        ("{}", None, OTHER),
        ("NaN", None, OTHER),
        ("0x10", None, ABSENT),
        ("01", None, ABSENT),
        ("1}", None, ABSENT),
        ("", None, ABSENT),
    ],
)
def test_what_is_a_number(text: str, number: float | None, kind: int) -> None:
    texts = column(None, f'{{"k": {text}}}', "", "[1", f"[{text}]", '{"k": 7}')
    numbers, kinds = read_json_numbers(texts, [("k",)])
    assert numbers.dtype == np.float64
    assert kinds.dtype == np.uint8
    assert number is None or numbers[1] == number
    assert np.isnan(numbers).tolist() == [True, number is None, True, True, True, False]
    assert kinds.tolist() == [ABSENT, kind, ABSENT, ABSENT, ABSENT, NUMBER]


hostile_keys = st.text(st.sampled_from("a.\"'$*[]/~\\0-#?:@ {}é\n%") | st.characters(codec="utf-8"))


@settings(max_examples=100)
@given(keys=st.lists(hostile_keys.filter(lambda key: "\0" not in key), min_size=1, max_size=4))
def test_keys_mean_themselves(keys: list[str]) -> None:
    value: Any = 7
    for key in reversed(keys):
        value = {key: value}
    texts = column(json.dumps(value), json.dumps([value, [[7]]]), json.dumps({"other": value}))
    numbers, _ = read_json_numbers(texts, [tuple(keys)])
    assert numbers[0] == 7
    assert math.isnan(numbers[1])


@pytest.mark.parametrize("key", ["0", "-", "00", "1"])
def test_a_key_is_never_a_place_in_an_array(key: str) -> None:
    numbers, kinds = read_json_numbers(
        column('{"a": [5, 6]}', f'{{"a": {{"{key}": 7}}}}'), [("a", key)]
    )
    assert kinds.tolist() == [ABSENT, NUMBER]
    assert numbers[1] == 7


def test_the_first_chain_of_keys_that_a_text_has_counts() -> None:
    texts = column('{"a.b": 1, "a": {"b": 2}}', '{"a": {"b": 2}}', '{"a.b": null, "a": {"b": 2}}')
    numbers, kinds = read_json_numbers(texts, spell_keys(("a", "b")))
    assert numbers[:2].tolist() == [1, 2]
    assert kinds.tolist() == [NUMBER, NUMBER, NULL]


def test_broken_bytes_are_characters_that_no_json_has_but_in_strings() -> None:
    data = b'{"k": 1}' + b'{"k": "\xff"}' + b'\xff{"k": 2}'
    offsets = pa.py_buffer(np.array([0, 8, 18, len(data)], np.int64))
    array = pa.Array.from_buffers(pa.large_string(), 3, [None, offsets, pa.py_buffer(data)])
    numbers, kinds = read_json_numbers(pa.chunked_array([array]), [("k",)])
    assert kinds.tolist() == [NUMBER, OTHER, ABSENT]
    assert numbers[0] == 1


def test_a_deep_text_is_no_crash() -> None:
    deep = '{"k":' * 100_000 + "1" + "}" * 100_000
    for text in (deep, "[" * 1_000_000, '{"k":' * 100_000):
        _, kinds = read_json_numbers(column(text, '{"k": 1}'), [("k",)])
        assert kinds[0] in (ABSENT, OTHER)
        assert kinds[1] == NUMBER


def test_dictionaries_and_no_texts() -> None:
    coded = column('{"k": 1}', None, '{"k": 1}').combine_chunks().dictionary_encode()
    numbers, _ = read_json_numbers(pa.chunked_array([coded]), [("k",)])
    assert numbers[[0, 2]].tolist() == [1, 1]
    numbers, kinds = read_json_numbers(pa.chunked_array([], pa.large_string()), [("k",)])
    assert len(numbers) == len(kinds) == 0


def test_scalars_are_tagged_by_their_kind() -> None:
    values = ['"x"', "5", "-5", "5.0", '["x", 5, null, [1], {"a": 1}, true]', "null", "{}", "[]"]
    texts = column(*(f'{{"k": {value}}}' for value in values), "{", None, '{"k": "\\u00e9n"}')
    assert read_json_scalars(texts, [("k",)]).to_pylist() == [
        ["tx"], ["n5"], ["n-5"], [None], ["tx", "n5", None, None, None, None], [None], [None], [],
        [None], [None], ["tén"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parts", "ways"),
    [
        (("a",), {("a",)}),
        (("a", "b"), {("a.b",), ("a", "b")}),
        (("a", "b", "c"), {("a.b.c",), ("a.b", "c"), ("a", "b.c"), ("a", "b", "c")}),
        (tuple("abcdefg"), {("a.b.c.d.e.f.g",), tuple("abcdefg")}),
    ],
)
def test_ways_to_spell_keys(parts: tuple[str, ...], ways: set[tuple[str, ...]]) -> None:
    spelt = spell_keys(parts)
    assert set(spelt) == ways
    assert spelt[0] == (".".join(parts),)
    assert len(spell_keys(tuple("abcdef"))) == 32
