import json
import re
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.captions import (
    UNCLEAN,
    clean_caption,
    clean_lyrics,
    find_description,
    lookup,
    render_caption,
)

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467"
any_text = st.text(st.characters(exclude_categories=())) | st.text(" \t\n\r\x0b\x00\x1c\x85\u2028a")


@pytest.mark.parametrize(
    ("value", "clean"),
    [
        (None, ""),
        ("", ""),
        (" \n\t ", ""),
        ("\x00\x07", ""),
        ("a cat", "a cat"),
        ("  a  cat\u00a0", "a  cat"),
        ("a\tcat", "a cat"),
        ("\ta cat\t", "a cat"),
        ("a\x00b\x1bc\x1cd\x7fe\x9ff", "abcdef"),
        ("a\r\nb", "a b"),
        ("a\n \r\n\n b\n", "a b"),
        ("a\rb\x0bc\x0cd\x85e\u2028f\u2029g", "a b c d e f g"),
        ("a \t\n\t b", "a b"),
        ("réunion 写真", "réunion 写真"),
        (f"{FAMILY}!", f"{FAMILY}!"),
        ("a\ud800b", "a\ufffdb"),
        (b"a\xff\xc3\xa9", "a\ufffdé"),
        (b"a\xed\xa0\x80b", "a\ufffd\ufffd\ufffdb"),
        (b" \x00\n", ""),
    ],
)
def test_clean_caption(value: str | bytes | None, clean: str) -> None:
    assert clean_caption(value) == clean


@given(any_text | st.binary())
def test_a_clean_caption_is_one_line_of_valid_utf8(value: str | bytes) -> None:
    clean = clean_caption(value)
    assert clean.encode().decode() == clean == clean.strip()
    assert len(clean.splitlines()) <= 1
    assert not any(unicodedata.category(char) == "Cc" for char in clean)
    assert clean_caption(clean) == clean


@given(any_text)
def test_cleaning_keeps_every_visible_character_in_order(text: str) -> None:
    def visible(some: str) -> str:
        kept = (char for char in some if unicodedata.category(char) not in ("Cc", "Cs"))
        return "".join("".join(kept).replace("\ufffd", "").split())

    assert visible(clean_caption(text)) == visible(text)


@given(st.text() | st.text(" \t\n\x7f\x85\u2028\u2029é"))
def test_what_does_not_match_unclean_only_needs_its_ends_stripped(text: str) -> None:
    if re.search(UNCLEAN, text) is None:
        assert clean_caption(text) == text.strip()


@pytest.mark.parametrize("char", ["\0", "\t", "\n", "\x1f", "\x7f", "\x80", "\x85", "\u2028"])
def test_unclean_finds_what_cleaning_changes(char: str) -> None:
    assert re.search(UNCLEAN, f"a{char}b")
    assert clean_caption(f"a{char}b") != f"a{char}b"


@pytest.mark.parametrize("text", ["x" * 1_000_000, " \n" * 500_000 + "x", "\ud800" * 1_000_000])
def test_a_megabyte_is_cleaned_in_linear_time(text: str) -> None:
    assert clean_caption(text)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (" a\nb ", "a b"),
        (b"a", "a"),
        (None, ""),
        (7, "7"),
        (0, "0"),
        (1.5, "1.5"),
        (True, "True"),
        ({"a": "b"}, ""),
        (["a\nb", " ", None, b"c", 4], "a b\nc\n4"),
        (("a", "b"), "a\nb"),
        ([["nested"], {"a": 1}, "b"], "b"),
        ([], ""),
    ],
)
def test_render_caption(value: object, text: str) -> None:
    assert render_caption(value) == text


@pytest.mark.parametrize(
    ("value", "joint", "text"),
    [
        (["a\nb", " ", None, "c"], ", ", "a b, c"),
        (["a", "b"], "", "ab"),
        ([" ", "a\n", "b"], None, "a"),
        ([None, []], None, ""),
        ([], ", ", ""),
        ("a", ", ", "a"),
        ("a", None, "a"),
    ],
)
def test_captions_are_joined_or_the_first_is_taken(
    value: object, joint: str | None, text: str
) -> None:
    assert render_caption(value, joint) == text


PARTS = {"text": "c\nd", "description": ["b", " "], "main_subject": " a", "x": "y"}


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (PARTS, "a b c d"),
        (json.dumps(PARTS), "a b c d"),
        (f"\n {json.dumps(PARTS)}".encode(), "a b c d"),
        ({"text": None}, ""),
        ({"text": {"en": "a"}}, ""),
        ({"x": "y"}, {"x": "y"}),
        ({}, {}),
        ('{"x": "y"}', '{"x": "y"}'),
        ('{"text": ', '{"text": '),
        ('["text"]', '["text"]'),
        ("plain", "plain"),
        (b"plain", b"plain"),
        ("", ""),
        (None, None),
        (3, 3),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_find_description(value: object, found: object) -> None:
    assert find_description(value) == found


INNER = {"b": {"c": "deep"}, "n": None}


@pytest.mark.parametrize(
    ("value", "path", "found"),
    [
        ("plain", (), "plain"),
        ('{"a": 1}', (), '{"a": 1}'),
        ({"a": INNER}, ("a", "b", "c"), "deep"),
        (json.dumps({"a": INNER}), ("a", "b", "c"), "deep"),
        (json.dumps({"a": INNER}).encode(), ("a", "b", "c"), "deep"),
        ({"a": json.dumps(INNER)}, ("a", "b", "c"), "deep"),
        (b'{"a": "\xff"}', ("a",), "\ufffd"),
        ({"a": INNER}, ("a", "n", "c"), None),
        ({"a": INNER}, ("a", "x"), None),
        ({"a.b": "own", "a": {"b": "path"}}, ("a", "b"), "own"),
        ({"a.b": None, "a": {"b": "path"}}, ("a", "b"), "path"),
        ({"x": '{"a.b": {"c": "own"}}'}, ("x", "a", "b", "c"), "own"),
        (None, ("a",), None),
        (3, ("a",), None),
        (["a"], ("a",), None),
        ('["a"]', ("a",), None),
        ("not json", ("a",), None),
        ("", ("a",), None),
        ("[" * 100_000, ("a",), None),
        ('{"a": ' + "1" * 5000 + "}", ("a",), None),
    ],
)
def test_lookup(value: object, path: tuple[str, ...], found: object) -> None:
    assert lookup(value, path) == found


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("\n[verse]\r\nLa la \t\n\n[chorus]\nOh\n\n", "[verse]\nLa la\n\n[chorus]\nOh"),
        (["one", None, b"two"], "one\n\ntwo"),
        (b"caf\xc3\xa9 \xff", "café \ufffd"),
        ("a\x00b\x1bc \ud800", "abc \ufffd"),
        (" \n\t\n", ""),
        (None, ""),
        ({"words": "x"}, ""),
        (7, ""),
        ([["a"], "b", 1.5], "b"),
        ("  indented stays", "  indented stays"),
    ],
)
def test_lyrics_keep_their_lines(value: object, text: str) -> None:
    assert clean_lyrics(value) == text


@given(st.text(st.characters()))
def test_lyrics_are_valid_and_cleaning_them_again_changes_nothing(words: str) -> None:
    text = clean_lyrics(words)
    assert clean_lyrics(text.encode()) == text
    assert all(line == line.rstrip() for line in text.split("\n"))
