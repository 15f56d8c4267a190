import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hffs.core.types import Position
from hffs.view.layout import Layout, make_folders

numbers_of = st.lists(st.integers(0, 2**62), unique=True, min_size=1, max_size=50).map(sorted)


def test_positions_are_their_own_numbers() -> None:
    layout = Layout(3)
    assert [layout.number(Position(position)) for position in range(3)] == [0, 1, 2]
    assert [layout.find_number(number) for number in (0, 2, 3, 10**30)] == [0, 2, None, None]
    assert list(layout.name_numbers(1)) == [(1, 1), (2, 2)]
    assert list(layout.name_numbers(9)) == []
    assert layout.folder_of(Position(0)) is None
    assert layout.find_folder(b"cat") is None


@given(numbers_of, st.lists(st.integers(-(2**63), 2**63 - 1)), st.booleans())
def test_many_numbers_are_found_as_one_is(
    numbers: list[int], others: list[int], counted: bool
) -> None:
    layout = Layout(len(numbers), None if counted else np.array(numbers, np.int64))
    asked = [*others, *numbers[::-1]]
    found = layout.find_numbers(np.array(asked, np.int64)).tolist()
    for number, position in zip(asked, found, strict=True):
        expected = layout.find_number(number) if number >= 0 else None
        assert position == (-1 if expected is None else expected)
    assert Layout(0, np.zeros(0, np.int64)).find_numbers(np.arange(2)).tolist() == [-1, -1]


@given(numbers_of, st.integers(0, 2**70))
def test_numbers_are_found_both_ways(numbers: list[int], other: int) -> None:
    layout = Layout(len(numbers), np.array(numbers, np.int64))
    for position, number in enumerate(numbers):
        assert layout.number(Position(position)) == number
        assert layout.find_number(number) == position
    if other not in numbers:
        assert layout.find_number(other) is None
    assert list(layout.name_numbers(0)) == list(enumerate(numbers))


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40))
def test_folders_share_the_positions_out(of: list[int]) -> None:
    used, dense = np.unique(of, return_inverse=True)
    names = [f"class {number}" for number in used]
    folders = make_folders(names, dense.astype(np.int32))
    assert len(folders) == len(names)
    inside = [list(folders.positions(number)) for number in range(len(folders))]
    assert sorted(position for positions in inside for position in positions) == [*range(len(of))]
    layout = Layout(len(of), folders=folders)
    for number, positions in enumerate(inside):
        assert positions == sorted(positions)
        assert positions
        assert {layout.folder_of(Position(position)) for position in positions} == {number}
        assert layout.find_folder(names[number].encode()) == number
        for skip in range(len(positions) + 2):
            assert list(folders.positions(number, skip)) == positions[skip:]


@pytest.mark.parametrize("name", [b"", b"cat ", b"CAT", b"..", b"\xff"])
def test_other_folder_names_are_not_found(name: bytes) -> None:
    layout = Layout(1, folders=make_folders(["cat"], np.zeros(1, np.int32)))
    assert layout.find_folder(name) is None
