"""What a data set says about itself is refused where it reaches beyond the data set."""

from __future__ import annotations

from pathlib import Path

import pytest

from hffs.data.hub import card
from hffs.errors import DataError

INSIDE = ["x.csv", "data/*.csv", "a/**/b-[0-9].csv", "..a/b..c", "a~b", "a:b"]
OUTSIDE = [
    "/etc/passwd",
    "~/keys",
    "../x.csv",
    "a/../../x.csv",
    "..",
    "a\\..\\b",
    "a\0b",
    "https://example.org/x.csv",
    "hf://datasets/other/set/x.csv",
    "zip://x.csv::y.zip",
    "x.csv::y",
]


def _write(folder: Path, text: str, name: str = "README.md") -> list[Path]:
    path = folder / name
    path.write_text(text)
    return [path]


def _quote(pattern: str) -> str:
    return '"' + pattern.replace("\\", "\\\\").replace("\0", "\\0") + '"'


@pytest.mark.parametrize("pattern", INSIDE)
def test_paths_of_its_own_are_left_alone(tmp_path: Path, pattern: str) -> None:
    text = f"---\nconfigs:\n- config_name: a\n  data_files: {_quote(pattern)}\n---\n"
    card.check("me/set", _write(tmp_path, text))


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
    for path in (
        _write(tmp_path, f"---\n{text}---\n# Photos\n"),
        _write(tmp_path, text, ".huggingface.yaml"),
    ):
        with pytest.raises(DataError, match="names data outside of it") as caught:
            card.check("me/set", path)
        assert "me/set" in str(caught.value)


def test_a_description_that_is_too_long_is_not_fetched() -> None:
    card.check_size("me/set", "README.md", 32 << 20)
    with pytest.raises(DataError, match=r"README\.md has 33 MB"):
        card.check_size("me/set", "README.md", 33 << 20)


@pytest.mark.parametrize(
    "text",
    [
        "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
        + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 9)),
        "a: &a [*a]\n",
    ],
)
def test_a_few_lines_that_describe_more_than_memory_holds_are_refused(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(DataError, match="describes too much"):
        card.check("me/set", _write(tmp_path, f"---\n{text}---\n"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# Photos\n",
        "---\n---\n",
        "---\n- a\n---\n",
        "---\nconfigs: x\n---\n",
        "---\nconfigs: [x]\n---\n",
    ],
)
def test_what_says_nothing_of_files_passes(tmp_path: Path, text: str) -> None:
    card.check("me/set", _write(tmp_path, text))
