import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from hffs.errors import ConfigError
from hffs.view import order as under_test
from hffs.view.layout import Layout
from hffs.view.order import read_order

NUMBERS = np.array([3, 5, 17, 200, 10**17], np.int64)
LAYOUT = Layout(5, NUMBERS)


def read(file: Path, text: bytes, layout: Layout = LAYOUT) -> list[int]:
    file.write_bytes(text)
    found: list[int] = read_order(file, layout, layout.positions).tolist()
    return found


def refusal(file: Path, layout: Layout = LAYOUT) -> str:
    with pytest.raises(ConfigError) as caught:
        read_order(file, layout, layout.positions)
    assert caught.value.exit_code == 2
    line = str(caught.value)
    assert line.startswith(f"cannot use --order {file}: ")
    assert line.isprintable()
    return line.removeprefix(f"cannot use --order {file}: ")


@pytest.mark.parametrize(
    "text",
    [
        b"17\n3\n3\n200",
        b"17\n3\n3\n200\n",
        b"17 3\t3\r\n200\r\n",
        b"017\n0003\n3\n200\n",
        b"17.jpg\n3.jpg\n3.txt\n200.png\n",
        b"17.jpg\r\n3.jpg\r\n3.txt\r\n200.png\r\n",
        b"cats/0017.jpg\n/mnt/photos/3.jpg\n./3\n../200.jpg",
        b"# order\n\n17 # the first\n3 3 #200 5\n   \n200",
        b"17.jpg 3\n3.jpg /mnt/200.jpg\n",
        b"/mnt/my photos/17.jpg\ncats and dogs/3.jpg\n3\n200\n",
        b"/mnt/\xff\xfe/17.jpg\n3\n3\n200",
    ],
)
def test_numbers_names_and_paths_are_read(tmp_path: Path, text: bytes) -> None:
    assert read(tmp_path / "order", text) == [2, 0, 0, 3]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"17\n3\nx\n5", "line 3: 'x' is no file of the view"),
        (b"17\n3\n18", "line 3: '18' is no file of the view"),
        (b"\n# 1\n3 18.jpg\n", "line 3: '18' is no file of the view"),
        (b"17\n-3", "line 2: '-3' is no file of the view"),
        (b"17\n1_7", "line 2: '1_7' is no file of the view"),
        (b"17.tar.gz", "line 1: '17.tar.gz' is no file of the view"),
        (b"17/", "line 1: '17/' is no file of the view"),
        (b"3 metadata.jsonl", "line 1: 'metadata.jsonl' is no file of the view"),
        (b"9" * 18, f"line 1: '{'9' * 18}' is no file of the view"),
        (b"9" * 300, f"line 1: '{'9' * 60}' is no file of the view"),
        ("\u0661".encode(), "line 1: '\\u0661' is no file of the view"),
        (b"\x1b[31m\n", "line 1: '\\x1b[31m' is no file of the view"),
        (b"", "it has no entries"),
        (b"\n \n", "it has no entries"),
        (b"# 17\n", "it has no entries"),
    ],
)
def test_anything_else_is_refused_by_its_line(tmp_path: Path, text: bytes, said: str) -> None:
    file = tmp_path / "order"
    file.write_bytes(text)
    assert refusal(file) == f"{said}; write one number or file name a line, as the mount lists them"


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path / "order") == "No such file or directory"
    assert refusal(tmp_path) == "Is a directory"


@given(
    st.lists(st.sampled_from(NUMBERS.tolist()), min_size=1),
    st.sampled_from([" ", "\n", "\r\n", ".jpg\n", " # comment\n", "\n\n"]),
    st.integers(1, 40),
)
def test_blocks_of_any_size_give_the_same(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int], separator: str, size: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "order-in-blocks"
    file.write_bytes(separator.join([*map(str, numbers), ""]).encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(under_test, "_BLOCK_BYTES", 40 + size)
        found = read_order(file, LAYOUT, LAYOUT.positions)
    assert NUMBERS[found].tolist() == numbers


def test_lines_are_counted_through_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_BLOCK_BYTES", 16)
    file = tmp_path / "order"
    file.write_bytes(b"17\n" * 100 + b"# more\n" * 10 + b"4\n17\n")
    assert refusal(file).startswith("line 111: '4' is")


def test_what_is_no_text_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_BLOCK_BYTES", 1 << 10)
    file = tmp_path / "order"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)
    assert refusal(file).startswith("line 1: '\\x00")


def test_too_many_entries_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "_ENTRIES_MAX", 10)
    file = tmp_path / "order"
    assert len(read(file, b"17\n" * 10)) == 10
    file.write_bytes(b"17\n" * 11)
    assert refusal(file).startswith("it has more than 10 entries")


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int64, np.uint64, np.dtype(">i4")])
def test_arrays_are_read(tmp_path: Path, kind: np.dtype[np.integer]) -> None:
    np.save(tmp_path / "order.npy", np.array([17, 3, 3, 200], kind))
    assert read_order(tmp_path / "order.npy", LAYOUT, 5).tolist() == [2, 0, 0, 3]


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.array([3, -3]), "entry 1: -3 is no file of the view"),
        (np.array([3, 2**64 - 1], np.uint64), f"entry 1: {2**64 - 1} is no file of the view"),
        (np.array([1.0]), "it has 1 dimensions of float64, not one of int"),
        (np.array([[3]]), "it has 2 dimensions of int64, not one of int"),
        (np.zeros(0, np.int64), "it has no entries"),
    ],
)
def test_arrays_of_anything_else_are_refused(
    tmp_path: Path, array: NDArray[np.generic], said: str
) -> None:
    np.save(tmp_path / "order.npy", array)
    assert refusal(tmp_path / "order.npy").startswith(said)


@pytest.mark.parametrize("data", [b"", b"17\n", pickle.dumps([17]), b"\x93NUMPY\x01\x00"])
def test_what_is_no_array_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "order.npy").write_bytes(data)
    assert refusal(tmp_path / "order.npy").startswith("it is no array as numpy.save writes one")


def test_objects_are_never_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "order.npy", np.array([{}], object), allow_pickle=True)
    assert refusal(tmp_path / "order.npy").startswith("it is no array as numpy.save writes one")


def test_only_positions_of_the_view_are_given(tmp_path: Path) -> None:
    (tmp_path / "order").write_bytes(b"1\n2\n")
    with pytest.raises(ConfigError, match="line 2: '2' is no file"):
        read_order(tmp_path / "order", Layout(3), 2)
    assert read(tmp_path / "order", b"1\n2\n", Layout(3)) == [1, 2]
