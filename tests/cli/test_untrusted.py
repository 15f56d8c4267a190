"""Texts of a data set that would play tricks on a terminal."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.cli.untrusted import clean_line, clean_text


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("plain", "plain"),
        ("été 猫 🐈", "été 猫 🐈"),
        ("\x1b[31mred", "\ufffd[31mred"),
        ("\x9b2J", "\ufffd2J"),
        ("a\rb\x08\x07\x00", "a\ufffdb\ufffd\ufffd\ufffd"),
        ("\u202egnp.exe", "\ufffdgnp.exe"),
        ("\u2066x\u2069", "\ufffdx\ufffd"),
        ("\ud800", "\ufffd"),
        ("tab\tand\nline", "tab and\nline"),
        ("a\u2028b", "a\ufffdb"),
        ("\u0645\u06cc\u200c\u062e", "\u0645\u06cc\u200c\u062e"),
    ],
)
def test_what_is_hidden_is_replaced(text: str, cleaned: str) -> None:
    assert clean_text(text) == cleaned


@given(st.text(st.characters()))
def test_nothing_but_visible_text_is_left(text: str) -> None:
    line = clean_line(text)
    assert clean_line(line) == line
    assert all(
        unicodedata.category(character) not in ("Cc", "Cs", "Co", "Zl", "Zp") for character in line
    )
    line.encode()
