import json
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hffs.view.metadata_file import make_lines, write_lines

text = st.text(st.characters(exclude_categories=["Cs"]))


def sizes(*pairs: tuple[int, int]) -> list[np.ndarray[tuple[int], np.dtype[np.int32]]]:
    return [np.array(side, np.int32) for side in zip(*pairs, strict=True)]


def test_a_line_has_what_imagefolder_and_kohya_ask_for() -> None:
    (line,) = make_lines(["0.jpg"], ['a "red" cat'], sizes((40, 30)))
    assert line.endswith("\n")
    assert json.loads(line) == {
        "file_name": "0.jpg",
        "image_path": "0.jpg",
        "text": 'a "red" cat',
        "caption": 'a "red" cat',
        "image_size": [40, 30],
        "width": 40,
        "height": 30,
    }


def test_what_nobody_can_tell_is_null_and_no_captions_are_no_keys() -> None:
    first, second = map(json.loads, make_lines(["0.jpg", "1.jpg"], None, sizes((0, 0), (1, 2))))
    assert first["image_size"] is first["width"] is first["height"] is None
    assert first.keys() == second.keys()
    assert not {"text", "caption"} & first.keys()


@given(st.lists(st.tuples(text, text), max_size=5))
def test_any_text_is_one_line_that_reads_back(pairs: list[tuple[str, str]]) -> None:
    names, captions = [name for name, _ in pairs], [caption for _, caption in pairs]
    lines = list(make_lines(names, captions, [np.ones(len(pairs), np.int32)] * 2))
    for line, (name, caption) in zip(lines, pairs, strict=True):
        assert line.count("\n") == 1
        read = json.loads(line)
        assert (read["file_name"], read["caption"]) == (name, caption)


def test_the_file_is_mapped_and_leaves_no_name(tmp_path: Path) -> None:
    array = write_lines(tmp_path, (f"{number} é\n" for number in range(100_000)))
    assert bytes(array[:5]).decode() == "0 é\n"
    assert bytes(array).decode().splitlines()[-1] == "99999 é"
    assert list(tmp_path.iterdir()) == []
