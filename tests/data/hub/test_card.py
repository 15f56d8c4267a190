"""What a data set says about itself is refused where it reaches beyond it, or is too much."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from hffs.data.hub import card
from hffs.errors import DataError

INSIDE = ["x.csv", "data/*.csv", "a/**/b-[0-9].csv", "..a/b..c", "a~b", "a/b:c"]
OUTSIDE = [
    "/etc/passwd",
    "~/keys",
    "../x.csv",
    "a/../../x.csv",
    "..",
    "a\\..\\b",
    "a\0b",
    "file:x.csv",
    "https://example.org/x.csv",
    "hf://datasets/other/set/x.csv",
    "zip://x.csv::y.zip",
    "x.csv::y",
]


def _write(folder: Path, text: str, name: str = "README.md") -> list[Path]:
    path = folder / name
    path.write_text(text)
    return [path]


def _write_front(folder: Path, text: str) -> list[Path]:
    return _write(folder, f"---\n{text}\n---\n# A set\n")


def _quote(pattern: str) -> str:
    return '"' + pattern.replace("\\", "\\\\").replace("\0", "\\0") + '"'


@pytest.mark.parametrize("pattern", INSIDE)
def test_paths_of_its_own_are_left_alone(tmp_path: Path, pattern: str) -> None:
    text = f"configs:\n- config_name: a\n  data_files: {_quote(pattern)}"
    card.check("me/set", _write_front(tmp_path, text))


@pytest.mark.parametrize("pattern", OUTSIDE)
@pytest.mark.parametrize(
    "line",
    [
        "data_files: {}",
        "data_dir: {}",
        "data_files: [x.csv, {}]",
        "data_files: [{{split: train, path: x.csv}}, {{split: test, path: [x.csv, {}]}}]",
    ],
)
def test_data_outside_of_it_is_refused_wherever_it_is_named(
    tmp_path: Path, line: str, pattern: str
) -> None:
    config = "config_name: b\n  " + line.format(_quote(pattern))
    text = f"configs:\n- {{config_name: a}}\n- {config}\n"
    for path in (_write_front(tmp_path, text), _write(tmp_path, text, ".huggingface.yaml")):
        with pytest.raises(DataError, match="names data outside of it") as caught:
            card.check("me/set", path)
        assert "me/set" in str(caught.value)


def test_a_description_that_is_too_long_is_not_fetched() -> None:
    card.check_size("me/set", "README.md", 32 << 20)
    with pytest.raises(DataError, match=r"README\.md has 33 MB"):
        card.check_size("me/set", "README.md", 33 << 20)


def test_regression_yaml_is_counted_before_memory_is_taken_for_it(tmp_path: Path) -> None:
    files = _write_front(tmp_path, "x: [" + "1," * 40_000 + "]\ny: [" + "[1]," * 4_000)
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(card, "_MOST_VALUES", 20_000)
            with pytest.raises(DataError, match="describes too much"):
                card.check("me/set", files)
        assert tracemalloc.get_traced_memory()[1] < 6 << 20  # a tree of it takes 28 MB
    finally:
        tracemalloc.stop()


def test_a_few_lines_that_describe_more_than_memory_holds_are_refused(tmp_path: Path) -> None:
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)
    )
    with pytest.raises(DataError, match="describes too much"):
        card.check("me/set", _write_front(tmp_path, laughs))


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]",
        "[" * 1000,
        "x: " + "1:59" * 1000,
        "x: !!int '" + "1:59" * 1000 + "'",
        "x: [" + "1," * 20 + "]",
        "x: " + "word " * 100,
    ],
)
def test_what_describes_too_much_is_refused(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "_MOST_VALUES", 15)
    monkeypatch.setattr(card, "_MOST_YAML_CHARACTERS", 450 if "word" in text else 1 << 20)
    with pytest.raises(DataError, match="describes too much"):
        card.check("me/set", _write_front(tmp_path, text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x: 1",
        "- a",
        "configs: x",
        "configs: [x]",
        "a: &a [x, x]\nb: [*a, *a]",
        "x: 1:59:59\ny: '2026-01-01'",
        "configs: [{config_name: a, data_files: 'data/a:b-*.csv'}]",
    ],
)
def test_what_describes_little_is_taken(
    tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(card, "_MOST_VALUES", 15)
    card.check("me/set", _write_front(tmp_path, text))


@pytest.mark.parametrize("text", ["", "# Photos\n", "---\n---\n"])
def test_what_has_no_yaml_says_nothing(tmp_path: Path, text: str) -> None:
    card.check("me/set", _write(tmp_path, text))
