import unicodedata
from itertools import islice, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.foldernames import NAME_BYTES, make_folder_names

any_text = st.text(st.characters(), max_size=400)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("cat", "cat"),
        ("Siamese cat", "Siamese cat"),
        ("a/b", "a_b"),
        ("..", "_."),
        (".hidden", "_hidden"),
        ("", "_"),
        ("  ", "_"),
        ("tab\tand\nbreak", "tab_and_break"),
        ("猫", "猫"),
        ("\u202egpj", "_gpj"),
        ("\ud800", "?"),
        ("x" * 300, "x" * NAME_BYTES),
        ("猫" * 100, "猫" * (NAME_BYTES // 3)),
    ],
)
def test_names_of_texts(text: str, name: str) -> None:
    assert make_folder_names([text]) == {text: name}


def test_texts_that_look_alike_are_told_apart() -> None:
    long = "x" * 300
    names = make_folder_names(["a/b", "a_b", "a\tb", long, long + "y"], reserved=["a_b (2)"])
    assert list(names.values()) == [
        "a_b",
        "a_b (3)",
        "a_b (4)",
        "x" * NAME_BYTES,
        "x" * (NAME_BYTES - 4) + " (2)",
    ]


def test_regression_many_texts_that_look_alike_take_one_step_each() -> None:
    controls = [chr(code) for code in (*range(1, 32), *range(127, 160))]
    texts = list(map("".join, islice(product(controls, repeat=3), 50_000)))
    names = make_folder_names(texts)  # a step for each pair of them took ten minutes
    assert len(set(names.values())) == len(texts)
    assert names[texts[-1]] == f"___ ({len(texts)})"


def test_texts_that_only_their_cut_ends_tell_apart() -> None:
    texts = ["y" * 197 + f"{number:03}" + end for number in range(999) for end in ("", "a", "b")]
    names = make_folder_names(texts)
    assert len(set(names.values())) == len(texts)
    assert max(len(name) for name in names.values()) == NAME_BYTES


@given(st.lists(any_text, unique=True, max_size=20), st.sets(any_text, max_size=5))
def test_every_text_has_a_safe_name_of_its_own(texts: list[str], reserved: set[str]) -> None:
    names = make_folder_names(texts, reserved)
    assert list(names) == texts
    assert len(set(names.values())) == len(texts)
    for name in names.values():
        assert name not in reserved
        assert 1 <= len(name.encode()) <= NAME_BYTES
        assert "/" not in name
        assert not any(unicodedata.category(character) in ("Cc", "Cf") for character in name)
        assert not name.startswith(".")
        assert name == name.strip()
